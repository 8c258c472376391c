"""Success and throughput per iteration, on one scale, so that progress is seen rather than read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.charts import nice_end
from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
<div class="scroll"><table class="iterations">
<thead><tr><th>Iteration</th><th class="n">Success</th><th class="wide">95 % interval</th>
<th class="n">Per hour</th><th class="wide">95 % interval</th>
<th class="n">Mean steps</th>{% if gated %}<th>Promotion</th>{% endif %}<th>Policy</th></tr></thead>
<tbody>
{% for it in rows %}{% set e = it.evaluation %}
<tr><th scope="row">{{ it.index }}</th>
{% if e %}
<td class="n"><b>{{ m.num(e.success.value, share(e.success.value)) }}</b>
  <span class="sub">{{ e.successes }}/{{ e.attempts }}</span></td>
<td class="wide">{{ m.interval(e.success, 1.0, percent(e.success.low) ~ " to " ~ percent(e.success.high)) }}</td>
<td class="n"><b>{{ m.num(e.throughput.value, figure(e.throughput.value)) }}</b></td>
<td class="wide">{{ m.interval(e.throughput, top, figure(e.throughput.low) ~ " to " ~ figure(e.throughput.high)) }}</td>
<td class="n">{{ m.num(e.mean_steps, figure(e.mean_steps)) }}</td>
{% else %}<td colspan="5" class="sub">not evaluated</td>{% endif %}
{% if gated %}<td>{{ it.gate.verdict if it.gate else "-" }}</td>{% endif %}
<td>{% if e %}<code>{{ e.policy_id[:8] }}</code>{% endif %}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">Bars run from 0 to 100 %, and from 0 to {{ figure(top) }} successes per hour.</p>
{% for it in rows %}{% if it.evaluation and it.evaluation.trials %}
<details><summary>Every attempt of iteration {{ it.index }}
 ({{ it.evaluation.trials | length }}, {{ it.evaluation.split }} starts)</summary>
<div class="scroll tall"><table><thead><tr><th class="n">Start seed</th><th>Outcome</th><th class="n">Steps</th>
{% if it.evaluation.trials[0].inference_s is not none %}<th class="n">Inference over budget, s</th>{% endif %}
<th class="n">Human steps</th></tr></thead><tbody>
{% for t in it.evaluation.trials %}
<tr><td class="n">{{ t.start_seed }}</td><td>{{ m.outcome(t.outcome.value) }}</td><td class="n">{{ t.steps }}</td>
{% if t.inference_s is not none %}<td class="n">{{ figure(t.inference_s) }}</td>{% endif %}
<td class="n">{{ t.human_steps }}</td></tr>
{% endfor %}</tbody></table></div></details>
{% endif %}{% endfor %}
"""


def _context(data: ReportData) -> Mapping[str, Any] | str:
    evaluated = [i.evaluation for i in data.iterations if i.evaluation is not None]
    if not evaluated:
        return "No iteration has been evaluated yet."
    ends = [end for e in evaluated for end in (e.throughput.high, e.throughput.value) if end is not None]
    return {
        "rows": data.iterations,
        "top": nice_end(max(ends, default=0.0)),
        "gated": any(i.gate is not None for i in data.iterations),
    }


SECTION = Section(id="iterations", order=20, title="Iterations", template=_TEMPLATE, context=_context)
