"""Who said how the episodes ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
<div class="scroll"><table><thead><tr><th>Iteration</th>{% for s in sources %}<th class="n">{{ s }}</th>{% endfor %}
<th class="n">Without a label</th><th class="n">Success</th><th class="n">Failure</th><th class="n">Aborted</th>
<th class="n">Marked milestones</th><th class="n">Marked errors</th></tr></thead><tbody>
{% for index, l in rows %}<tr><th scope="row">{{ index }}</th>
{% for s in sources %}<td class="n">{{ l.sources.get(s, 0) }}</td>{% endfor %}
<td class="n">{{ l.skipped }}</td><td class="n">{{ l.outcomes.success }}</td><td class="n">{{ l.outcomes.failure }}</td>
<td class="n">{{ l.outcomes.aborted }}</td><td class="n">{{ l.milestones }}</td><td class="n">{{ l.errors }}</td></tr>
{% endfor %}</tbody></table></div>
<p class="note">Episodes by who labelled them: the task's detector, an imported file, or a person, whose word counts
most. Each row holds all episodes so far. Nothing is learned from an episode without a label, or an aborted one.</p>
"""

_SOURCES = ("detector", "imported", "human")


def _context(data: ReportData) -> Mapping[str, Any] | str | None:
    rows = [(i.index, i.labels) for i in data.iterations if i.labels is not None]
    if not rows:
        return "No episode has been labelled yet." if data.plans("annotate") else None
    return {
        "rows": rows,
        "sources": list(dict.fromkeys([*_SOURCES, *(s for _, labels in rows for s in labels.sources)])),
    }


SECTION = Section(id="labels", order=42, title="Labels", template=_TEMPLATE, context=_context)
