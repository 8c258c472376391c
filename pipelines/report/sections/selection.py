"""Which checkpoint and guidance each iteration went on with, and how the others did."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
<div class="scroll"><table><thead><tr><th>Iteration</th><th>Candidate</th><th class="n">Guidance</th>
<th class="n">Successes</th><th class="wide">Success share</th><th></th></tr></thead><tbody>
{% for index, s in rows %}{% for c in s.candidates %}
<tr{% if c.name == s.chosen %} class="total"{% endif %}><td>{{ index }}</td><td><code>{{ c.name }}</code></td>
<td class="n">{{ "-" if c.guidance is none else figure(c.guidance) }}</td>
<td class="n">{{ c.successes }}/{{ c.attempts }}</td>
<td class="wide">{% if c.attempts %}{{ m.share(c.successes, c.attempts) }}{% else %}
<span class="sub">not tried</span>{% endif %}</td>
<td>{% if c.name == s.chosen %}<span class="pill good">chosen</span>{% endif %}</td></tr>
{% endfor %}{% endfor %}</tbody></table></div>
{% if tried %}
<p class="note">Tried on {{ splits | join(", ") }} starts, never on those of the result above. The chosen one is the
best of several, so its share here is flattering.</p>
{% else %}
<p class="note">Nothing was tried: the candidate that was trained longest is the chosen one.</p>{% endif %}
"""


def _context(data: ReportData) -> Mapping[str, Any] | str | None:
    rows = [(i.index, i.selection) for i in data.iterations if i.selection is not None]
    if not rows:
        return "No checkpoint has been chosen yet." if data.plans("checkpoint_selection") else None
    tried = any(candidate.attempts for _, selection in rows for candidate in selection.candidates)
    return {"rows": rows, "tried": tried, "splits": sorted({selection.split for _, selection in rows})}


SECTION = Section(id="selection", order=52, title="Checkpoint and guidance", template=_TEMPLATE, context=_context)
