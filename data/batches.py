"""Training batches by number: batch(step) is a pure function of (seed, step), so a resume needs no data state.

Each epoch visits every frame exactly once, in a counter-based order; an epoch's tail continues into the next epoch, so
no frame is dropped. Knows the frame cache; no torch, no normalisation, no augmentation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.framecache import FrameView
from data.normalise import check_relative_dims
from recap.errors import ConfigError
from recap.types import BoolArray, FloatArray, FrameArray, IntArray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Batch(Mapping[str, Any]):
    """B frames with the actions that follow them. Fields are read as attributes or by name (`batch["state"]`)."""

    images: FrameArray
    """[B, C, h, w, 3] uint8, cameras in the order of FrameView.cameras."""
    state: FloatArray
    """[B, S]"""
    action: FloatArray
    """[B, H, A]; relative to `state` on the relative dimensions. Past the end the last action is repeated."""
    action_is_pad: BoolArray
    """[B, H] True past the end of the episode."""
    episode: IntArray
    """[B] position in FrameView.episode_ids."""
    frame: IntArray
    """[B] step t within the episode."""
    index: IntArray
    """[B] row of the view, 0..N-1: joins per-frame labels."""

    def __getitem__(self, name: str) -> Any:
        if name not in _BATCH_FIELDS:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(_BATCH_FIELDS)

    def __len__(self) -> int:
        return len(_BATCH_FIELDS)


_BATCH_FIELDS = tuple(field.name for field in fields(Batch))


def epoch_order(seed: int, epoch: int, count: int) -> IntArray:
    """The order [count] in which epoch number `epoch` visits 0..count-1."""
    # Ranks of raw counter-based words: unlike Generator.permutation, the same under every version of numpy.
    words = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(count)
    return np.argsort(words, kind="stable").astype(np.int64)


class TrainingBatches:
    """Batches of `batch_size` frames with chunks of `chunk` actions; of `rows` [M] alone, if they are given.

    Example:
        batches = TrainingBatches(packed, chunk=16, batch_size=32, seed=0, relative_dims=(0, 1, 2))
        batch = batches.batch(1234)       # the same arrays, whenever and wherever it is asked for

    Raises:
        ConfigError: a size < 1, a negative seed, no row or one beyond the view, or a relative dimension that state or
            action lacks.
    """

    def __init__(
        self,
        packed: FrameView,
        *,
        chunk: int,
        batch_size: int,
        seed: int,
        relative_dims: Sequence[int] | None = None,
        rows: IntArray | None = None,
    ) -> None:
        if chunk < 1 or batch_size < 1 or seed < 0:
            raise ConfigError(f"chunk {chunk}, batch_size {batch_size}, seed {seed}: expected >= 1, >= 1, >= 0")
        self.packed = packed
        self.chunk = chunk
        self.batch_size = batch_size
        self.seed = seed
        self.relative_dims = check_relative_dims(relative_dims or (), packed.state.shape[1], packed.action.shape[1])
        self.rows = np.arange(packed.num_frames) if rows is None else rows
        if self.rows.ndim != 1 or not len(self.rows) or not 0 <= self.rows.min() <= self.rows.max() < packed.num_frames:
            raise ConfigError(f"rows of shape {self.rows.shape}: expected at least one of 0..{packed.num_frames - 1}")
        self._orders: dict[int, IntArray] = {}
        self._ahead = np.arange(chunk, dtype=np.int64)
        self._relative = np.array(self.relative_dims, dtype=np.intp)

    @property
    def steps_per_epoch(self) -> float:
        """Batches that visit every frame once; not whole if the batch size does not divide the frames."""
        return len(self.rows) / self.batch_size

    def indices(self, step: int) -> IntArray:
        """Rows [B] of the view that batch number `step` holds."""
        if step < 0:
            raise ConfigError(f"batch number {step}, expected >= 0")
        count = len(self.rows)
        position = np.arange(step * self.batch_size, (step + 1) * self.batch_size, dtype=np.int64)
        epochs = position // count
        rows = np.empty(self.batch_size, dtype=np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            rows[here] = self._order(epoch)[position[here] - epoch * count]
        return rows

    def batch(self, step: int) -> Batch:
        """Batch number `step` (>= 0), counted over all epochs."""
        return self.gather(self.indices(step))

    def gather(self, rows: NDArray[np.integer[Any]]) -> Batch:
        """The batch of these rows [B] of the view, in this order."""
        packed = self.packed
        index = np.asarray(rows, dtype=np.int64)
        episode = packed.episode_of[index]
        last = packed.offsets[episode + 1] - 1
        targets = index[:, None] + self._ahead
        is_pad = targets > last[:, None]
        state = packed.state[index]
        action = packed.action[np.minimum(targets, last[:, None])]
        if self.relative_dims:
            action[:, :, self._relative] -= state[:, None, self._relative]
        return Batch(
            images=packed.gather(index),
            state=state,
            action=action,
            action_is_pad=is_pad,
            episode=episode,
            frame=index - packed.offsets[episode],
            index=index,
        )

    def _order(self, epoch: int) -> IntArray:
        if epoch not in self._orders:
            # A batch touches two neighbouring epochs, rarely more: older orders are not needed again.
            self._orders = {e: order for e, order in self._orders.items() if e >= epoch - 1}
            self._orders[epoch] = self.rows[epoch_order(self.seed, epoch, len(self.rows))]
        return self._orders[epoch]
