"""What a policy would have done in recorded situations: all that an offline run can measure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
<div class="scroll"><table><thead><tr><th>Iteration</th><th>Frames of</th><th class="n">Frames</th>
<th class="n">Mean error of actions</th><th class="n">Of keeping the present state</th><th>Unit</th>
<th class="n">Actions out of the recorded range</th></tr></thead><tbody>
{% for index, r in rows %}{% for g in r.groups %}
<tr><th scope="row">{{ index }}</th><td>{{ g.name }}</td><td class="n">{{ "{:,}".format(g.frames) }}</td>
<td class="n">{{ m.num(g.error, figure(g.error)) }}</td>
<td class="n">{{ m.num(g.keep_state_error, figure(g.keep_state_error)) }}</td><td>{{ g.unit }}</td>
<td class="n">{{ m.num(r.outside_fraction, share(r.outside_fraction)) if loop.first else "" }}</td></tr>
{% endfor %}{% endfor %}</tbody></table></div>
{% for statement in statements %}<p class="note">{{ statement }}</p>{% endfor %}
"""


def _context(data: ReportData) -> Mapping[str, Any] | str | None:
    rows = [(i.index, i.replay) for i in data.iterations if i.replay is not None]
    if not rows:
        return "No policy has acted on recorded frames yet." if data.plans("open_loop_eval") else None
    return {"rows": rows, "statements": list(dict.fromkeys(r.statement for _, r in rows if r.statement))}


SECTION = Section(id="replay", order=22, title="Replay of recorded situations", template=_TEMPLATE, context=_context)
