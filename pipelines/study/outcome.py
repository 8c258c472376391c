"""What came of a cell, read from the outputs and the records of the run that it came out of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.config import RunConfig
from pipelines.graph import build_graph
from pipelines.steps.checkpoint_selection.outputs import Selection
from pipelines.steps.evaluate.outputs import Evaluation, Timing
from pipelines.steps.judge.outputs import ValueHealth
from pipelines.study.arms import ArmNodes, arm_nodes, belongs_to
from pipelines.study.cells import Cell, CellResult
from pipelines.study.frozen import Study
from recap.code import golden_of
from recap.config import to_json
from recap.graph import Graph, OutputRef
from recap.hashing import canonical_json, sha256_hex
from recap.provenance import attempts_at, read_run
from recap.runner import RunSummary
from recap.specs import TaskSpec
from recap.types import Outcome
from recap.workspace import Workspace
from value_model.health import LabelHealth


@dataclass(frozen=True, kw_only=True, slots=True)
class CellRun:
    """A cell in the run that it comes out of."""

    cell: Cell
    nodes: ArmNodes
    needs: frozenset[str]
    """Every node that its evaluation rests on, itself among them."""
    own: frozenset[str]
    """Those that no other arm of the run rests on, and those of its own value model, whoever reads its values."""
    experience: OutputRef
    """What its policy learns from."""

    @classmethod
    def of(cls, cell: Cell, run: RunConfig, whole: RunConfig, everyone: Sequence[str]) -> CellRun:
        """Finds a cell in a run.

        Args:
            cell: which.
            run: with the arms that were asked for.
            whole: with all arms.
            everyone: all arms.
        """
        graph = build_graph(whole)
        rest_on = {arm: names_of(graph.up_to([arm_nodes(arm, cell.task, whole).evaluate])) for arm in everyone}
        others = frozenset[str]().union(*(names for arm, names in rest_on.items() if arm != cell.arm))
        nodes = arm_nodes(cell.arm, cell.task, run)
        needed = {node.name: node for node in build_graph(run).up_to([nodes.evaluate]).order()}
        needs = frozenset(needed)
        own = {name for name in needs if (belongs_to(name, whole) or cell.arm) == cell.arm and name not in others}
        own |= {name for name in needs if belongs_to(name, whole) == cell.arm}
        experience = needed[nodes.policy].inputs["experience"]
        return cls(cell=cell, nodes=nodes, needs=needs, own=frozenset(own), experience=experience)


def result_of(run: CellRun, study: Study, workspace: Workspace, summary: RunSummary) -> CellResult:
    """What came of a cell whose nodes are all up to date."""
    from data.tasks import TASKS

    cell, nodes, made = run.cell, run.nodes, summary.outputs
    evaluation = made[nodes.evaluate]["evaluation"].read(Evaluation)
    late = {one.start_seed: one.inference_s for one in made[nodes.evaluate]["timing"].read(Timing).attempts}
    spec: TaskSpec = TASKS.get(cell.task).spec
    keys = _keys(workspace, summary.run_name)
    tries = {name: attempts_at(workspace, summary.steps[name], keys[name]) for name in sorted(run.needs)}
    minutes = {name: sum(one.get("seconds", 0.0) for one in each) / 60 for name, each in tries.items()}
    git = tries[nodes.evaluate][-1]["git"] or {}
    return CellResult(
        digest=study.digest_of(cell.task, cell.variant),
        task=cell.task,
        arm=cell.arm,
        variant=cell.variant,
        seed=cell.seed,
        iteration=nodes.iteration,
        split=evaluation.split,
        max_steps=spec.max_steps,
        rate_hz=spec.rate_hz,
        reset_s=spec.reset_s,
        policy_id=evaluation.policy_id,
        key=keys[nodes.evaluate],
        commit=git.get("commit") or "",
        dirty=bool(git.get("dirty")),
        code=sha256_hex(canonical_json(golden_of())),
        minutes=round(sum(minutes[name] for name in run.own), 3),
        shared_minutes=round(sum(minutes[name] for name in run.needs - run.own), 3),
        choice=to_json(made[nodes.selection]["selection"].read(Selection).choice),
        share_positive=_share_positive(nodes, summary, cell.task),
        value_figures=_value_figures(nodes, summary, cell),
        start_seeds=tuple(one.start_seed for one in evaluation.attempts),
        outcomes=tuple(
            # An attempt with a human in it counts as no success.
            Outcome.FAILURE if one.human_steps else one.outcome
            for one in evaluation.attempts
        ),
        steps=tuple(one.steps for one in evaluation.attempts),
        inference_s=tuple(round(late[one.start_seed], 4) for one in evaluation.attempts),
        renderer=evaluation.renderer,
        experience=made[run.experience.node][run.experience.output].identity,
    )


def names_of(graph: Graph) -> frozenset[str]:
    """Of every node of a graph."""
    return frozenset(node.name for node in graph.order())


def _keys(workspace: Workspace, run_name: str) -> Mapping[str, str]:
    record = read_run(workspace, run_name)
    assert record is not None, "the runner has just written it"
    return {name: entry["key"] for name, entry in record["nodes"].items()}


def _share_positive(nodes: ArmNodes, summary: RunSummary, task: str) -> float | None:
    if nodes.advantage is None or nodes.advantage not in summary.outputs:
        return None
    return summary.outputs[nodes.advantage]["health"].read(LabelHealth).tasks[task].positive_fraction


def _value_figures(nodes: ArmNodes, summary: RunSummary, cell: Cell) -> dict[str, float]:
    if nodes.judge is None:
        return {}
    health = summary.outputs[nodes.judge]["value_health"].read(ValueHealth)
    figures = health.models[cell.arm].tasks[cell.task].figures
    return {name: figure.value for name, figure in sorted(figures.items()) if figure.value is not None}
