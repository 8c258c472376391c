"""Reads what the steps of the loop committed as JSON into the report's figures.

Owns which fields the report reads of which output, and says by name which one is not there. Knows no graph and no page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.report.figures import (
    Candidate,
    Difference,
    Estimate,
    Evaluation,
    Gate,
    LabelFacts,
    Recording,
    ReplayFacts,
    ReplayGroup,
    Selection,
    Training,
    Trial,
    ValueFacts,
)
from pipelines.summary import paired_summary
from recap.errors import ConfigError
from recap.step import Artifact
from recap.types import Outcome, Source

Outputs = Mapping[str, Artifact]

_CLEAN_FLAW = "clean"


def take(record: Any, name: str, node: str) -> Any:
    """`record[name]`; an output of another shape is named rather than shown half.

    Raises:
        ConfigError: no such field.
    """
    if not isinstance(record, Mapping) or name not in record:
        got = sorted(record) if isinstance(record, Mapping) else type(record).__name__
        raise ConfigError(f"report: an output of {node} has no '{name}' (got {got})", hint="recap data verify")
    return record[name]


def recordings(artifact: Artifact, node: str, *, source: Source) -> tuple[Recording, ...]:
    """The attempts of a collection; `source` is that of rows which do not say it."""
    return tuple(
        Recording(
            start_seed=row.get("start_seed"),
            episode_id=take(row, "episode_id", node),
            outcome=Outcome(take(row, "outcome", node)),
            steps=take(row, "steps", node),
            source=Source(row.get("source") or source),
            flaw=None if row.get("flaw") == _CLEAN_FLAW else row.get("flaw"),
        )
        for row in take(artifact.json(), "attempts", node)
    )


def training(artifact: Artifact, node: str, *, seconds: float | None, loss: tuple[tuple[int, float], ...]) -> Training:
    """How a policy was trained; time and loss come from the run's record."""
    record = artifact.json()
    counts = {name: int(take(record, name, node)) for name in ("steps", "frames", "episodes", "parameters")}
    return Training(**counts, seconds=seconds, loss=loss)


def evaluation(made: Outputs, node: str) -> Evaluation:
    """The attempts of an evaluation and their summary."""
    record = made["evaluation"].json()
    # What the clock says is an output of its own, so that equal seeds give equal evaluations.
    timing = made["timing"].json() if "timing" in made else {"summary": {}, "attempts": []}
    summary = {**take(record, "summary", node), **take(timing, "summary", node)}
    inference = {row["start_seed"]: row["inference_s"] for row in take(timing, "attempts", node)}

    def estimate(value: str, stem: str) -> Estimate:
        return Estimate(
            value=take(summary, value, node),
            low=take(summary, f"{stem}_low", node),
            high=take(summary, f"{stem}_high", node),
        )

    return Evaluation(
        split=take(record, "split", node),
        policy_id=take(record, "policy_id", node),
        attempts=take(summary, "attempts", node),
        successes=take(summary, "successes", node),
        success=estimate("success", "success"),
        throughput=estimate("throughput_per_hour", "throughput"),
        mean_steps=take(summary, "mean_steps", node),
        trials=tuple(
            Trial(
                start_seed=take(row, "start_seed", node),
                outcome=Outcome(take(row, "outcome", node)),
                steps=take(row, "steps", node),
                inference_s=inference.get(row["start_seed"], row.get("inference_s")),
                human_steps=take(row, "human_steps", node),
                metrics=row.get("metrics", {}),
            )
            for row in take(record, "attempts", node)
        ),
    )


def difference(later: Evaluation, first: Evaluation, *, since: int) -> Difference:
    """Success of `later` minus that of `first`, start by start.

    Raises:
        ConfigError: the two did not attempt the same starts.
    """
    figures = paired_summary(_rows(later), _rows(first))
    return Difference(
        since=since,
        estimate=Estimate(value=figures["difference"], low=figures["low"], high=figures["high"]),
        starts=int(figures["starts"]),
        same_policy=later.policy_id == first.policy_id,
    )


