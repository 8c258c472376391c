"""The one module of the report that reads what steps leave: the names of nodes, their outputs and their losses.

Everything else of the report sees the dataclasses of `model`. Reads without the workspace's lock and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from data.annotation import Annotations
from data.episode_set import EpisodeSet
from data.frame_table import FrameTable
from data.tasks import TASKS
from pipelines.experience import seen_by_none
from pipelines.report.arms import OF_ONE_TASK, arm_of
from pipelines.report.model import (
    Curve,
    Difference,
    Evaluation,
    Iteration,
    LabelFacts,
    Node,
    NodeState,
    Training,
    Trial,
    ValueFacts,
    ValueTraining,
)
from pipelines.report.tables import Origin, advantage_facts
from pipelines.steps.annotate.outputs import Answers
from pipelines.steps.checkpoint_selection.outputs import Selection
from pipelines.steps.evaluate.outputs import EvaluatedAttempt, Film, Timing
from pipelines.steps.evaluate.outputs import Evaluation as EvaluationOutput
from pipelines.steps.evaluate.summary import paired_difference
from pipelines.steps.gate.outputs import GateResult
from pipelines.steps.judge.outputs import ValueHealth
from pipelines.steps.open_loop_eval.outputs import OpenLoopEval
from pipelines.steps.policy.outputs import PolicyTraining
from pipelines.steps.record.outputs import RecordedAttempt, Recording
from pipelines.steps.value_train.outputs import ValueTraining as ValueTrainingOutput
from recap.errors import ArtifactCorrupt, ConfigError
from recap.graph import NodeName
from recap.journal import read_journal
from recap.provenance import NodeStatus, RunStatus, attempts_at, last_attempt, run_status
from recap.specs import TaskSpec
from recap.stats import Estimate
from recap.step import Artifact
from recap.store import Store
from recap.types import Outcome
from recap.workspace import Workspace
from value_model.health import LabelHealth

Outputs = Mapping[str, Artifact]

_PRETRAINING = "pretrain"
_LOSS = "loss"
_CLEAN = "clean"  # what a demonstration without a flaw says
_UNFINISHED = {
    NodeState.PENDING: "not begun",
    NodeState.RUNNING: "still running",
    NodeState.FAILED: "failed",
    NodeState.INTERRUPTED: "interrupted",
    NodeState.KILLED: "killed before it was done",
    NodeState.WAITING: "waiting for a person",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What there is of a run, or of one task in it."""

    status: RunStatus
    tasks: tuple[str, ...]
    """All that a run of several tasks works on; none of a run of one."""
    task: TaskSpec | None
    """The one told of; None of a run that an older recap made."""
    nodes: tuple[Node, ...]
    """Those that concern the task."""
    outputs: Mapping[NodeName, Outputs]
    """Of the finished nodes, in their order."""
    attempts: Mapping[str, Mapping[str, Any]]
    """{node: record of the last attempt at it}"""
    curves: Mapping[NodeName, Mapping[str, Curve]]
    """{node: {loss: pairs}}"""
    missing: list[str]
    """A sentence for each output that is not there or cannot be read; grows as it is read."""

    def of(self, step: str, output: str) -> list[tuple[Node, Artifact]]:
        """An output of every node of a step that has it, in the run's order; those of arms beside are left out."""
        own = (node for node in self.nodes if node.step == step and not arm_of(node))
        made = [(node, self.outputs.get(node.name, {})) for node in own]
        return [(node, found[output]) for node, found in made if output in found]

    def table(self, node: Node, artifact: Artifact) -> FrameTable | None:
        """The table of an output; None, and a sentence in `missing`, if it cannot be read."""
        try:
            return FrameTable.read(artifact.path)
        except ArtifactCorrupt as error:
            self.missing.append(f"{node.name}: its {artifact.name} cannot be read ({error.message})")
            return None


@dataclass(frozen=True, kw_only=True, slots=True)
class LatestValues:
    """The values of the latest iteration that has any, with what was made of them."""

    iteration: int
    values: FrameTable
    """Arrays value, and spread where there is one."""
    held_out: bool
    """The models had not seen the episodes."""
    labels: FrameTable | None
    """Arrays advantage, positive, forced."""
    annotations: Annotations | None


