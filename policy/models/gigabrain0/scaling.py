"""GigaBrain-0's quantile scaling. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

from policy.flow.scaling import Scaling
from recap.types import FloatArray

ADDED = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class GigaBrain0Scaling(Scaling):
    """Scaling whose widths are all a little larger, rather than one that is 0 being replaced.

    Example:
        >>> import numpy as np
        >>> scaling = GigaBrain0Scaling(q01=np.zeros(1, np.float32), q99=np.zeros(1, np.float32))
        >>> scaling.apply(np.zeros(1, np.float32)).tolist()
        [-1.0]
    """

    @property
    def width(self) -> FloatArray:
        """[D] q99 - q01 + ADDED."""
        widths: FloatArray = self.q99 - self.q01 + self.q99.dtype.type(ADDED)
        return widths
