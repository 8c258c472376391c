"""Which run a cell comes out of, and what its nodes are called there: all that a study knows of the graph of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipelines.invocation import Invocation
from pipelines.study.config import IMITATION, STANDARD, StudyConfig, main_of
from recap.graph import NodeName

if TYPE_CHECKING:
    from pipelines.config import RunConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmNodes:
    """Names of the nodes of one arm in a run."""

    iteration: int
    evaluate: str
    selection: str
    policy: str
    advantage: str | None
    """None: it learns without labels."""
    judge: str | None
    """None: it has no value model of its own."""


def arm_nodes(arm: str, task: str, run: RunConfig) -> ArmNodes:
    """The nodes of an arm in the last iteration of a run, as pipelines/graph.py and pipelines/wiring.py name them."""
    k = 0 if arm == IMITATION else run.iterations
    subject = "" if arm in (IMITATION, run.labels) else arm
    return ArmNodes(
        iteration=k,
        evaluate=str(NodeName(k, "evaluate", f"{subject}/{task}" if subject else task)),
        selection=str(NodeName(k, "checkpoint_selection", subject)),
        policy=str(NodeName(k, "policy", subject)),
        advantage=str(NodeName(k, "advantage", subject)) if k else None,
        judge=str(NodeName(k, "judge", "" if arm == run.judged else arm)) if arm in run.values else None,
    )


def belongs_to(node: str, run: RunConfig) -> str:
    """The arm whose value model a node trains or labels with, whoever else reads its values; "" of other nodes."""
    name = NodeName.parse(node)
    return name.subject if name.subject in run.values else ""


def runs_of(config: StudyConfig, variant: str, arms: Sequence[str]) -> list[tuple[str, ...]]:
    """The arms of each run of a (task, seed, variant): all in one, but where each has to collect for itself."""
    if variant != STANDARD and config.variants[variant].iterations > 1:
        return [(arm,) for arm in arms]
    return [tuple(arms)] if arms else []


def run_settings(
    config: StudyConfig,
    task: str,
    variant: str,
    *,
    everyone: Sequence[str],
    asked: Sequence[str] | None = None,
    seed: int = 0,
    name: str = "study",
) -> Invocation:
    """What `recap run` would be given.

    Args:
        config: of the study.
        task: of the run.
        variant: of the run.
        everyone: arms of the run; viva among them, or else the first that is labelled, is the run's own.
        asked: those of them that are wanted now; by default all.
        seed: of the trainings.
        name: of the run.
    """
    from value_model.arms import ARMS

    labelled = [arm for arm in everyone if arm != IMITATION]
    main = main_of(everyone)
    beside = tuple(arm for arm in labelled if arm != main and (asked is None or arm in asked))
    valued = any(arm not in ARMS.names() for arm in (main, *beside))
    own = config.variants.get(variant)
    asked_for = (*config.settings, *(() if own is None else own.settings))
    return replace(
        Invocation.of(task=task, preset=config.preset, policy=config.policy or None, seed=seed, name=name),
        iterations=1 if own is None else own.iterations,
        labels=main,
        arms=beside,
        values=(),
        tracker="none",
        settings=(
            f"evaluate.attempts={config.starts}",
            *(text for text in asked_for if valued or not text.startswith("judge.")),
        ),
    )