def read_run(workspace: Workspace, run_name: str, *, only: str | None = None) -> Run:
    """What there is of a run; of several tasks, `only` is the one to tell of.

    Raises:
        UnknownName: no such run, or its task is not registered.
    """
    status = run_status(workspace, run_name)
    named = [(one, NodeName.parse(one.name)) for one in status.nodes if one.step != "constant"]
    tasks = tuple(dict.fromkeys(name.subject for one, name in named if one.step == "record"))
    own = [
        (one, name)
        for one, name in named
        if only is None or one.step not in OF_ONE_TASK or name.subject.rpartition("/")[2] == only
    ]
    records, _ = read_journal(workspace.run_dir(run_name) / "journal.jsonl")
    progress = {
        record["node"]: f"{record['done']:,} of {record['total']:,} {record['unit']}"
        for record in records
        if record["kind"] == "progress"
    }
    nodes = tuple(_node(workspace, run_name, one, name, progress.get(one.name, "")) for one, name in own)
    outputs, missing = _outputs(workspace, nodes)
    attempts = {one.name: last_attempt(workspace, run_name, one.name) for one, _ in own}
    shown = only or next(iter(tasks), None)
    return Run(
        status=status,
        tasks=tasks if len(tasks) > 1 else (),
        task=None if shown is None else TASKS.get(shown).spec,
        nodes=nodes,
        outputs=outputs,
        attempts={name: attempt for name, attempt in attempts.items() if attempt is not None},
        curves=_loss_curves(records),
        missing=missing,
    )


def _node(workspace: Workspace, run_name: str, status: NodeStatus, name: NodeName, progress: str) -> Node:
    made = [] if status.key is None else attempts_at(workspace, status.step, status.key)
    own = [a for a in made if a["run"] == run_name and a["node"] == status.name]
    state = NodeState(status.state)
    if state is NodeState.CACHED and any(a["state"] == "done" for a in own):
        # A re-issued run finds what its earlier attempt computed.
        state = NodeState.DONE
    ended = [a["seconds"] for a in own if "seconds" in a]
    return Node(
        name=name,
        step=status.step,
        state=state,
        seconds=sum(ended) if ended else None,
        attempts=len(own),
        key=status.key or "",
        progress="" if state.finished else progress,
        error=status.error,
    )


def _outputs(workspace: Workspace, nodes: Sequence[Node]) -> tuple[dict[NodeName, Outputs], list[str]]:
    """The committed outputs of the finished nodes, and a sentence for each node that has none."""
    store = Store(workspace)
    found: dict[NodeName, Outputs] = {}
    missing: list[str] = []
    for node in nodes:
        if not node.state.finished or not node.key:
            detail = f" ({node.progress})" if node.progress else ""
            missing.append(f"{node.name}: {_UNFINISHED[node.state]}{detail}")
            continue
        try:
            loaded = store.load(node.step, node.key)
            lost = "is no longer stored" if loaded is None else ""
        except ArtifactCorrupt as error:
            loaded, lost = None, f"is damaged ({error.message})"
        if loaded is None:
            missing.append(f"{node.name}: its output {lost}; the run recomputes it when re-issued")
        else:
            found[node.name] = loaded
    return found, missing


def _loss_curves(records: Sequence[Mapping[str, Any]]) -> dict[NodeName, dict[str, Curve]]:
    """The losses of each node, of its latest settings only; a gradient step repeated after a kill counts once."""
    keys: dict[str, str] = {}
    curves: dict[str, dict[str, dict[int, float]]] = {}
    for record in records:
        node = record["node"]
        if record["kind"] == "step_started" and keys.get(node) != record["key"]:
            keys[node], curves[node] = record["key"], {}
        elif record["kind"] == "metrics":
            for name, value in record["values"].items():
                if name.endswith(_LOSS):
                    curves.setdefault(node, {}).setdefault(name, {})[record["step"]] = float(value)
    return {
        NodeName.parse(node): {name: tuple(sorted(curve.items())) for name, curve in named.items()}
        for node, named in curves.items()
        if named
    }


def iterations(run: Run) -> tuple[Iteration, ...]:
    """What each turn of the loop measured; what does not fit together is named in `run.missing`.

    Raises:
        ConfigError: an output lacks a field that the report reads.
    """
    parts: dict[int, dict[str, Any]] = {node.name.iteration: {} for node in run.nodes}
    task = "" if run.task is None else run.task.id
    for node in run.nodes:
        made, part, curves = run.outputs.get(node.name), parts[node.name.iteration], run.curves.get(node.name, {})
        if not made or arm_of(node):
            continue
        match node.step:
            case "record":
                part["recordings"] = (*part.get("recordings", ()), *_recordings(made["summary"].read(Recording)))
            case "annotate":
                part["labels"] = _labels(made)
            case "judge":
                part["value"] = _value_facts(made["value_health"].read(ValueHealth), task)
            case "value_train":
                # The first is the one that labels.
                part.setdefault("value_training", _value_training(made["training"], node, curves))
            case "policy":
                kind = "pretraining" if node.name.stage == _PRETRAINING else "training"
                part[kind] = _training(made["training"].read(PolicyTraining), node, curves)
            case "checkpoint_selection":
                part["selection"] = made["selection"].read(Selection)
            case "gate":
                part["gate"] = made["decision"].read(GateResult)
            case "open_loop_eval":
                part["open_loop"] = made["open_loop"].read(OpenLoopEval)
            case "evaluate":
                part["evaluation"] = _evaluation(made["evaluation"].read(EvaluationOutput), made["timing"].read(Timing))
    _add_differences(run, parts)
    origins: dict[str, Origin] = {
        one.episode_id: (one.source.value, index)
        for index, part in sorted(parts.items())
        for one in part.get("recordings", ())
    }
    for node, artifact in run.of("advantage", "labels"):
        table = run.table(node, artifact)
        if table is not None:
            health = run.outputs[node.name]["health"].read(LabelHealth)
            parts[node.name.iteration]["advantage"] = advantage_facts(
                table, health, task=task, origins=origins, several=bool(run.tasks)
            )
    return tuple(Iteration(index=index, **parts[index]) for index in sorted(parts))


