"""The sections about attempts at the task: the headline, success per iteration, outcomes, films."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pipelines.report.formats import difference_reach, nice_end, words
from pipelines.report.model import Evaluation, Iteration, ReportData
from pipelines.report.wording import difference_sentence, gate_sentence, progress_sentence
from recap.types import Outcome, Source

Context = Mapping[str, Any] | str | None

_CLEAN = "clean"
"""How a demonstration without a flaw is called."""


def throughput_end(evaluations: Iterable[Evaluation]) -> float:
    """End of one axis of throughput for all of them."""
    return nice_end(max((e.throughput.high for e in evaluations), default=0.0))


def verdict(data: ReportData) -> Context:
    """How well the latest policy does, how sure that is, and whether the world was simulated."""
    iteration = data.evaluated[-1] if data.evaluated else None
    e = None if iteration is None else iteration.evaluation
    d = None if iteration is None else iteration.difference
    gated = iteration is not None and iteration.gate is not None
    return {
        "d": d,
        "reach": difference_reach([d.estimate] if d else []),
        "base": d.base if d else "",
        "gate": gate_sentence(iteration, data.tasks) if iteration is not None and gated else "",
        "sentence": _headline(data, iteration, e),
        "e": e,
        "aborted": e is not None and any(t.outcome is Outcome.ABORTED for t in e.trials),
        "top": throughput_end([e] if e else []),
        "definition": data.success_definition,
    }


def _headline(data: ReportData, iteration: Iteration | None, e: Evaluation | None) -> str:
    if data.nodes and not data.plans("evaluate"):
        return "No step of this run attempts the task, so it measures no success: judge its policy by attempts."
    if iteration is None or e is None:
        return "No policy has been evaluated in this run yet, so there is no result to report."
    starts = "test starts, which nothing was tuned on" if e.split == "test" else f"{e.split} starts"
    world = {True: "In simulation", False: "On the robot", None: "In attempts of unrecorded origin"}[data.simulated]
    text = (
        f"{world}, the policy of iteration {iteration.index} succeeded in {e.successes} of {e.attempts} attempts "
        f"from {starts}."
    )
    first = data.evaluated[0]
    if first is not iteration and first.evaluation is not None:
        text += progress_sentence(first.index, first.evaluation, e)
    if iteration.difference is not None:
        text += difference_sentence(iteration.difference)
    return text


def iterations(data: ReportData) -> Context:
    """Success and throughput per iteration, on one scale, so that progress is seen rather than read."""
    if not data.evaluated:
        return "No iteration has been evaluated yet." if not data.nodes or data.plans("evaluate") else None
    differences = [i.difference for i in data.iterations if i.difference is not None]
    return {
        "paired": bool(differences),
        "first": data.evaluated[0],
        "base": differences[0].base if differences else "",
        "reach": difference_reach(d.estimate for d in differences),
        "rows": data.iterations,
        "top": throughput_end(i.evaluation for i in data.iterations if i.evaluation is not None),
        "several": bool(data.tasks),
        "gated": any(i.gate is not None for i in data.iterations),
    }


def open_loop(data: ReportData) -> Context:
    """What a policy would have done in recorded situations: all that an offline run can measure."""
    rows = [(i.index, i.open_loop) for i in data.iterations if i.open_loop is not None]
    if not rows:
        return "No policy has acted on recorded frames yet." if data.plans("open_loop_eval") else None
    return {"rows": rows, "statements": list(dict.fromkeys(r.statement for _, r in rows if r.statement))}


def films(data: ReportData) -> Context:
    """What success and failure look like, with the simulator's events under the frames."""
    cameras = dict.fromkeys(row.camera for film in data.films for row in film.rows)
    return {"cameras": list(cameras), "films": data.films}


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeRow:
    """Attempts of one kind."""

    iteration: int
    source: str
    flaw: str
    attempts: list[tuple[Outcome | None, int]]
    """(outcome, steps)"""
    total: bool = False

    def of(self, name: str) -> int:
        """How many ended so."""
        return sum(outcome == name for outcome, _ in self.attempts)

    @property
    def mean_steps(self) -> float:
        """Control steps of an attempt."""
        return fmean(steps for _, steps in self.attempts)


def outcomes(data: ReportData) -> Context:
    """Outcomes of everything that was recorded, by who acted and with which flaw."""
    rows: list[OutcomeRow] = []
    for iteration in data.iterations:
        recordings = iteration.recordings or ()
        for source in sorted({recording.source for recording in recordings}):
            by_flaw: dict[str, list[tuple[Outcome | None, int]]] = {}
            for one in recordings:
                if one.source is source:
                    flaw = words(one.flaw) or (_CLEAN if source is Source.DEMO else "-")
                    by_flaw.setdefault(flaw, []).append((one.outcome, one.steps))
            rows += [
                OutcomeRow(iteration=iteration.index, source=source, flaw=flaw, attempts=by_flaw[flaw])
                for flaw in sorted(by_flaw, key=lambda name: (name != _CLEAN, name))
            ]
            if len(by_flaw) > 1:
                every = [attempt for attempts in by_flaw.values() for attempt in attempts]
                rows.append(
                    OutcomeRow(iteration=iteration.index, source=source, flaw="all", attempts=every, total=True)
                )
        if iteration.evaluation is not None and iteration.evaluation.trials:
            tried: list[tuple[Outcome | None, int]] = [(t.outcome, t.steps) for t in iteration.evaluation.trials]
            rows.append(OutcomeRow(iteration=iteration.index, source="evaluation", flaw="-", attempts=tried))
    return {"rows": rows} if rows else "Nothing has been attempted yet."
