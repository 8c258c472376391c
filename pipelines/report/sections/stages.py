"""Where the time went, and how far each step of the run came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.formats import duration
from pipelines.report.model import Node, NodeState, ReportData
from pipelines.report.section import Section
from recap.graph import NodeName

_TEMPLATE = """
{% if groups %}<div class="card stacks"><dl>
{% for g in groups %}<dt>{{ g.name }}</dt><dd><div style="width:{{ "%.2f" % (100 * g.total / widest) }}%">
<div class="stack" role="img" aria-label="{{ g.told }}">{% for p in g.parts %}<i class="s{{ p.place }}"
 style="width:{{ "%.2f" % (100 * p.seconds / g.total) }}%" title="{{ p.stage }}: {{ duration(p.seconds) }}">
{%- if p.seconds > 0.07 * widest %}{{ p.stage }}{% endif %}</i>{% endfor %}</div></div></dd>
<dd class="n">{{ duration(g.total) }}</dd>{% endfor %}
</dl><div class="legend">
{% for stage in stages %}<span class="key s{{ loop.index0 % 9 }}">{{ stage }}</span>{% endfor %}
</div></div>{% endif %}
<div class="scroll"><table class="stages"><thead><tr><th>Step</th><th>State</th><th class="wide">Wall-clock time</th>
<th class="n">Time</th><th class="n">Attempts</th></tr></thead><tbody>
{% for n in nodes %}
<tr><th scope="row"><code>{{ n.name }}</code></th><td>{{ m.state(n.state.value) }}</td>
<td class="wide">{% if n.seconds is not none %}{{ m.bar(n.seconds / longest) }}{% endif %}
{% if n.progress %}<span class="sub">{{ n.progress }}</span>{% endif %}</td>
<td class="n">{{ m.num(n.seconds, duration(n.seconds)) if n.seconds is not none else "-" }}</td>
<td class="n">{{ n.attempts }}</td></tr>
{% if n.error %}<tr><td colspan="5"><pre class="error">{{ n.error }}</pre></td></tr>{% endif %}
{% endfor %}
<tr class="total"><td>all</td><td></td><td></td><td class="n">{{ m.num(total, duration(total)) }}</td><td></td></tr>
</tbody></table></div>
{% if cached %}<p class="note">A cached step was computed by another run; this run spent no time on it.</p>{% endif %}
"""


_COLOURS = 9


def _groups(nodes: Sequence[Node]) -> tuple[list[dict[str, Any]], list[str]]:
    """Time per iteration, split by stage; and the stages in the order of the run."""
    spent: dict[str, dict[str, float]] = {}
    for node in nodes:
        name = NodeName.parse(node.name)
        if node.seconds is not None:
            group = spent.setdefault(f"iteration {name.iteration}", {})
            group[name.stage] = group.get(name.stage, 0.0) + node.seconds
    stages = list(dict.fromkeys(stage for group in spent.values() for stage in group))
    groups = [
        {
            "name": name,
            "total": sum(group.values()),
            "parts": [
                {"stage": stage, "seconds": seconds, "place": stages.index(stage) % _COLOURS}
                for stage, seconds in group.items()
            ],
            "told": f"{name}: " + ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in group.items()),
        }
        for name, group in spent.items()
        if sum(group.values()) > 0
    ]
    return groups, stages


def _context(data: ReportData) -> Mapping[str, Any] | str:
    if not data.nodes:
        return "No step has begun yet."
    seconds = [node.seconds for node in data.nodes if node.seconds is not None]
    groups, stages = _groups(data.nodes)
    return {
        "groups": groups,
        "stages": stages,
        "widest": max((group["total"] for group in groups), default=1.0),
        "nodes": data.nodes,
        "longest": max(seconds, default=0.0) or 1.0,
        "total": sum(seconds),
        "cached": any(node.state is NodeState.CACHED for node in data.nodes),
    }


SECTION = Section(id="stages", order=60, title="Minutes per stage", template=_TEMPLATE, context=_context)