def films(run: Run) -> list[tuple[int, Film]]:
    """(iteration, attempt) of the evaluation attempts that were kept as episodes."""
    return [
        (node.name.iteration, film)
        for node, artifact in run.of("evaluate", "evaluation")
        for film in artifact.read(EvaluationOutput).films
    ]


def episode_ids(run: Run, turns: Sequence[Iteration]) -> set[str]:
    """Every episode that the run's outputs refer to."""
    ids = {film.episode_id for _, film in films(run)}
    ids |= {recording.episode_id for turn in turns for recording in turn.recordings or ()}
    for made in run.outputs.values():
        if "episodes" in made:
            ids |= set(EpisodeSet.from_json(made["episodes"].json()))
    return ids


def latest_values(run: Run) -> LatestValues | None:
    """Of the model that labels, the first of its iteration; None without values that can be read."""
    labelled = run.of("value_label", "values")
    if not labelled:
        return None
    latest = max(node.name.iteration for node, _ in labelled)
    values = next(run.table(node, made) for node, made in labelled if node.name.iteration == latest)
    if values is None:
        return None
    labels = [run.table(*one) for one in run.of("advantage", "labels") if one[0].name.iteration == latest]
    said = [made.json() for node, made in run.of("annotate", "annotations") if node.name.iteration == latest]
    return LatestValues(
        iteration=latest,
        values=values,
        held_out=seen_by_none(values.facts),
        labels=labels[0] if labels else None,
        annotations=Annotations.from_json(said[0]) if said else None,
    )


def _recordings(found: Recording) -> tuple[RecordedAttempt, ...]:
    judged = (one for one in found.attempts if one.outcome is not None)
    return tuple(replace(one, flaw="") if one.flaw == _CLEAN else one for one in judged)


def _training(found: PolicyTraining, node: Node, curves: Mapping[str, Curve]) -> Training:
    return Training(
        steps=int(found.figures.get("steps", 0)),
        parameters=int(found.figures.get("parameters", 0)),
        frames=found.frames,
        episodes=found.episodes,
        seconds=node.seconds,
        loss=curves.get(_LOSS, ()),
    )


def _value_training(artifact: Artifact, node: Node, curves: Mapping[str, Curve]) -> ValueTraining:
    trained = artifact.read(ValueTrainingOutput).trainings
    folds = tuple({"fold": one.fold, **one.figures} for one in trained)
    return ValueTraining(folds=folds, seconds=node.seconds, loss=curves)


def _evaluation(found: EvaluationOutput, clock: Timing) -> Evaluation:
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
            )
            for one in found.attempts
        ),
    )


def _add_differences(run: Run, parts: Mapping[int, dict[str, Any]]) -> None:
    """Adds to each later iteration its difference to the first evaluated one."""
    evaluated = [index for index in sorted(parts) if "evaluation" in parts[index]]
    for index in evaluated[1:]:
        first = evaluated[0]
        now, before = parts[index]["evaluation"], parts[first]["evaluation"]
        try:
            found = paired_difference(_attempts(now), _attempts(before))
        except ConfigError as error:
            run.missing.append(f"difference of iteration {index} to iteration {first}: {error.message}")
            continue
        parts[index]["difference"] = Difference(
            since=first,
            estimate=Estimate(value=found.difference, low=found.low, high=found.high),
            starts=found.starts,
            same_policy=now.policy_id == before.policy_id,
        )


def _attempts(done: Evaluation) -> tuple[EvaluatedAttempt, ...]:
    return tuple(
        EvaluatedAttempt(start_seed=t.start_seed, outcome=t.outcome, steps=t.steps, human_steps=t.human_steps)
        for t in done.trials
    )


def _labels(made: Outputs) -> LabelFacts:
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


def _value_facts(found: ValueHealth, task: str) -> ValueFacts:
    names = [found.name, *(name for name in found.models if name != found.name)]
    reports = {name: found.models[name].tasks.get(task) for name in names}
    return ValueFacts(
        model=found.name,
        figures={name: {} if report is None else report.figures for name, report in reports.items()},
        held_out=found.held_out,
        problems=found.problems,
        differences=found.differences.get(task, {}),
    )
