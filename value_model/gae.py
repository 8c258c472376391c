"""How far an advantage looks: N steps, to the end of the episode, or all horizons at once (GAE).

Owns generalised advantage estimation over a flat array of frames. It must not know what a label is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recap.config import setting, validate
from recap.errors import ConfigError
from recap.types import IntArray

N_STEP, EPISODE, GAE = "n_step", "episode", "gae"
HORIZONS = (N_STEP, EPISODE, GAE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Horizon:
    """Which advantage."""

    kind: str = setting(N_STEP, choices=HORIZONS)
    gae_lambda: float | None = setting(None, above=0, maximum=1)
    """lambda of GAE."""

    def __post_init__(self) -> None:
        validate(self)
        if (self.kind == GAE) != (self.gae_lambda is not None):
            raise ConfigError(
                f"horizon {self.kind} with gae_lambda {self.gae_lambda}: gae needs one and the others have none",
                hint="set advantage.label.horizon=gae and advantage.label.gae_lambda together, or neither",
            )

    @property
    def words(self) -> str:
        """As a reader is told."""
        if self.kind == GAE:
            return f"GAE, lambda {self.gae_lambda:g}"
        return "to the end of the episode" if self.kind == EPISODE else "N steps"


def decayed_sums(delta: NDArray[np.float64], offsets: IntArray, decay: float) -> NDArray[np.float64]:
    """[N] sum_k decay^k delta_{t+k} up to the end of each frame's episode.

    A_t = delta_t + c_t A_{t+1} with c_t = decay, and 0 at each episode's last frame. The frames are cut in B blocks of
    about as many frames each; one loop scans all blocks at once, a second one hands on what each block begins with.

    What is not finite (an aborted episode is NaN) makes NaN of the sums that hold it, in its own episode alone.

    Args:
        delta: [N].
        offsets: [E + 1].
        decay: lambda, in [0, 1].
    """
    count = len(delta)
    size = max(math.isqrt(count), 1)
    blocks = -(-count // size)
    goes_on, padded = np.full(blocks * size, decay), np.zeros(blocks * size)
    goes_on[offsets[1:] - 1] = 0.0
    # 0 * NaN is NaN: it would pass the ends of episodes.
    unknown = ~np.isfinite(delta)
    padded[:count] = np.where(unknown, 0.0, delta)
    # [size, B]: a row holds one frame of every block.
    keep, sums = (np.ascontiguousarray(flat.reshape(blocks, size).T) for flat in (goes_on, padded))
    for row in range(size - 2, -1, -1):
        sums[row] += keep[row] * sums[row + 1]
        keep[row] *= keep[row + 1]
    after = np.zeros(blocks)
    for block in range(blocks - 2, -1, -1):
        after[block] = sums[0, block + 1] + keep[0, block + 1] * after[block + 1]
    sums += keep * after
    # [N + 1] how many are unknown from each frame on, to the end of the array.
    left = np.append(np.cumsum(unknown[::-1])[::-1], 0)
    holds_unknown = left[:-1] > np.repeat(left[offsets[1:]], np.diff(offsets))
    return np.where(holds_unknown, np.nan, sums.T.reshape(-1)[:count])
