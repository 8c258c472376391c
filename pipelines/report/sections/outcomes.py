"""Outcomes of everything that was recorded, by who acted and with which flaw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pipelines.report.formats import words
from pipelines.report.model import ReportData
from pipelines.report.section import Section
from recap.types import Outcome, Source

_TEMPLATE = """
<div class="scroll"><table>
<thead><tr><th>Iteration</th><th>Source</th><th>Flaw</th><th class="n">Attempts</th><th class="n">Success</th>
<th class="n">Failure</th><th class="n">Aborted</th><th class="wide">Success share</th><th class="n">Mean steps</th>
</tr></thead><tbody>
{% for r in rows %}
<tr{% if r.total %} class="total"{% endif %}><td>{{ r.iteration }}</td><td>{{ r.source }}</td><td>{{ r.flaw }}</td>
<td class="n">{{ r.count }}</td><td class="n">{{ r.successes }}</td><td class="n">{{ r.failures }}</td>
<td class="n">{{ r.aborted }}</td><td class="wide">{{ m.share(r.successes, r.count) }}</td>
<td class="n">{{ m.num(r.mean_steps, figure(r.mean_steps)) }}</td></tr>
{% endfor %}
</tbody></table></div>
"""


_CLEAN = "clean"
"""How an attempt without a flaw is called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    iteration: int
    source: str
    flaw: str
    count: int
    successes: int
    failures: int
    aborted: int
    mean_steps: float
    total: bool = False


def _row(iteration: int, source: str, flaw: str, attempts: Iterable[tuple[Outcome, int]], *, total: bool) -> _Row:
    outcomes, steps = zip(*attempts, strict=True)
    return _Row(
        iteration=iteration,
        source=source,
        flaw=flaw,
        count=len(outcomes),
        successes=outcomes.count(Outcome.SUCCESS),
        failures=outcomes.count(Outcome.FAILURE),
        aborted=outcomes.count(Outcome.ABORTED),
        mean_steps=fmean(steps),
        total=total,
    )


def _context(data: ReportData) -> Mapping[str, Any] | str:
    rows: list[_Row] = []
    for iteration in data.iterations:
        recordings = iteration.recordings or ()
        for source in sorted({recording.source for recording in recordings}):
            by_flaw: dict[str, list[tuple[Outcome, int]]] = {}
            for recording in recordings:
                if recording.source is source:
                    without = _CLEAN if source is Source.DEMO else "-"
                    flaw = words(recording.flaw) if recording.flaw else without
                    by_flaw.setdefault(flaw, []).append((recording.outcome, recording.steps))
            flaws = sorted(by_flaw, key=lambda name: (name != _CLEAN, name))
            rows += [_row(iteration.index, source, flaw, by_flaw[flaw], total=False) for flaw in flaws]
            if len(by_flaw) > 1:
                every = [attempt for attempts in by_flaw.values() for attempt in attempts]
                rows.append(_row(iteration.index, source, "all", every, total=True))
        if iteration.evaluation is not None and iteration.evaluation.trials:
            tried = [(trial.outcome, trial.steps) for trial in iteration.evaluation.trials]
            rows.append(_row(iteration.index, "evaluation", "-", tried, total=False))
    return {"rows": rows} if rows else "Nothing has been attempted yet."


SECTION = Section(id="outcomes", order=40, title="Outcomes by source", template=_TEMPLATE, context=_context)
