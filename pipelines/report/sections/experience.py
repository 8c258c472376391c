"""The recorded data behind the numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.formats import figure, size
from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
<dl class="facts">
{% for label, value in tiles %}<div><dt>{{ label }}</dt><dd>{{ value }}</dd></div>{% endfor %}
</dl>
{% if mixed %}<p class="note bad">More than one renderer made these images: a policy trained on both
sees two worlds.</p>
{% endif %}
"""


def _context(data: ReportData) -> Mapping[str, Any] | str:
    facts = data.data
    if facts is None:
        return "No episode has been recorded yet."
    tiles = [
        ("Episodes", f"{facts.episodes:,}"),
        ("By source", ", ".join(f"{count:,} {source}" for source, count in facts.sources.items()) or "-"),
        ("Control steps", f"{facts.frames:,}"),
        ("On disk", size(facts.bytes)),
        ("Cameras", ", ".join(facts.cameras) or "none"),
        ("Renderer", ", ".join(facts.renderers) or "none (real cameras)"),
        ("Control rate", ", ".join(f"{figure(rate)} Hz" for rate in facts.rate_hz) or "-"),
        *((f"{name} version", version) for name, version in facts.software.items()),
    ]
    return {"tiles": tiles, "mixed": len(facts.renderers) > 1}


SECTION = Section(id="data", order=70, title="Data", template=_TEMPLATE, context=_context)
