"""What the trainings of a run would cost, known before any of them: memory, disk and arithmetic. For `--dry-run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.probe import policy_needs, value_needs

if TYPE_CHECKING:
    from pipelines.config import RunConfig
    from policy.models import PolicyFamily
    from recap.explain import NodePlan
    from recap.graph import Graph
    from recap.training.needs import Needs
    from value_model.models import ValueFamily

CARDS = {"H100": 989e12, "A100": 312e12}
"""Operations per second of dense bfloat16 products, as their makers state them."""
REACHED = 0.4
"""Share of that which a training is taken to reach."""
_CHECKPOINT_COPIES = 4
"""Of the trained weights, in a checkpoint: weights, average, two moments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Of the trainings of one step."""

    node: str
    family: str
    trainings: int
    """As many as it trains, one per fold of a value model."""
    steps: int
    """Gradient steps of each."""
    needs: Needs | None
    """Of each; None: its family does not know."""
    bundles: int
    """Copies of the weights that it leaves."""
    processes: int = 1
    """That train together."""

    @property
    def operations(self) -> float:
        """Of all its gradient steps."""
        return 0.0 if self.needs is None else float(self.needs.operations) * self.steps * self.trainings

    @property
    def bundle_bytes(self) -> int:
        """On disk, for good."""
        return 0 if self.needs is None else self.needs.bundle * self.bundles

    @property
    def checkpoint_bytes(self) -> int:
        """On disk while it trains: the last checkpoint of each training, and the one that replaces it."""
        return 0 if self.needs is None else 2 * _CHECKPOINT_COPIES * self.needs.trained * self.trainings

    def hours(self, card: str) -> float:
        """On such cards, one per process."""
        return self.operations / (CARDS[card] * REACHED * self.processes) / 3600


def costs(config: RunConfig, graph: Graph, plans: Sequence[NodePlan]) -> list[Cost]:
    """Of every training that a run would do, in order; steps that are cached cost nothing."""
    from data.task_list import robot_of, tasks_of
    from policy.models import family_of
    from recap.training.runtime import Runtime
    from value_model.models import family_of as value_family

    robot, runtime = robot_of(config.tasks), Runtime.of(config.runtime)
    prompts = tuple(task.spec.prompt for task in tasks_of(config.tasks))
    nodes = {node.name: node for node in graph.order()}
    known: dict[str, Needs | None] = {}
    found = []
    for plan in plans:
        if plan.state == "cached" or plan.step not in ("policy", "value_train"):
            continue
        settings = nodes[plan.node].config
        model, of_policy = settings.model, plan.step == "policy"
        family: PolicyFamily | ValueFamily = (family_of if of_policy else value_family)(model)
        if not family.networks:
            continue
        key = repr(model)
        if key not in known:
            ask = policy_needs if of_policy else value_needs
            known[key] = ask(model, prompts=prompts, robot=robot, runtime=runtime)
        fit = getattr(model, "fit", None)
        found.append(
            Cost(
                node=plan.node,
                family=family.name,
                trainings=1 if of_policy else settings.cross_fit,
                steps=0 if fit is None else fit.steps,
                needs=known[key],
                bundles=getattr(model, "candidates", 1) if of_policy else settings.cross_fit,
                processes=runtime.processes,
            )
        )
    return found


def disk_bytes(found: Sequence[Cost]) -> tuple[int, int]:
    """(for good, at most beside it while one of them trains)."""
    return sum(one.bundle_bytes for one in found), max((one.checkpoint_bytes for one in found), default=0)
