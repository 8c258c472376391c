"""The run of `made_up_run`, with everything that later stages of the loop add."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from made_up_run import complete_run, film, moving_disc

from pipelines.report.model import (
    AdvantageFacts,
    AdvantageShare,
    Difference,
    Histogram,
    Iteration,
    LabelFacts,
    Node,
    NodeState,
    ReportData,
    ValueFacts,
    ValueTraining,
)
from pipelines.report.pictures import FilmRow, Mark, ValueStrip
from pipelines.steps.checkpoint_selection.outputs import Candidate, Selection
from pipelines.steps.gate.outputs import GateResult
from recap.gate import GateDecision, Verdict
from recap.graph import NodeName
from recap.stats import Estimate
from recap.types import Outcome, Source
from value_model.metrics import Figure

THRESHOLD = 0.012
STAGES = {
    "record": 64.0,
    "annotate": 0.4,
    "value_train": 190.0,
    "value_label": 20.0,
    "judge": 2.0,
    "advantage": 1.2,
    "policy": 148.2,
    "checkpoint_selection": 44.0,
    "gate": 71.0,
    "evaluate": 31.7,
}


def strip(
    slug: str, source: Source, outcome: Outcome, length: int, marks: tuple[Mark, ...], **changes: Any
) -> ValueStrip:
    base = film(slug, f"{source.value.capitalize()} of iteration 2", source, outcome, length, marks)
    rows = (FilmRow(camera="cam_high", frames=moving_disc(length, 64, 10)[list(base.steps)]),)
    time = np.arange(length) / length
    value = -0.5 + 0.45 * time if outcome is Outcome.SUCCESS else -0.5 - 0.4 * time
    value = value + 0.03 * np.sin(25 * time)
    advantage = 0.04 * np.sin(9 * time) + (0.01 if outcome is Outcome.SUCCESS else -0.01)
    intervened = np.zeros(length, np.bool_)
    if source is Source.CORRECTION:
        intervened[length // 2 : length // 2 + 30] = True
    values: dict[str, Any] = {
        "film": dataclasses.replace(base, rows=rows),
        "iteration": 2,
        "source": source,
        "value": value.astype(np.float32),
        "spread": np.full(length, 0.02, np.float32),
        "advantage": advantage.astype(np.float32),
        "positive": (advantage > THRESHOLD) | intervened,
        "forced": intervened,
        "intervened": intervened,
        "threshold": THRESHOLD,
    }
    return ValueStrip(**{**values, **changes})


def strips() -> tuple[ValueStrip, ...]:
    return (
        strip("success", Source.ROLLOUT, Outcome.SUCCESS, 133, (Mark(t=120, name="hem_folded", kind=1),)),
        strip(
            "failure",
            Source.ROLLOUT,
            Outcome.FAILURE,
            240,
            (Mark(t=96, name="missed_grasp_right", kind=-1), Mark(t=104, name="sleeve_folded_left", kind=1)),
        ),
        strip("correction", Source.CORRECTION, Outcome.SUCCESS, 171, (Mark(t=80, name="missed_grasp_left", kind=-1),)),
    )


def histogram(source: str, centre: float, forced_share: float) -> Histogram:
    edges = np.linspace(-0.12, 0.12, 49)
    middle = (edges[:-1] + edges[1:]) / 2
    counts = np.round(4000 * np.exp(-(((middle - centre) / 0.03) ** 2))).astype(int)
    forced = np.round(counts * forced_share).astype(int)
    rest = counts - forced
    return Histogram(
        source=source,
        negative=tuple(int(n) for n in np.where(middle <= THRESHOLD, rest, 0)),
        positive=tuple(int(n) for n in np.where(middle > THRESHOLD, rest, 0)),
        forced=tuple(int(n) for n in forced),
    )


def advantage(index: int) -> AdvantageFacts:
    return AdvantageFacts(
        threshold=THRESHOLD,
        lookahead=18,
        edges=tuple(float(e) for e in np.linspace(-0.12, 0.12, 49)),
        histograms=(histogram("demo", 0.02, 0.0), histogram("rollout", 0.0, 0.0), histogram("correction", 0.01, 0.3)),
        shares=(
            AdvantageShare(source="demo", iteration=0, episodes=60, frames=9_412, positive=5_100, forced=0),
            AdvantageShare(source="rollout", iteration=index, episodes=24, frames=4_812, positive=1_877, forced=0),
            AdvantageShare(source="correction", iteration=index, episodes=6, frames=1_031, positive=611, forced=402),
        ),
        beyond=31,
        not_finite=0,
        health={"achieved_share": 0.398, "target_share": 0.4, "ties": 0, "value_std": 0.21},
        problems=(),
    )


def value_facts(auc: float, problems: tuple[str, ...] = ()) -> ValueFacts:
    def model(score: float) -> dict[str, Figure]:
        return {
            "auc_75": Figure(value=score, low=score - 0.06, high=score + 0.05, count=90, note="60 successes"),
            "spearman_time_median": Figure(value=0.93, low=0.9, high=0.95, count=60, note=""),
            "mse_return": Figure(value=0.02, low=None, high=None, count=90, note=""),
            "flip_rate": Figure(value=None, low=None, high=None, count=0, note="values were drawn once"),
        }

    figures = {"viva": model(auc), "clock": model(0.5), "state_only": model(0.71)}
    return ValueFacts(model="viva", figures=figures, held_out=True, problems=problems)


def loop_run(**changes: Any) -> ReportData:
    """Imitation and two RECAP iterations: the first kept the champion, the second was promoted."""
    base = complete_run()
    iterations: list[Iteration] = [dataclasses.replace(base.iterations[0], selection=selection(0))]
    for index, (verdict, difference, low, high) in enumerate(
        ((Verdict.UNDECIDED, 0.25, -0.02, 0.4), (Verdict.PROMOTED, 0.475, 0.31, 0.6)), start=1
    ):
        iterations.append(
            dataclasses.replace(
                base.iterations[index],
                labels=LabelFacts(
                    sources={"detector": 80, "imported": 6, "human": 4},
                    skipped=2,
                    outcomes={"success": 60, "failure": 29, "aborted": 1},
                    milestones=188,
                    errors=41,
                ),
                value=value_facts(0.8 + 0.05 * index),
                value_training=ValueTraining(
                    folds=tuple({"fold": fold, "steps": 600, "loss": 0.1} for fold in (0, 1)),
                    seconds=200.0,
                    loss={
                        name: tuple((s, 0.5 * math.exp(-s / 200) + 0.03) for s in range(1, 600, 3))
                        for name in ("loss", "fold1_loss")
                    },
                ),
                advantage=advantage(index),
                selection=selection(index),
                gate=gate(verdict),
                difference=Difference(
                    since=0, estimate=Estimate(value=difference, low=low, high=high), starts=40, same_policy=False
                ),
            )
        )
    nodes = tuple(
        Node(
            name=NodeName(i, stage),
            step=stage,
            state=NodeState.DONE,
            seconds=seconds * (1 + 0.1 * i),
            attempts=1,
            key="a1" * 32,
        )
        for i in range(3)
        for stage, seconds in STAGES.items()
        if i or stage in ("record", "policy", "checkpoint_selection", "evaluate")
    )
    first = Node(
        name=NodeName(0, "pretrain"), step="policy", state=NodeState.DONE, seconds=95.0, attempts=1, key="b2" * 32
    )
    values = {"iterations": tuple(iterations), "nodes": (first, *nodes), "strips": strips()}
    return dataclasses.replace(base, **{**values, **changes})


def gate(verdict: Verdict, champion: str = "c" * 16, challenger: str = "d" * 16, pairs: int = 60) -> GateResult:
    decision = GateDecision(
        verdict=verdict,
        final=True,
        reason=f"{verdict.value} (look 3 of 5, 60 starts): 31 of 40 starts where they differ",
        difference=Estimate(value=0.2, low=0.05, high=0.33),
        starts=60,
        pairs=pairs,
        aborted=0,
        challenger_only=31,
        champion_only=9,
        looks=(),
        next_starts=None,
    )
    return GateResult(
        decision=decision,
        renderer="ray",
        champion_policy_id=champion,
        challenger_policy_id=challenger,
        attempts=(),
    )


def selection(index: int) -> Selection:
    def tried(step: int, guidance: float, successes: int) -> Candidate:
        name = f"step-{step:06d}-beta-{guidance:g}"
        return Candidate(name=name, step=step, guidance=guidance, noise_scale=1.0, attempts=24, successes=successes)

    return Selection(
        tasks=("shirt_folding",),
        split="validation",
        chosen="step-000800-beta-1",
        candidates=(tried(400, 1.0, 9 + index), tried(800, 1.0, 13 + index), tried(800, 2.0, 11)),
    )
