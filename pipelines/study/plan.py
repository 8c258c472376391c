"""Which cells of a study are there, which are not, and how long those may take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.study.cells import Cell, CellResult, cells_of
from pipelines.study.frozen import Study


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmPlan:
    """The cells of one arm at one task in one variant."""

    task: str
    arm: str
    variant: str
    done: tuple[int, ...]
    """Training seeds."""
    missing: tuple[int, ...]
    minutes: float | None
    """Expected of the missing ones, without steps that other arms rest on: as long each as the mean of the finished
    ones, of this task or else of all. None: no cell of this arm is finished."""


def plan_of(study: Study, results: Sequence[CellResult]) -> list[ArmPlan]:
    """Every arm of every variant at every task, in the order of the study."""
    there = {one.cell: one for one in results}
    groups: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells_of(study):
        groups.setdefault((cell.variant, cell.task, cell.arm), []).append(cell)
    plans = []
    for (variant, task, arm), cells in groups.items():
        missing = tuple(cell.seed for cell in cells if cell not in there)
        alike = [one for one in results if (one.arm, one.variant) == (arm, variant)]
        took = [one.minutes for one in alike if one.task == task] or [one.minutes for one in alike]
        plans.append(
            ArmPlan(
                task=task,
                arm=arm,
                variant=variant,
                done=tuple(cell.seed for cell in cells if cell in there),
                missing=missing,
                minutes=len(missing) * sum(took) / len(took) if took else None,
            )
        )
    return plans
