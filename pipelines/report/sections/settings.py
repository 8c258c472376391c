"""The semantic configuration: every setting that can change a number above."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.formats import flatten
from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
<p class="note">Settings that enter the identity of a step. Devices, worker numbers and the like do not.</p>
<div class="columns">
{% for group, rows in groups %}
<details open><summary><code>{{ group }}</code></summary>
<table class="pairs"><tbody>{% for path, value in rows %}
<tr><th scope="row"><code>{{ path }}</code></th><td><code>{{ value }}</code></td></tr>{% else %}
<tr><td class="sub">no settings</td></tr>{% endfor %}</tbody></table></details>
{% endfor %}
</div>
"""


def _context(data: ReportData) -> Mapping[str, Any] | str:
    if not data.settings:
        return "The run has recorded no settings yet."
    return {"groups": [(group, list(flatten(values))) for group, values in data.settings.items()]}


SECTION = Section(id="settings", order=80, title="Settings", template=_TEMPLATE, context=_context)
