"""The two-level bootstrap: how sure a figure is that was measured over several trainings, each tried on many starts.

Training seeds are resampled, then the starts within each seed that was drawn, the same ones for both arms of a
difference. Several tasks weigh equally, however many starts each has, and are resampled on their own. Intervals are
percentiles of the resamples. A seed is a whole training, and there are few: what a handful of seeds cannot show, such
as a training that fails one time in ten, no interval over them can know.

Letters: G training seeds, n starts, R resamples, C cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recap.errors import ConfigError
from recap.stats import Estimate

SEED = 0
"""Of the resampling only: the same cells always give the same interval."""
RESAMPLES = 10_000
_CELLS_AT_ONCE = 1 << 21
_KEPT_CELLS = 1 << 24

Floats = NDArray[np.float64]
Counts = NDArray[np.uint32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grid:
    """What one arm did at one task. Its figure is the sum of gains over the sum of costs.

    Success: gain 1 of an attempt that counts, cost 1. Throughput: the same gain, cost the hours of the attempt.

    Raises:
        ConfigError: not [G, n] both, nothing in them, not finite, or a cost that is not above 0.
    """

    gain: Floats
    """[G, n]."""
    cost: Floats
    """[G, n]."""

    def __post_init__(self) -> None:
        if self.gain.shape != self.cost.shape or self.gain.ndim != 2 or not self.gain.size:
            raise ConfigError(f"gains {self.gain.shape} and costs {self.cost.shape}: expected [seeds, starts] of both")
        if not np.isfinite(self.gain).all() or not np.isfinite(self.cost).all() or not (self.cost > 0).all():
            raise ConfigError("gains and costs of a grid: expected finite numbers, and costs above 0")

    @property
    def figure(self) -> float:
        """As measured."""
        return float(self.gain.sum() / self.cost.sum())


def two_level_estimate(tasks: Sequence[Grid], *, confidence: float = 0.95, resamples: int = RESAMPLES) -> Estimate:
    """The figure of one arm, the mean over tasks.

    Raises:
        ConfigError: no task.
    """
    return _estimate([(task,) for task in tasks], lambda figure: figure, confidence, resamples)


def two_level_difference(
    tasks: Sequence[tuple[Grid, Grid]], *, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Estimate:
    """The figure of the first arm minus that of the second, the mean over tasks.

    Args:
        tasks: (first, second) of each task: row g is the same training seed in both, column i the same start.
        confidence: e.g. 0.95.
        resamples: R.

    Raises:
        ConfigError: no task, or the two of a task differ in shape.
    """
    _check_paired(tasks)
    return _estimate(tasks, lambda first, second: first - second, confidence, resamples)


def two_level_change(
    tasks: Sequence[tuple[Grid, Grid]], *, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Estimate | None:
    """`two_level_difference` as a share of the second arm's figure; None where that is 0 as measured or in a resample.

    Raises:
        ConfigError: no task, or the two of a task differ in shape.
    """
    _check_paired(tasks)

    def change(first: Floats, second: Floats) -> Floats:
        relative: Floats = np.where(second > 0, first, np.nan) / np.where(second > 0, second, 1.0) - 1
        return relative

    found = _estimate(tasks, change, confidence, resamples)
    return found if np.isfinite([found.value, found.low, found.high]).all() else None


def rank_correlation(
    x: ArrayLike, y: ArrayLike, groups: Sequence[str], *, confidence: float = 0.95, resamples: int = RESAMPLES
) -> Estimate:
    """Spearman's rho over cells, ties sharing their mean rank; whole groups are resampled.

    Args:
        x: [C].
        y: [C].
        groups: [C] which cells rest on the same data; they are drawn together.
        confidence: e.g. 0.95.
        resamples: R; one in which either is the same in every cell says nothing and is left out.

    Raises:
        ConfigError: not one of each per cell, not finite, fewer than 3 groups, or the same in every cell.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.shape != (len(groups),) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ConfigError(f"rank correlation of {a.shape} and {b.shape} in {len(groups)} groups: one finite each, [C]")
    names, of_cell = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 3:
        raise ConfigError(f"rank correlation over {len(names)} groups: expected at least 3")
    rho = _spearman(a, b, np.ones((1, a.size)))[0]
    if not np.isfinite(rho):
        raise ConfigError("rank correlation of a figure that is the same in every cell")
    rng = np.random.default_rng(SEED)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    rhos = _spearman(a, b, drawn[:, of_cell].astype(np.float64))
    low, high = np.quantile(rhos[np.isfinite(rhos)], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value=float(rho), low=float(low), high=float(high))


