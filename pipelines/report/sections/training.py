"""How the policies were trained: the loss curve and the sizes behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipelines.report.charts import Line, line_chart
from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
{{ chart }}
{% if undrawn %}<p class="note bad">{{ undrawn }} loss values are not positive and finite: they cannot stand on a
logarithmic axis and are not drawn.</p>{% endif %}
<div class="scroll"><table><thead><tr><th>Iteration</th><th class="n">Steps</th><th class="n">Time</th>
<th class="n">Steps per second</th><th class="n">First loss</th><th class="n">Last loss</th>
<th class="n">Parameters</th><th class="n">Episodes</th><th class="n">Frames</th></tr></thead><tbody>
{% for index, t in rows %}
<tr><th scope="row">{{ index }}</th><td class="n">{{ "{:,}".format(t.steps) }}</td>
<td class="n">{{ m.num(t.seconds, duration(t.seconds)) if t.seconds is not none else "n/a" }}</td>
<td class="n">{{ figure(t.steps / t.seconds) if t.seconds else "n/a" }}</td>
<td class="n">{{ m.num(t.loss[0][1], figure(t.loss[0][1])) if t.loss else "n/a" }}</td>
<td class="n">{{ m.num(t.loss[-1][1], figure(t.loss[-1][1])) if t.loss else "n/a" }}</td>
<td class="n">{{ "{:,}".format(t.parameters) }}</td><td class="n">{{ "{:,}".format(t.episodes) }}</td>
<td class="n">{{ "{:,}".format(t.frames) }}</td></tr>
{% endfor %}
</tbody></table></div>
"""


def _context(data: ReportData) -> Mapping[str, Any] | str:
    rows = [(i.index, i.training) for i in data.iterations if i.training is not None]
    if not rows:
        return "No policy has been trained yet."
    drawn = {index: [(s, v) for s, v in t.loss if math.isfinite(v) and v > 0] for index, t in rows}
    lines = [Line(label=f"iteration {index}", points=points) for index, points in drawn.items() if points]
    return {
        "rows": rows,
        "undrawn": sum(len(t.loss) for _, t in rows) - sum(len(points) for points in drawn.values()),
        "chart": line_chart(lines, x_label="gradient step", y_label="loss", log_y=True) if lines else "",
    }


SECTION = Section(id="training", order=50, title="Training", template=_TEMPLATE, context=_context)
