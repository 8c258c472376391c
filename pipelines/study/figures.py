"""The figures of one variant of a study: success and throughput of its arms, and what one has over another.

A difference is paired: the same training seed, the same start. It is taken over the seeds that both arms have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.study.cells import CellResult
from pipelines.study.config import IMITATION, STANDARD, StudyConfig
from recap.errors import ConfigError
from recap.stats import Estimate, won_and_hours
from recap.twolevel import Grid, two_level_change, two_level_difference, two_level_estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A figure, and what it was measured on."""

    estimate: Estimate
    seeds: Mapping[str, int]
    """{task: training seeds}."""
    missing: int
    """Training seeds that the study plans, over its tasks, and that are not there."""

    @property
    def seeds_text(self) -> str:
        """E.g. "5", or "5, 3, 5" where tasks differ."""
        counts = list(self.seeds.values())
        return str(counts[0]) if len(set(counts)) == 1 else ", ".join(map(str, counts))


class Figures:
    """Of one variant. Imitation is the same in all.

    Args:
        config: of the study.
        results: cells of it, of any variant.
        variant: which.

    Raises:
        ConfigError: cells of one task were tried on different starts, or were timed differently; or those of one task
            and seed saw pictures of different renderers.
    """

    def __init__(self, config: StudyConfig, results: Sequence[CellResult], variant: str) -> None:
        self.config, self._variant = config, variant
        self.planned = {IMITATION, *config.arms_of(variant, 0)}
        """Arms that the variant has or is compared with."""
        self.apart = variant != STANDARD and config.variants[variant].iterations > 1
        """Each arm has runs of its own, with what it collected itself."""
        own = [one for one in results if one.variant == variant or (one.arm == IMITATION and one.variant == STANDARD)]
        self._cells = {(one.task, one.arm, one.seed): one for one in own}
        labelled = {one.arm for one in own if one.variant == variant}
        there = {one.arm for one in own} if labelled else set()
        self.arms = tuple(arm for arm in config.arms_of(STANDARD, 0) if arm in there)
        """Those with a cell, in the order of the study."""
        tried: dict[str, tuple[Any, ...]] = {}
        drawn: dict[tuple[str, int], CellResult] = {}
        for one in own:
            how = (tuple(sorted(one.start_seeds)), one.split, one.max_steps, one.rate_hz, one.reset_s)
            if tried.setdefault(one.task, how) != how:
                raise ConfigError(
                    f"cell {one.cell} was tried on other starts, or with another time limit, control rate or reset "
                    f"than the others of {one.task}"
                )
            if one.renderer is None:
                continue
            other = drawn.setdefault((one.task, one.seed), one)
            if one.renderer != other.renderer:
                raise ConfigError(
                    f"cell {one.cell} was tried with renderer '{one.renderer}', cell {other.cell} with "
                    f"'{other.renderer}': expected one and the same, for they are paired",
                    hint="move one of them away, then run it again on the machine of the other",
                )

    @property
    def unlike(self) -> list[str]:
        """The tasks and seeds whose labelled arms learned from different episodes, of cells that say from which."""
        found: dict[str, set[str]] = {}
        for one in self._cells.values():
            if one.arm != IMITATION and one.experience is not None and not self.apart:
                found.setdefault(f"{one.task} seed {one.seed}", set()).add(one.experience)
        return sorted(name for name, seen in found.items() if len(seen) > 1)

    def success(self, arm: str, task: str = "") -> Measured | None:
        """Success rate at a task, "" for the mean over all; None if the arm has no cell of a task."""
        return self._figure((arm,), task, lambda grids: two_level_estimate([one for (one,) in grids]))

    def success_difference(self, first: str, second: str, task: str = "") -> Measured | None:
        """Success rate of the first arm minus that of the second; None if they share no seed of a task."""
        return self._figure((first, second), task, lambda grids: two_level_difference([(a, b) for a, b in grids]))

    def throughput(self, arm: str, task: str = "") -> Measured | None:
        """Successes per hour; see `success`."""
        return self._figure((arm,), task, lambda grids: two_level_estimate([one for (one,) in grids]), hours=True)

    def throughput_change(self, first: str, second: str, task: str = "") -> Measured | None:
        """Throughput of the first arm relative to that of the second; None also where that one's may be 0."""
        return self._figure(
            (first, second), task, lambda grids: two_level_change([(a, b) for a, b in grids]), hours=True
        )

    def _figure(
        self,
        arms: Sequence[str],
        task: str,
        estimate: Callable[[list[list[Grid]]], Estimate | None],
        *,
        hours: bool = False,
    ) -> Measured | None:
        grids, seeds, planned = [], {}, 0
        for one in (task,) if task else self.config.tasks:
            shared = sorted(
                seed
                for at, arm, seed in self._cells
                if at == one and arm == arms[0] and all((one, other, seed) in self._cells for other in arms)
            )
            if not shared:
                return None
            seeds[one] = len(shared)
            planned += min(self.config.seeds_of(arm) for arm in arms)
            grids.append([_grid([self._cells[one, arm, seed] for seed in shared], hours=hours) for arm in arms])
        found = estimate(grids)
        if found is None:
            return None
        return Measured(estimate=found, seeds=seeds, missing=planned - sum(seeds.values()))


def _grid(cells: Sequence[CellResult], *, hours: bool) -> Grid:
    won, cost = zip(
        *(
            won_and_hours(one.attempts, max_steps=one.max_steps, rate_hz=one.rate_hz, reset_s=one.reset_s)
            for one in cells
        ),
        strict=True,
    )
    gain = np.stack(won)
    return Grid(gain=gain, cost=np.stack(cost) if hours else np.ones_like(gain))