def _rows(done: Evaluation) -> Sequence[Mapping[str, Any]]:
    return [
        {"start_seed": t.start_seed, "outcome": t.outcome, "steps": t.steps, "human_steps": t.human_steps}
        for t in done.trials
    ]


def gate(artifact: Artifact, node: str) -> Gate:
    """How a promotion was decided."""
    record = artifact.json()
    found = record.get("difference")
    pairs = record.get("pairs")
    return Gate(
        verdict=str(take(record, "verdict", node)).upper(),
        reason=str(record.get("reason", "")),
        # Some rules keep the pairs themselves, others their number.
        pairs=len(pairs) if isinstance(pairs, list) else pairs,
        difference=None
        if found is None
        else Estimate(value=take(found, "value", node), low=take(found, "low", node), high=take(found, "high", node)),
        champion_id=str(record.get("champion_policy_id", "")),
        challenger_id=str(record.get("challenger_policy_id", "")),
        by_task={str(task): dict(won) for task, won in record.get("tasks", {}).items()},
    )


def selection(artifact: Artifact, node: str) -> Selection:
    """Which candidate an iteration went on with."""
    record = artifact.json()
    return Selection(
        candidates=tuple(
            Candidate(
                name=str(take(row, "name", node)),
                guidance=row.get("guidance"),
                successes=take(row, "successes", node),
                attempts=take(row, "attempts", node),
            )
            for row in take(record, "candidates", node)
        ),
        chosen=str(take(record, "chosen", node)),
        split=str(record.get("split", "validation")),
    )


def labels(artifact: Artifact, answers: Artifact | None, node: str) -> LabelFacts:
    """Where the labels of episodes came from, and what they say."""
    record = artifact.json()
    sources = record.get("sources", {}) if answers is None else answers.json().get("sources", {})
    annotations = list(take(record, "annotations", node).values())
    outcomes = [take(annotation, "outcome", node) for annotation in annotations]
    kinds = [int(kind) for annotation in annotations for _, kind, *_ in annotation.get("key_frames", [])]
    return LabelFacts(
        sources={str(name): int(count) for name, count in sources.items()},
        skipped=len(record.get("skipped", [])),
        outcomes={outcome.value: outcomes.count(outcome.value) for outcome in Outcome},
        milestones=sum(kind > 0 for kind in kinds),
        errors=sum(kind < 0 for kind in kinds),
    )


def replay(artifact: Artifact, node: str) -> ReplayFacts:
    """What a policy would have done in recorded situations."""
    record = artifact.json()
    return ReplayFacts(
        statement=str(record.get("statement", "")),
        frames=take(record, "frames", node),
        episodes=take(record, "episodes", node),
        groups=tuple(
            ReplayGroup(
                name=str(name),
                frames=take(group, "frames", node),
                unit=str(unit),
                error=take(mean, "error", node),
                keep_state_error=mean.get("keep_state_error"),
            )
            for name, group in take(record, "groups", node).items()
            for unit, mean in take(group, "mean", node).items()
        ),
        outside_share=record.get("contract", {}).get("outside_share"),
    )


def value_facts(artifact: Artifact, node: str, *, task: str) -> ValueFacts:
    """The value model's figures on one task, beside those of the controls."""
    record = artifact.json()
    name = str(take(record, "model", node))
    figures = {name: _figures_on(take(record, "tasks", node), task, node)}
    for control, tasks in take(record, "controls", node).items():
        figures[str(control)] = _figures_on(tasks, task, node)
    return ValueFacts(
        model=name,
        figures=figures,
        held_out=bool(take(record, "held_out", node)),
        problems=tuple(map(str, take(record, "problems", node))),
    )


def _figures_on(tasks: Mapping[str, Any], task: str, node: str) -> dict[str, Any]:
    """{figure: JSON value} of one model on one task; none where it was not judged on it."""
    return dict(take(tasks[task], "figures", node)) if task in tasks else {}
