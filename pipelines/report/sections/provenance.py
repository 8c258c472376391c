"""Where the numbers come from: code, versions, machine, times, keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
<div class="columns">
<table class="pairs"><tbody>
{% for label, value in p.facts %}<tr><th scope="row">{{ label }}</th><td><code>{{ value }}</code></td></tr>{% endfor %}
{% for name, version in p.versions.items() %}
<tr><th scope="row">{{ name }}</th><td><code>{{ version }}</code></td></tr>{% endfor %}
</tbody></table>
{% if keyed %}<table class="pairs"><tbody>
<tr><th scope="row">Step</th><td><b>Key</b></td></tr>
{% for n in keyed %}<tr><th scope="row"><code>{{ n.name }}</code></th><td><code>{{ n.key[:16] }}</code></td></tr>
{% endfor %}</tbody></table>{% endif %}
</div>
"""


def _context(data: ReportData) -> Mapping[str, Any]:
    return {"p": data.provenance, "keyed": [node for node in data.nodes if node.key]}


SECTION = Section(id="provenance", order=90, title="Provenance", template=_TEMPLATE, context=_context)
