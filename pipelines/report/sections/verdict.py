"""The headline: how well the latest policy does, how sure that is, and whether the world was simulated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.report.charts import difference_reach, nice_end
from pipelines.report.figures import Iteration
from pipelines.report.model import ReportData
from pipelines.report.section import Section
from pipelines.report.wording import difference_sentence, gate_sentence, progress_sentence

_TEMPLATE = """
<p class="verdict">{{ sentence }}</p>
{% if gate %}<p class="verdict second">{{ gate }}</p>{% endif %}
{% if e %}
<div class="cards{{ " triple" if d }}">
<div class="card"><h3>Success</h3>
<p class="big">{{ m.num(e.success.value, share(e.success.value)) }}
<span>{{ e.successes }} of {{ e.attempts }} attempts</span></p>
{{ m.interval(e.success, 1.0, "95 % interval " ~ percent(e.success.low) ~ " to " ~ percent(e.success.high)
 ~ " (Wilson)", ["0", "50 %", "100 %"]) }}
</div>
<div class="card"><h3>Throughput</h3>
<p class="big">{{ m.num(e.throughput.value, figure(e.throughput.value)) }} <span>successes per hour</span></p>
{{ m.interval(e.throughput, top, "95 % interval " ~ figure(e.throughput.low) ~ " to " ~ figure(e.throughput.high)
 ~ " per hour (bootstrap)", ["0", figure(top / 2), figure(top)]) }}
</div>
{% if d %}<div class="card"><h3>Difference to {{ base }}</h3>
<p class="big">{{ m.num(d.estimate.value, signed(100 * d.estimate.value)) }}
<span>points of success, {{ d.starts }} same starts</span></p>
{{ m.difference(d.estimate, reach, "95 % interval " ~ signed(100 * d.estimate.low) ~ " to "
 ~ signed(100 * d.estimate.high) ~ " points (paired)", [signed(-100 * reach), "0", signed(100 * reach)]) }}
</div>{% endif %}
</div>
{% if e.trials %}<div class="dots" role="img" aria-label="{{ e.successes }} successes among {{ e.trials | length }}
 attempts, in the order of their start seeds">{% for t in e.trials %}<span
 class="dot {{ "good" if t.counts_as_success else ("plain" if t.outcome.value == "aborted" else "bad") }}"
 title="seed {{ t.start_seed }}: {{ t.outcome.value }} after {{ t.steps }} steps"></span>{% endfor %}
<span class="dotkey"><span class="dot good"></span> success <span class="dot bad"></span> failure
{% if aborted %}<span class="dot plain"></span> aborted {% endif %}- one mark per attempt</span></div>{% endif %}
{% endif %}
{% if definition %}<p class="note"><b>Success</b> means: {{ definition.rstrip(".") }}.</p>{% endif %}
{% if e %}<p class="note"><b>Throughput</b> is successes over the time of all attempts: the steps used, the full time
limit for a failure, the reset between attempts, and inference beyond the control period.</p>{% endif %}
"""


def _sentence(data: ReportData, iteration: Iteration | None) -> str:
    if data.nodes and not data.plans("evaluate"):
        return "No step of this run attempts the task, so it measures no success: judge its policy by attempts."
    if iteration is None or iteration.evaluation is None:
        return "No policy has been evaluated in this run yet, so there is no result to report."
    e = iteration.evaluation
    starts = "test starts, which nothing was tuned on" if e.split == "test" else f"{e.split} starts"
    world = {True: "In simulation", False: "On the robot", None: "In attempts of unrecorded origin"}[data.simulated]
    text = (
        f"{world}, the policy of iteration {iteration.index} succeeded in {e.successes} of {e.attempts} attempts "
        f"from {starts}."
    )
    first = next(i for i in data.iterations if i.evaluation is not None)
    if first is not iteration and first.evaluation is not None:
        text += progress_sentence(first, first.evaluation, e)
    if iteration.difference is not None:
        text += difference_sentence(iteration.difference)
    return text


def _context(data: ReportData) -> Mapping[str, Any]:
    iteration = data.best_known
    e = iteration.evaluation if iteration is not None else None
    ends = [] if e is None else [end for end in (e.throughput.high, e.throughput.value) if end is not None]
    d = iteration.difference if iteration is not None else None
    return {
        "d": d,
        "reach": 1.0 if d is None else difference_reach([d.estimate]),
        "base": "" if d is None else ("imitation" if d.since == 0 else f"iteration {d.since}"),
        "gate": ""
        if iteration is None or iteration.gate is None
        else gate_sentence(iteration.gate, iteration, data.tasks),
        "sentence": _sentence(data, iteration),
        "e": e,
        "aborted": e is not None and any(t.outcome.value == "aborted" for t in e.trials),
        "top": nice_end(max(ends, default=0.0)),
        "definition": data.success_definition,
    }


SECTION = Section(id="verdict", order=10, title="Result", template=_TEMPLATE, context=_context)
