"""The arms of a run side by side: whose labels, how the policy did, and how far its condition moves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.report.model import ArmResult, Node
from pipelines.steps.condition_probe.outputs import ConditionProbe
from pipelines.steps.evaluate.outputs import Evaluation
from pipelines.steps.policy.outputs import PolicyTraining
from recap.stats import Estimate

if TYPE_CHECKING:
    from pipelines.report.read import Run

OF_ONE_TASK = ("record", "evaluate", "open_loop_eval")
_OF_ONE_MODEL = ("value_train", "value_label")
IMITATION = "imitation"


@dataclass(slots=True)
class _Found:
    positive: float | None = None
    evaluation: Evaluation | None = None
    probe: ConditionProbe | None = None


def arm_of(node: Node) -> str:
    """The arm beside that a node belongs to; "" of the main one, and of what all arms share."""
    if node.step in OF_ONE_TASK:
        return node.name.subject.rpartition("/")[0]
    return "" if node.step in _OF_ONE_MODEL else node.name.subject


def arm_results(run: Run) -> tuple[ArmResult, ...]:
    """Imitation, then the arms of each iteration, the main one first; of a run without arms or probes nothing."""
    found: dict[tuple[int, str], _Found] = {}
    names: dict[tuple[int, str], str] = {}
    for node in run.nodes:
        key, made = (node.name.iteration, arm_of(node)), run.outputs.get(node.name, {})
        if node.step == "advantage":
            facts = run.attempts.get(str(node.name), {}).get("facts", {}).get("facts", {})
            names[key] = key[1] or facts.get("name", "labels")
        elif node.name.stage == "policy" and made:
            found.setdefault(key, _Found()).positive = made["training"].read(PolicyTraining).positive_fraction
        elif node.step == "evaluate" and made:
            found.setdefault(key, _Found()).evaluation = made["evaluation"].read(Evaluation)
        elif node.step == "condition_probe" and made:
            found.setdefault(key, _Found()).probe = made["probe"].read(ConditionProbe)
    if not any(arm or one.probe for (_, arm), one in found.items()):
        return ()
    return tuple(
        ArmResult(
            iteration=k,
            arm=names.get((k, arm), IMITATION),
            beside=bool(arm),
            success=None if one.evaluation is None else _success(one.evaluation),
            split="" if one.evaluation is None else one.evaluation.split,
            positive=one.positive,
            probe=one.probe,
        )
        for (k, arm), one in sorted(found.items(), key=lambda item: item[0][0])
    )


def _success(evaluation: Evaluation) -> Estimate:
    found = evaluation.summary
    return Estimate(value=found.success, low=found.success_low, high=found.success_high)
