"""Where the time went, and how far each step of the run came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.model import NodeState, ReportData
from pipelines.report.section import Section

_TEMPLATE = """
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


def _context(data: ReportData) -> Mapping[str, Any] | str:
    if not data.nodes:
        return "No step has begun yet."
    seconds = [node.seconds for node in data.nodes if node.seconds is not None]
    return {
        "nodes": data.nodes,
        "longest": max(seconds, default=0.0) or 1.0,
        "total": sum(seconds),
        "cached": any(node.state is NodeState.CACHED for node in data.nodes),
    }


SECTION = Section(id="stages", order=60, title="Minutes per step", template=_TEMPLATE, context=_context)
