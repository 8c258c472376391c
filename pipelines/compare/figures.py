"""The figures of a comparison: means over seeds, their intervals, and paired differences to the first model.

Every judgement is made once more with the draws of its intervals kept. Models are judged on the same episodes, so draw
r resamples the same episodes for each of them, and the difference of two models has an interval of its own. With
several seeds an interval is two-level: for each draw, seeds are resampled too, the same for all models.

Letters: S seeds, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.steps.judge.outputs import ValueHealth
from recap.graph import Node
from recap.runner import RunSummary, SilentJournal
from recap.step import StepContext
from recap.workspace import Workspace
from value_model.evaluation import ValueReport
from value_model.metrics import Drawn, Figure, Floats, keeping_draws


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One figure of one model on one task."""

    model: str
    task: str
    figure: str
    value: float | None
    """Mean over seeds; None where a seed has none, with the reason in `note`."""
    low: float | None = None
    high: float | None = None
    difference: float | None = None
    """To the first model; None for that itself."""
    difference_low: float | None = None
    difference_high: float | None = None
    seeds: tuple[float | None, ...] = ()
    """[S] the figure of each."""
    count: int = 0
    """Episodes (or events) behind it."""
    note: str = ""

    @property
    def differs(self) -> bool:
        """The interval of the difference does not hold 0."""
        low, high = self.difference_low, self.difference_high
        return low is not None and high is not None and (low > 0 or high < 0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Judgement:
    """One seed's models, with the draws of their intervals."""

    health: ValueHealth
    drawn: Drawn

    def draws(self, model: str, task: str, name: str, figure: Figure) -> Floats | None:
        """[R] of a figure of a model; None where it has no interval."""
        if figure.low is None:
            return None
        # Some figures are also taken over the episodes that were labelled twice, and another machine rounds otherwise.
        for found, drawn in self.drawn.get(((model, task), name), ()):
            ends = [(found.value, figure.value), (found.low, figure.low), (found.high, figure.high)]
            if all(a is not None and b is not None and math.isclose(a, b, abs_tol=1e-6) for a, b in ends):
                return drawn
        return None


def judge_again(workspace: Workspace, node: Node, summary: RunSummary) -> Judgement:
    """What the judge of a node finds, with its draws; the same figures as those that are stored."""
    inputs = {name: summary.outputs[ref.node][ref.output] for name, ref in node.inputs.items()}
    nowhere = workspace.root / "nowhere"
    context = StepContext(
        node=node.name,
        key="",
        run_name=summary.run_name,
        scratch_dir=nowhere,
        out=nowhere,
        workspace=workspace,
        journal=SilentJournal(),
        executor_factory=_no_executor,
    )
    with keeping_draws() as drawn:
        node.spec.function(context, node.config, node.facts, inputs)
    return Judgement(health=summary.outputs[node.name]["value_health"].read(ValueHealth), drawn=drawn)


def compare(judgements: Sequence[Judgement], models: Sequence[str], *, confidence: float, seed: int) -> list[Compared]:
    """Every figure there is, of every task and model.

    Args:
        judgements: [S] of the same models on the same episodes.
        models: in their order; the others are compared with the first.
        confidence: of the intervals.
        seed: of the resampling of seeds.
    """
    judged = judgements[0].health.models
    rows: list[Compared] = []
    for task in judgements[0].health.own.tasks:
        names = dict.fromkeys(name for model in models for name in judged[model].tasks[task].figures)
        for name in names:
            first: _Measured | None = None
            for model in models:
                measured = _measured(judgements, model, task, name, seed)
                rows.append(_row(measured, first, model, task, name, confidence))
                first = first or measured
    return rows


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Measured:
    """A figure of a model over its seeds."""

    figures: tuple[Figure, ...]
    """[S]"""
    resampled: Floats | None
    """[R] the mean over resampled seeds, each of resampled episodes."""
    defined: tuple[tuple[bool, ...], ...]
    """[S] per episode, which of its numbers there are: other episodes may have counted for another model."""

    @property
    def value(self) -> float | None:
        values = [figure.value for figure in self.figures if figure.value is not None]
        return float(np.mean(values)) if len(values) == len(self.figures) else None


def _measured(judgements: Sequence[Judgement], model: str, task: str, name: str, seed: int) -> _Measured:
    reports = [one.health.models[model].tasks[task] for one in judgements]
    figures = tuple(report.figures.get(name, Figure(value=None, note="not judged")) for report in reports)
    drawn = [one.draws(model, task, name, figure) for one, figure in zip(judgements, figures, strict=True)]
    whole = [one for one in drawn if one is not None]
    resampled = None
    if len(whole) == len(drawn) and len({len(one) for one in whole}) == 1:
        table = np.stack(whole)
        resampled = table[0] if len(table) == 1 else _two_level(table, seed)
    return _Measured(figures=figures, resampled=resampled, defined=tuple(map(_defined, reports)))


def _two_level(drawn: Floats, seed: int) -> Floats:
    """[R] for each draw of episodes the mean over as many seeds, drawn with replacement; from [S, R]."""
    seeds, resamples = drawn.shape
    # The same seeds for every model and figure: what is compared was trained with the same ones.
    picked = np.random.default_rng([seed, seeds]).integers(0, seeds, size=(seeds, resamples))
    mean: Floats = np.take_along_axis(drawn, picked, axis=0).mean(axis=0)
    return mean


def _defined(report: ValueReport) -> tuple[bool, ...]:
    return tuple(value is not None for row in report.per_episode.values() for value in row.values())


def _row(own: _Measured, first: _Measured | None, model: str, task: str, name: str, confidence: float) -> Compared:
    low, high = _ends(own.resampled, confidence)
    note = own.figures[0].note
    difference = difference_low = difference_high = None
    if first is not None and own.value is not None and first.value is not None:
        difference = own.value - first.value
        if own.resampled is None or first.resampled is None:
            pass
        elif _paired(own, first):
            difference_low, difference_high = _ends(own.resampled - first.resampled, confidence)
        else:
            note = "; ".join(filter(None, (note, "difference without interval: not of the same episodes")))
    if own.value is None:
        low = high = None
        note = next(figure.note for figure in own.figures if figure.value is None)
    return Compared(
        model=model,
        task=task,
        figure=name,
        value=own.value,
        low=low,
        high=high,
        difference=difference,
        difference_low=difference_low,
        difference_high=difference_high,
        seeds=tuple(figure.value for figure in own.figures),
        count=own.figures[0].count,
        note=note,
    )


def _paired(own: _Measured, first: _Measured) -> bool:
    counts = [tuple(figure.count for figure in one.figures) for one in (own, first)]
    return counts[0] == counts[1] and own.defined == first.defined


def _ends(drawn: Floats | None, confidence: float) -> tuple[float | None, float | None]:
    """Ends of the percentile interval of draws [R]; none where half of them are undefined."""
    if drawn is None:
        return None, None
    finite = drawn[np.isfinite(drawn)]
    if len(finite) < len(drawn) / 2:
        return None, None
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def over_horizons(
    health: Mapping[int, Sequence[ValueHealth]],
) -> dict[tuple[str, str], dict[str, list[tuple[float, float]]]]:
    """{(task, figure): {model: [(N, mean over seeds)]}} of the figures that depend on the look-ahead N.

    Args:
        health: {N: [S] what the judge found}.
    """
    found: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for steps, seeds in health.items():
        for model, judged in seeds[0].models.items():
            for task, report in judged.tasks.items():
                for name in report.figures:
                    values = [one.models[model].tasks[task].figures[name].value for one in seeds]
                    if all(value is not None for value in values):
                        mean = float(np.mean(np.array(values, dtype=np.float64)))
                        found.setdefault((task, name), {}).setdefault(model, []).append((float(steps), mean))
    return {place: lines for place, lines in found.items() if any(_moves(points) for points in lines.values())}


def _moves(points: Sequence[tuple[float, float]]) -> bool:
    return len({value for _, value in points}) > 1


def _no_executor() -> Any:
    raise AssertionError("the judge asks for no executor")
