"""Turns the typed outputs of steps into the report's figures. Knows no graph and no page."""

from __future__ import annotations

from collections.abc import Mapping

from data.annotation import Annotations
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
    ValueTraining,
)
from pipelines.steps.annotate.outputs import Answers
from pipelines.steps.checkpoint_selection.outputs import Selection as SelectionOutput
from pipelines.steps.evaluate.outputs import EvaluatedAttempt, Timing
from pipelines.steps.evaluate.outputs import Evaluation as EvaluationOutput
from pipelines.steps.evaluate.summary import paired_difference
from pipelines.steps.gate.outputs import GateResult
from pipelines.steps.judge.outputs import ValueHealth
from pipelines.steps.open_loop_eval.outputs import OpenLoopEval
from pipelines.steps.policy.outputs import PolicyTraining
from pipelines.steps.record.outputs import Recording as RecordingOutput
from pipelines.steps.value_train.outputs import ValueTraining as ValueTrainingOutput
from recap.step import Artifact
from recap.types import Outcome

Outputs = Mapping[str, Artifact]
Curve = tuple[tuple[int, float], ...]

_CLEAN_FLAW = "clean"


def recordings(artifact: Artifact) -> tuple[Recording, ...]:
    """The judged attempts of a recording."""
    return tuple(
        Recording(
            start_seed=one.start_seed,
            episode_id=one.episode_id,
            outcome=one.outcome,
            steps=one.steps,
            source=one.source,
            flaw=None if one.flaw in ("", _CLEAN_FLAW) else one.flaw,
        )
        for one in artifact.read(RecordingOutput).attempts
        if one.outcome is not None
    )


def training(artifact: Artifact, *, seconds: float | None, loss: Curve) -> Training:
    """How a policy was trained; time and loss come from the run's record."""
    found = artifact.read(PolicyTraining)
    return Training(
        steps=int(found.figures.get("steps", 0)),
        parameters=int(found.figures.get("parameters", 0)),
        frames=found.frames,
        episodes=found.episodes,
        seconds=seconds,
        loss=loss,
    )


def value_training(artifact: Artifact, *, seconds: float | None, loss: Mapping[str, Curve]) -> ValueTraining:
    """How a value model was trained; time and losses come from the run's record."""
    found = artifact.read(ValueTrainingOutput)
    return ValueTraining(
        model=found.family,
        folds=tuple({"fold": one.fold, **one.figures} for one in found.trainings),
        seconds=seconds,
        loss=loss,
    )


def evaluation(made: Outputs) -> Evaluation:
    """The attempts of an evaluation and their summary."""
    found, clock = made["evaluation"].read(EvaluationOutput), made["timing"].read(Timing)
    success, throughput = found.summary, clock.summary
    inference = {one.start_seed: one.inference_s for one in clock.attempts}
    return Evaluation(
        split=found.split,
        policy_id=found.policy_id,
        attempts=success.attempts,
        successes=success.successes,
        success=Estimate(value=success.success, low=success.success_low, high=success.success_high),
        throughput=Estimate(
            value=throughput.throughput_per_hour, low=throughput.throughput_low, high=throughput.throughput_high
        ),
        mean_steps=success.mean_steps,
        trials=tuple(
            Trial(
                start_seed=one.start_seed,
                outcome=one.outcome,
                steps=one.steps,
                inference_s=inference.get(one.start_seed),
                human_steps=one.human_steps,
                metrics=one.metrics,
            )
            for one in found.attempts
        ),
    )


def difference(later: Evaluation, first: Evaluation, *, since: int) -> Difference:
    """Success of `later` minus that of `first`, start by start.

    Raises:
        ConfigError: the two did not attempt the same starts.
    """
    found = paired_difference(_attempts(later), _attempts(first))
    return Difference(
        since=since,
        estimate=Estimate(value=found.difference, low=found.low, high=found.high),
        starts=found.starts,
        same_policy=later.policy_id == first.policy_id,
    )


def _attempts(done: Evaluation) -> tuple[EvaluatedAttempt, ...]:
    return tuple(
        EvaluatedAttempt(start_seed=t.start_seed, outcome=t.outcome, steps=t.steps, human_steps=t.human_steps)
        for t in done.trials
    )


def gate(artifact: Artifact) -> Gate:
    """How a promotion was decided."""
    found = artifact.read(GateResult)
    decision, by_task = found.decision, found.tasks
    between = decision.difference
    return Gate(
        verdict=decision.verdict.value.upper(),
        reason=decision.reason,
        pairs=decision.pairs,
        difference=None if between is None else Estimate(value=between.value, low=between.low, high=between.high),
        champion_id=found.champion_policy_id,
        challenger_id=found.challenger_policy_id,
        by_task={
            task: {"pairs": one.pairs, "champion": one.champion, "challenger": one.challenger}
            for task, one in (by_task.items() if len(by_task) > 1 else ())
        },
    )


def selection(artifact: Artifact) -> Selection:
    """Which candidate an iteration went on with."""
    found = artifact.read(SelectionOutput)
    return Selection(
        candidates=tuple(
            Candidate(name=one.name, guidance=one.guidance, successes=one.successes, attempts=one.attempts)
            for one in found.candidates
        ),
        chosen=found.chosen,
        split=found.split,
    )


def labels(made: Outputs) -> LabelFacts:
    """Where the labels of episodes came from, and what they say."""
    annotations = Annotations.from_json(made["annotations"].json())
    outcomes = [one.outcome for one in annotations.by_id.values()]
    kinds = [frame.kind for one in annotations.by_id.values() for frame in one.key_frames]
    return LabelFacts(
        sources=made["answers"].read(Answers).sources,
        skipped=len(annotations.missing),
        outcomes={outcome.value: outcomes.count(outcome) for outcome in Outcome},
        milestones=sum(kind > 0 for kind in kinds),
        errors=sum(kind < 0 for kind in kinds),
    )


def open_loop(artifact: Artifact) -> ReplayFacts:
    """What a policy would have done in recorded situations."""
    found = artifact.read(OpenLoopEval)
    return ReplayFacts(
        statement=found.statement,
        frames=found.frames,
        episodes=found.episodes,
        groups=tuple(
            ReplayGroup(
                name=name, frames=group.frames, unit=unit, error=mean.error, keep_state_error=mean.keep_state_error
            )
            for name, group in found.groups.items()
            for unit, mean in group.mean.items()
        ),
        outside_fraction=found.contract.outside_fraction,
    )


def value_facts(artifact: Artifact, *, task: str) -> ValueFacts:
    """The labelling value model's figures on one task, beside those of the others."""
    found = artifact.read(ValueHealth)
    names = [found.name, *(name for name in found.models if name != found.name)]
    return ValueFacts(
        model=found.name,
        figures={
            name: {
                figure: value.to_json() for figure, value in (reports[task].figures.items() if task in reports else ())
            }
            for name in names
            for reports in (found.models[name].tasks,)
        },
        held_out=found.held_out,
        problems=found.problems,
    )
