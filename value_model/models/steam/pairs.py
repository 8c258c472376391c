"""Training pairs: two frames of one successful episode, in either order, and how far apart they are.

    d(o_a, o_b) = (b - a) / (T - 1)      in [-1, 1]: 1 from the first frame to the last, -1 back again

The offset is normalised by the length of its own episode (STEAM, section 3.1), so that a step of a quick success
counts more than one of a slow success. Pairs in reverse order show what falling back looks like, without a failure.
The published code draws strides up to a fixed K only; here a share of them may be any, because values are offsets to
frames at the end of an episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.errors import ConfigError
from recap.types import FloatArray, IntArray
from value_model.models import ValueData

_PAIR_WORDS = np.array([0, 0, 0, 1], dtype=np.uint64)


def successful_rows(data: ValueData, rows: IntArray) -> IntArray:
    """Those of `rows` whose episode succeeded, be it a demonstration or a rollout, and has more than one frame.

    Raises:
        ConfigError: there is none, so the ensemble has nothing to learn from.
    """
    packed = data.packed
    teaches = data.success & (np.diff(packed.offsets) > 1)
    kept = rows[teaches[packed.episode_of[rows]]]
    if not len(kept):
        raise ConfigError(
            "steam: none of the training episodes is a success of two frames or more, and it learns from no other",
            hint="--set demos.episodes=40 (every fold needs some), or --value viva, which learns from failures too",
        )
    return kept


class PairBatches:
    """batch(step) is a pure function of (seed, step): pairs are drawn with replacement, anchors evenly over frames."""

    def __init__(
        self,
        data: ValueData,
        rows: IntArray,
        *,
        views: IntArray,
        prompt_numbers: IntArray,
        near_share: float,
        batch_size: int,
        seed: int,
    ) -> None:
        """Takes rows [n] of successful episodes and the number [E] of each episode's prompt."""
        packed = data.packed
        last = packed.offsets[packed.episode_of[rows] + 1] - 1
        self._data, self._views, self._prompts = data, views, prompt_numbers
        self._near_share, self._batch_size, self._seed = near_share, batch_size, seed
        before_end = rows < last
        self._anchors = rows[before_end]
        self._left = (last - rows)[before_end]

    def pairs(self, step: int) -> tuple[IntArray, IntArray, NDArray[np.float64]]:
        """Rows a [B], rows b [B] and their offset d(o_a, o_b) [B] of batch number `step`."""
        packed, count = self._data.packed, self._batch_size
        key = np.array([self._seed, step], dtype=np.uint64)
        words = np.random.Philox(key=key, counter=_PAIR_WORDS).random_raw(4 * count)
        which, near, how_far, swap = ((words >> np.uint64(11)) * 2.0**-53).reshape(4, count)
        place = (which * len(self._anchors)).astype(np.int64)
        early, left = self._anchors[place], self._left[place]
        episode = packed.episode_of[early]
        reach = np.where(near < self._near_share, np.minimum(self._data.lookahead[episode], left), left)
        stride = 1 + (how_far * reach).astype(np.int64)
        offset = stride / (np.diff(packed.offsets)[episode] - 1)
        swapped = swap < 0.5
        late = early + stride
        return np.where(swapped, late, early), np.where(swapped, early, late), np.where(swapped, -offset, offset)

    def batch(self, step: int) -> Mapping[str, Any]:
        """Batch number `step` as SteamLearner takes it: images [B, 2 V, h, w, 3], cameras of a before those of b."""
        first, second, offset = self.pairs(step)
        packed = self._data.packed
        numbers: FloatArray = offset.astype(np.float32)
        return {
            "images": np.concatenate([packed.gather(rows, self._views) for rows in (first, second)], axis=1),
            "state": np.stack([packed.state[first], packed.state[second]], axis=1),
            "offset": numbers,
            "prompt": self._prompts[packed.episode_of[first]],
        }
