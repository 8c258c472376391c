"""Which run a cell comes out of, and what its nodes are called there: all that a study knows of the graph of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipelines.invocation import Invocation
from pipelines.study.config import IMITATION, STANDARD, StudyConfig
from recap.graph import NodeName

VALUE_ARMS = ("viva", "vlm", "steam")
"""Arms that are labelled with the values of the model of their name."""
MAIN = "viva"
"""The arm whose policy the run's own nodes train, where the study has it; the others stand beside it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmNodes:
    """Names of the nodes of one arm in a run."""

    evaluate: str
    selection: str
    advantage: str | None
    """None: no labels."""
    judge: str | None
    """None: no value model of its own."""
    iteration: int


def arm_nodes(arm: str, task: str, *, everyone: Sequence[str], iterations: int) -> ArmNodes:
    """The nodes of an arm in a run of `everyone`, as pipelines/graph.py and pipelines/wiring.py name them."""
    main = main_of(everyone)
    k = 0 if arm == IMITATION else iterations
    beside = "" if arm in (IMITATION, main) else arm
    return ArmNodes(
        evaluate=str(NodeName(k, "evaluate", f"{task}@{beside}" if beside else task)),
        selection=str(NodeName(k, "checkpoint_selection", beside)),
        advantage=str(NodeName(k, "advantage", beside)) if k else None,
        judge=str(NodeName(k, "judge")) if arm in VALUE_ARMS else None,
        iteration=k,
    )


def main_of(arms: Sequence[str]) -> str:
    """The arm that a run of these is of."""
    labelled = [arm for arm in arms if arm != IMITATION]
    return MAIN if MAIN in labelled or not labelled else labelled[0]


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
        everyone: arms of the run; their first labelled one, or viva among them, is the run's own.
        asked: those of them that are wanted now; by default all.
        seed: of the trainings.
        name: of the run.
    """
    own = config.variants.get(variant)
    main = main_of(everyone)
    beside = [arm for arm in everyone if arm not in (IMITATION, main) and (asked is None or arm in asked)]
    invocation = Invocation.of(task=task, preset=config.preset, seed=seed, name=name)
    return replace(
        invocation,
        iterations=1 if own is None else own.iterations,
        value=main if main in VALUE_ARMS else None,
        values=tuple(arm for arm in beside if arm in VALUE_ARMS),
        tracker="none",
        settings=(
            f"evaluate.attempts={config.starts}",
            *([] if main in VALUE_ARMS else [f"labels={main}"]),
            *([f"arms={','.join(beside)}"] if beside else []),
            *config.settings,
            *(() if own is None else own.settings),
        ),
    )
