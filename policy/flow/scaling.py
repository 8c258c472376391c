"""Quantile scaling of state and action to [-1, 1], as LeRobot's QUANTILES mode does it. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from recap.errors import ConfigError
from recap.types import FloatArray

EPSILON = 1e-8
"""LeRobot's stand-in for the width of a dimension that never moves."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scaling:
    """2 (x - q01) / (q99 - q01) - 1 per dimension, and its inverse. Nothing is clipped.

    Example:
        >>> scaling = Scaling(q01=np.zeros(1, np.float32), q99=np.full(1, 4, np.float32))
        >>> scaling.apply(np.array([1.0], np.float32)).tolist()
        [-0.5]
    """

    q01: FloatArray
    """[D] 1 % quantile, in the units of the quantity."""
    q99: FloatArray
    """[D] 99 % quantile."""

    @classmethod
    def of(cls, q01: Any, q99: Any, *, where: str) -> Self:
        """From anything array-like; ConfigError if the figures are not two finite vectors of one length."""
        low, high = np.asarray(q01, np.float32), np.asarray(q99, np.float32)
        if low.ndim != 1 or low.shape != high.shape or not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ConfigError(f"{where}: quantiles of shapes {low.shape} and {high.shape}, expected two finite [D]")
        return cls(q01=low, q99=high)

    @property
    def width(self) -> FloatArray:
        """[D] q99 - q01, EPSILON where that is 0."""
        spread = self.q99 - self.q01
        return np.where(spread == 0, np.float32(EPSILON), spread)

    def apply(self, value: FloatArray) -> FloatArray:
        """[..., D] in units -> scaled."""
        return (2.0 * (value - self.q01) / self.width - 1.0).astype(np.float32)

    def invert(self, scaled: FloatArray) -> FloatArray:
        """[..., D] scaled -> in units."""
        return ((scaled + 1.0) * self.width / 2.0 + self.q01).astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PolicyStats:
    """The two scalings a policy needs; `action` is of relative actions where they are predicted."""

    state: Scaling
    action: Scaling

    @classmethod
    def from_json(cls, stats: Mapping[str, Any], *, relative: bool, scaling: type[Scaling] = Scaling) -> PolicyStats:
        """From `data.normalise.Stats.to_json()`.

        Raises:
            ConfigError: relative figures are wanted and absent.
        """
        action = stats["relative_action"] if relative else stats["action"]
        if action is None:
            raise ConfigError(
                "stats: no figures of relative actions",
                hint="compute them with relative_dims, or relative_actions=false",
            )
        return cls(
            state=scaling.of(stats["state"]["q01"], stats["state"]["q99"], where="stats.state"),
            action=scaling.of(action["q01"], action["q99"], where="stats.action"),
        )