def _check_paired(tasks: Sequence[tuple[Grid, Grid]]) -> None:
    for first, second in tasks:
        if first.gain.shape != second.gain.shape:
            raise ConfigError(
                f"paired arms of shapes {first.gain.shape} and {second.gain.shape}: expected the same seeds and starts"
            )


def _estimate(
    tasks: Sequence[tuple[Grid, ...]], combine: Callable[..., Floats], confidence: float, resamples: int
) -> Estimate:
    if not tasks:
        raise ConfigError("a figure over no task: expected at least one")
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence {confidence}: expected between 0 and 1, e.g. 0.95")
    value = 0.0
    drawn = np.zeros(resamples)
    for place, task in enumerate(tasks):
        value += float(combine(*(np.array([grid.figure]) for grid in task))[0])
        begin = 0
        seeds, starts = task[0].gain.shape
        few = resamples * seeds * starts <= _KEPT_CELLS
        for weight in (_kept_weights if few else _weights)(seeds, starts, place, resamples):
            flat = weight.reshape(len(weight), -1).astype(np.float64)
            figures = [(flat @ grid.gain.ravel()) / (flat @ grid.cost.ravel()) for grid in task]
            drawn[begin : begin + len(weight)] += combine(*figures)
            begin += len(weight)
    low, high = np.quantile(drawn / len(tasks), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value=value / len(tasks), low=float(low), high=float(high))


def _weights(seeds: int, starts: int, place: int, resamples: int) -> Iterator[Counts]:
    """[<= R, G, n] pieces: how often each attempt is drawn. A seed that is drawn twice has its starts drawn twice.

    Every figure of the task at a place is of the same resamples.
    """
    rng = np.random.default_rng(SEED).spawn(place + 1)[place]
    piece = max(_CELLS_AT_ONCE // (seeds * starts), 1)
    for begin in range(0, resamples, piece):
        count = min(piece, resamples - begin)
        of_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=count)
        yield rng.multinomial(of_seed * starts, np.full(starts, 1 / starts)).astype(np.uint32)


@lru_cache(maxsize=8)
def _kept_weights(seeds: int, starts: int, place: int, resamples: int) -> tuple[Counts, ...]:
    """Drawing them takes most of a table's time, and its many figures share them."""
    return tuple(_weights(seeds, starts, place, resamples))


def _spearman(a: Floats, b: Floats, weight: Floats) -> Floats:
    """[R] rho of samples in which cell c stands weight[r, c] times: Pearson's of the mean ranks within each sample."""
    rank_a, rank_b = _ranks(a, weight), _ranks(b, weight)
    total = weight.sum(axis=1, keepdims=True)
    off_a = rank_a - (weight * rank_a).sum(axis=1, keepdims=True) / total
    off_b = rank_b - (weight * rank_b).sum(axis=1, keepdims=True) / total
    shared = (weight * off_a * off_b).sum(axis=1)
    spread = np.sqrt((weight * off_a**2).sum(axis=1) * (weight * off_b**2).sum(axis=1))
    flat = spread < 1e-9 * total[:, 0]
    rho: Floats = np.where(flat, np.nan, shared / np.where(flat, 1.0, spread))
    return rho


def _ranks(values: Floats, weight: Floats) -> Floats:
    """[R, C] mean rank of each cell in each sample, up to a constant."""
    below = (values[:, None] > values[None, :]) + 0.5 * (values[:, None] == values[None, :])
    ranks: Floats = weight @ below.T
    return ranks
