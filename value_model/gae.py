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
    padded[:count] = delta
    # [size, B]: a row holds one frame of every block.
    keep, sums = (np.ascontiguousarray(flat.reshape(blocks, size).T) for flat in (goes_on, padded))
    for row in range(size - 2, -1, -1):
        sums[row] += keep[row] * sums[row + 1]
        keep[row] *= keep[row + 1]
    after = np.zeros(blocks)
    for block in range(blocks - 2, -1, -1):
        after[block] = sums[0, block + 1] + keep[0, block + 1] * after[block + 1]
    sums += keep * after
    return sums.T.reshape(-1)[:count]
