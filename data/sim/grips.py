"""Where fingers should close: what a grasp there would hold, and how much nearer to its place that would come.

Owns the forecast of a grasp, over the spread of the expert's own noise. Moves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.sim.cloth import PlaneArray
from data.sim.expert import GRASP_Z_M
from data.sim.grasp import GraspPoints
from data.sim.scene import SLOTS_PER_GRIPPER

MARGIN_M = 0.004
"""The nearest vertex must be this much inside the grasp radius: the arm stops a little off."""
STRANGER_M, MISS_M = 0.06, 0.2
"""What holding a vertex that should stay costs, and what holding nothing costs, in metres of gain."""


def _ring(radius_m: float, count: int) -> list[tuple[float, float]]:
    angles = 2.0 * np.pi * np.arange(count) / count
    return [(radius_m * float(np.cos(angle)), radius_m * float(np.sin(angle))) for angle in angles]


AROUND_M = np.array([(0.0, 0.0), *(point for radius in (0.014, 0.028, 0.042) for point in _ring(radius, 12))])
"""Where, about a vertex, fingers may close."""
SCATTER_M = np.array([(0.0, 0.0), *_ring(0.008, 6)])
"""How an aim may go astray: one standard deviation of the clean expert's noise, each way."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grip:
    """A place to close the fingers, and the move that brings what they should then hold to its place."""

    gain_m: float
    """Summed over the held vertices, averaged over the scatter of the aim."""
    tool: PlaneArray
    """[2] m."""
    shift: PlaneArray
    """[2] m."""
    held: tuple[int, ...]
    """Nearest first."""


class Fingers:
    """Forecasts grasps on one garment."""

    def __init__(self, points: GraspPoints) -> None:
        self._linked, self._radius = points.adjacent, points.radius_m

    def held(self, tools: PlaneArray, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """What closing at `tools` [T, 2] would hold: indices [T, slots], nearest first, and which of them count."""
        off = tools[:, None] - points[None, :, :2]
        distance = np.sqrt(np.add.reduce(off * off, axis=2) + (points[:, 2] - GRASP_Z_M) ** 2)
        nearest, rows = distance.argmin(axis=1), np.arange(len(tools))
        ranked = np.where((distance <= self._radius) & self._linked[nearest], distance, np.inf)
        ranked[rows, nearest] = np.where(distance[rows, nearest] <= self._radius - MARGIN_M, -1.0, np.inf)
        index = np.argsort(ranked, axis=1, kind="stable")[:, :SLOTS_PER_GRIPPER]
        found = np.isfinite(np.take_along_axis(ranked, index, axis=1))
        return index, found & found[:, :1]

    def rank(
        self,
        points: NDArray[np.float64],
        goal: PlaneArray,
        around: Iterable[int],
        wanted: frozenset[int],
        tolerated: frozenset[int],
    ) -> list[Grip]:
        """For each vertex that could be the nearest to the fingers the best grip about `around`, best first.

        Args:
            points: [N, 3] vertices, m.
            goal: [N, 2] where they belong, m.
            around: vertices about which to look.
            wanted: what should be held; only these count towards the gain.
            tolerated: what may be held besides; anything else costs.
        """
        mine, strange = np.zeros(len(points), dtype=np.bool_), np.ones(len(points), dtype=np.bool_)
        mine[sorted(wanted)] = True
        strange[sorted(wanted | tolerated)] = False
        tools = np.concatenate([points[vertex, :2] + AROUND_M for vertex in around])
        index, found = self.held(tools, points)
        counts = found & mine[index]
        some = counts.any(axis=1)
        tools, index, found, counts = tools[some], index[some], found[some], counts[some]
        way = goal - points[:, :2]
        shift = np.add.reduce(way[index] * counts[:, :, None], axis=1) / np.add.reduce(counts, axis=1)[:, None]
        gain = np.zeros(len(tools))
        for astray in SCATTER_M:
            there, holds = self.held(tools + astray, points)
            left = way[there] - shift[:, None]
            nearer = np.sqrt(np.add.reduce(way[there] ** 2, axis=2)) - np.sqrt(np.add.reduce(left * left, axis=2))
            gain += np.add.reduce(nearer * (holds & mine[there]), axis=1)
            gain -= STRANGER_M * np.add.reduce(holds & strange[there], axis=1) + MISS_M * ~holds[:, 0]
        best: dict[int, Grip] = {}
        for row in np.argsort(-gain, kind="stable"):
            held = tuple(int(vertex) for vertex, holds in zip(index[row], found[row], strict=True) if holds)
            if held[0] not in best:
                best[held[0]] = Grip(
                    gain_m=float(gain[row]) / len(SCATTER_M), tool=tools[row], shift=shift[row], held=held
                )
        return list(best.values())
