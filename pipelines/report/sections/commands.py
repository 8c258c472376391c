"""What to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
<dl class="commands">
{% for c in commands %}<div><dt>{{ c.purpose }}</dt><dd><pre>{{ c.line }}</pre></dd></div>{% endfor %}
</dl>
"""


def _context(data: ReportData) -> Mapping[str, Any] | None:
    return {"commands": data.commands} if data.commands else None


SECTION = Section(id="commands", order=100, title="Commands", template=_TEMPLATE, context=_context)
