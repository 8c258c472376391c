"""Success and throughput per iteration, on one scale, so that progress is seen rather than read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.charts import difference_reach, nice_end
from pipelines.report.model import ReportData
from pipelines.report.section import Section

_TEMPLATE = """
<div class="scroll"><table class="iterations">
<thead><tr><th>Iteration</th><th class="n">Success</th><th class="wide">95 % interval</th>
<th class="n">Per hour</th><th class="wide">95 % interval</th>
{% if paired %}<th class="wide">Difference to {{ base }}, paired</th>{% endif %}
<th class="n">Mean steps</th>{% if gated %}<th>Gate</th>{% endif %}<th>Policy</th></tr></thead>
<tbody>
{% for it in rows %}{% set e = it.evaluation %}
<tr><th scope="row">{{ it.index }}</th>
{% if e %}
{{ cells.evaluation(e, top) }}
{% if paired %}<td class="wide">{% if it.difference %}{{ cells.difference(it.difference.estimate, reach) }}
{% if it.difference.same_policy %}<span class="sub">same policy</span>{% endif %}
{% else %}<span class="sub">{{ "-" if it is sameas first else "other starts" }}</span>{% endif %}</td>{% endif %}
<td class="n">{{ m.num(e.mean_steps, figure(e.mean_steps)) }}</td>
{% else %}<td colspan="{{ 6 if paired else 5 }}" class="sub">not evaluated</td>{% endif %}
{% if gated %}<td>{% if it.gate %}{{ m.verdict(it.gate.verdict) }}{% else %}-{% endif %}</td>{% endif %}
<td>{% if e %}<code>{{ e.policy_id[:8] }}</code>{% endif %}</td></tr>
{% endfor %}
</tbody></table></div>
<p class="note">Bars run from 0 to 100 %, and from 0 to {{ figure(top) }} successes per hour
{%- if paired %}; differences from {{ signed(-100 * reach) }} to {{ signed(100 * reach) }} points, the line in the
middle is no difference{% endif %}.</p>
{% if gated %}<div class="scroll"><table><thead><tr><th>Iteration</th><th>Gate</th><th class="n">Pairs</th>
<th>New policy minus champion</th><th>Champion, challenger</th><th>Why</th></tr></thead><tbody>
{% for it in rows %}{% if it.gate %}{% set g = it.gate %}
<tr><th scope="row">{{ it.index }}</th><td>{{ m.verdict(g.verdict) }}</td>
<td class="n">{{ "-" if g.pairs is none else g.pairs }}</td>
<td>{% if g.difference %}{{ points(g.difference.value) }}
 <span class="sub">{{ signed(100 * g.difference.low) }} to {{ signed(100 * g.difference.high) }}</span>
 {%- else %}-{% endif %}</td>
<td><code>{{ g.champion_id[:8] or "-" }}</code>, <code>{{ g.challenger_id[:8] or "-" }}</code></td>
<td class="sub">{{ g.reason }}</td></tr>
{% endif %}{% endfor %}</tbody></table></div>
<p class="note">{% if several %}The gate is asked about all tasks of the run together.
{% endif %}The gate plays champion and challenger on the same starts, which are neither training nor test starts,
and looks several times. Its interval is not corrected for stopping early: judge by the column of test starts above.</p>
{% endif %}
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


def _context(data: ReportData) -> Mapping[str, Any] | str | None:
    evaluated = [i.evaluation for i in data.iterations if i.evaluation is not None]
    if not evaluated:
        return "No iteration has been evaluated yet." if not data.nodes or data.plans("evaluate") else None
    ends = [end for e in evaluated for end in (e.throughput.high, e.throughput.value) if end is not None]
    differences = [i.difference for i in data.iterations if i.difference is not None]
    since = differences[0].since if differences else 0
    return {
        "paired": bool(differences),
        "first": next(i for i in data.iterations if i.evaluation is not None),
        "base": "imitation" if since == 0 else f"iteration {since}",
        "reach": difference_reach(d.estimate for d in differences),
        "rows": data.iterations,
        "top": nice_end(max(ends, default=0.0)),
        "several": bool(data.tasks),
        "gated": any(i.gate is not None for i in data.iterations),
    }


SECTION = Section(id="iterations", order=20, title="Iterations", template=_TEMPLATE, context=_context)
