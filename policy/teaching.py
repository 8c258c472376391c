"""How labels reach a training sample: as a condition, as a graded condition, as a weight, or as the choice of frames.

One function per way, from the labels of all frames to a Lesson; training is the same for all. Owns the maths between
an advantage and what a sample carries. Knows neither where labels come from nor how a network reads a condition; no
torch.

Letters: N frames of the experience.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np

from recap.errors import ConfigError
from recap.hashing import canonical_json, digest_array, sha256_hex
from recap.stats import mean_ranks
from recap.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Labels:
    """What is known of the N frames, in the order of their rows."""

    advantage: FloatArray
    """[N]; NaN where the episode was aborted."""
    positive: BoolArray
    """[N]."""
    forced: BoolArray
    """[N] True where a human's action is positive whatever the advantage."""
    value: FloatArray
    """[N] V(o_t)."""
    task: IntArray
    """[N] a number per task: advantages of different tasks are not compared."""

    def __post_init__(self) -> None:
        shapes = {field.name: getattr(self, field.name).shape for field in fields(self)}
        if len(set(shapes.values())) != 1 or self.task.ndim != 1:
            raise ConfigError(f"Labels: arrays of shapes {shapes}, expected one [N]")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Lesson:
    """What the samples of a training carry; without labels (iteration 0) nothing but the positive condition."""

    positive: BoolArray | None = None
    """[N] condition of every row; None: all positive."""
    level: FloatArray | None = None
    """[N] in [-1, 1]: the condition lies between negative (-1) and positive (+1)."""
    weight: FloatArray | None = None
    """[N] factor on the loss of every row, >= 0; its mean over a task is 1."""
    rows: IntArray | None = None
    """Rows that are learned from; None: all."""

    @property
    def identity(self) -> str:
        """sha256 of everything in it: belongs to the identity of the training data."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return sha256_hex(
            canonical_json({name: None if one is None else digest_array(name, one) for name, one in arrays.items()})
        )


def levels(labels: Labels, *, value_bins: int = 1) -> FloatArray:
    """[N] rank of every advantage within its task, spread evenly over (-1, 1).

    The r-th of n in increasing order has level (2 r - 1) / n - 1; equal advantages share the mean of their levels. So
    nothing is clipped, one outlier moves nobody, and the level does not depend on the unit or size of advantages.
    Forced frames are not ranked: their level is 1. Frames of aborted episodes, whose advantage is NaN, have level -1.

    Args:
        labels: of all frames.
        value_bins: ranks are taken within this many bins of equally many frames by value as well, so that a frame is
            compared with frames of about the same progress.
    """
    level = np.where(labels.forced, np.float32(1), np.float32(-1))
    ranked = ~labels.forced & np.isfinite(labels.advantage)
    for task in np.unique(labels.task):
        rows = np.flatnonzero(ranked & (labels.task == task))
        place = mean_ranks(labels.value[rows])
        bin_of = np.minimum((place - 0.5) * value_bins // max(len(rows), 1), value_bins - 1)
        for number in np.unique(bin_of):
            of_bin = rows[bin_of == number]
            level[of_bin] = (2 * mean_ranks(labels.advantage[of_bin]) - 1) / len(of_bin) - 1
    return level


def weights(level: FloatArray, task: IntArray, temperature: float) -> FloatArray:
    """[N] float32 exp(level / temperature), divided by its mean over the task.

    Forced frames, of level 1, have the largest weight: e^(2 / temperature) times that of the worst.
    """
    weight = np.exp((level.astype(np.float64) - 1.0) / temperature)
    for one in np.unique(task):
        weight[task == one] /= weight[task == one].mean()
    return weight.astype(np.float32)


def _hard(labels: Labels, temperature: float, value_bins: int) -> Lesson:
    """Every frame is told whether it is positive (pi*0.6)."""
    return Lesson(positive=labels.positive)


def _continuous(labels: Labels, temperature: float, value_bins: int) -> Lesson:
    """Every frame is told its level; the policy acts by level 1, the best of the task."""
    return Lesson(level=levels(labels, value_bins=value_bins))


def _weighted(labels: Labels, temperature: float, value_bins: int) -> Lesson:
    """No frame is told anything; the better its advantage, the more it counts."""
    return Lesson(weight=weights(levels(labels, value_bins=value_bins), labels.task, temperature))


def _filtered(labels: Labels, temperature: float, value_bins: int) -> Lesson:
    """No frame is told anything; only positive frames are learned from."""
    rows = np.flatnonzero(labels.positive)
    if not len(rows):
        raise ConfigError("no frame is positive: there is nothing to learn from", hint="--set policy.conditioning=hard")
    return Lesson(rows=rows)


MEMBERS: Mapping[str, Callable[[Labels, float, int], Lesson]] = {
    "hard": _hard,
    "continuous": _continuous,
    "weighted": _weighted,
    "filtered": _filtered,
}
"""{way: (labels, temperature, value_bins) -> what the samples carry}."""
TOLD = ("hard", "continuous")
"""Those whose samples hear a condition: their policies act by one."""
GRADED = ("continuous", "weighted")
"""Those that use levels."""
