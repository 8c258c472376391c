"""Flat cloth: a triangle mesh as a MuJoCo flex, how far it is from a fold, how to lay it down.

Owns meshes and plane geometry. Knows no task: a task says which vertices are sleeves and where they belong.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERTEX_RADIUS_M = 0.004
REWEIGHTINGS, NEAR_M = 12, 0.01
"""Of the robust alignment: rounds, and the distance below which a point counts as near."""

PlaneArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ClothMesh:
    """A sheet in its own plane."""

    points: PlaneArray
    """[N, 2] m, centred near the origin."""
    triangles: NDArray[np.int64]
    """[K, 3] vertex indices."""


def grid_mesh(cells: list[tuple[int, int]], spacing_m: float) -> tuple[list[tuple[int, int]], NDArray[np.int64]]:
    """Grid nodes and triangles of a set of square cells (column, row); diagonals alternate.

    Returns:
        nodes [(column, row)] sorted by row then column, and triangles [K, 3] indexing them.
    """
    nodes = sorted({(i + a, j + b) for i, j in cells for a in (0, 1) for b in (0, 1)}, key=lambda n: (n[1], n[0]))
    index = {node: position for position, node in enumerate(nodes)}
    triangles = []
    for i, j in sorted(cells, key=lambda cell: (cell[1], cell[0])):
        a, b, c, d = index[i, j], index[i + 1, j], index[i + 1, j + 1], index[i, j + 1]
        triangles += [(a, b, c), (a, c, d)] if (i + j) % 2 == 0 else [(a, b, d), (b, c, d)]
    return nodes, np.array(triangles, dtype=np.int64)


def flex_xml(name: str, mesh: ClothMesh, *, rgba: str, mass_kg: float) -> str:
    """The sheet as a flexcomp lying on the table; its vertex bodies are `{name}_0`, `{name}_1`, ..."""
    points = "  ".join(f"{x:.6f} {y:.6f} {VERTEX_RADIUS_M}" for x, y in mesh.points)
    elements = "  ".join(f"{a} {b} {c}" for a, b, c in mesh.triangles)
    return f"""<flexcomp name="{name}" type="direct" dim="2" radius="{VERTEX_RADIUS_M}" mass="{mass_kg}" rgba="{rgba}"
      point="{points}" element="{elements}">
      <contact selfcollide="none" condim="3" friction="1" solref=".01 1"/>
      <edge equality="true" solref=".01 1"/>
    </flexcomp>"""


def adjacency(mesh: ClothMesh) -> NDArray[np.bool_]:
    """[N, N] True where two vertices share an edge."""
    linked = np.zeros((len(mesh.points), len(mesh.points)), dtype=np.bool_)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        linked[mesh.triangles[:, a], mesh.triangles[:, b]] = True
        linked[mesh.triangles[:, b], mesh.triangles[:, a]] = True
    return linked


def align(source: PlaneArray, target: PlaneArray) -> tuple[float, PlaneArray]:
    """The rigid motion of the plane (turn, then shift) that best brings `source` [N, 2] onto `target` [N, 2].

    Returns:
        (angle rad, shift [2]): moved = turn(source, angle) + shift. No mirroring: a shirt lies on its right side.
    """
    source_mean, target_mean = _centre(source), _centre(target)
    angle = _angle_between(source - source_mean, target - target_mean)
    return angle, target_mean - turn(source_mean[None], angle)[0]


def align_most(source: PlaneArray, target: PlaneArray) -> tuple[float, PlaneArray]:
    """As `align`, but what lies far off counts for little: the motion that fits most points well, not all a little."""
    weights: PlaneArray = np.ones((len(source), 1))
    angle = 0.0
    shift: PlaneArray = np.zeros(2)
    for _ in range(REWEIGHTINGS):
        share = weights / np.add.reduce(weights)
        source_mean, target_mean = np.add.reduce(share * source), np.add.reduce(share * target)
        angle = _angle_between(source - source_mean, target - target_mean, share[:, 0])
        shift = target_mean - turn(source_mean[None], angle)[0]
        weights = 1.0 / (distances(turn(source, angle) + shift, target) + NEAR_M)[:, None]
    return angle, shift


def _angle_between(source: PlaneArray, target: PlaneArray, weights: PlaneArray | float = 1.0) -> float:
    """Turn, rad, that best brings `source` [N, 2] onto `target` [N, 2], both about the origin."""
    (ax, ay), (bx, by) = source.T, target.T
    sine, cosine = np.add.reduce(weights * (ax * by - ay * bx)), np.add.reduce(weights * (ax * bx + ay * by))
    return math.atan2(float(sine), float(cosine))


def turn(points: PlaneArray, angle: float) -> PlaneArray:
    """[N, 2] points turned about the origin by `angle` rad."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.stack([cosine * points[:, 0] - sine * points[:, 1], sine * points[:, 0] + cosine * points[:, 1]], axis=1)


def distances(a: PlaneArray, b: PlaneArray) -> NDArray[np.float64]:
    """[N] distances between paired rows of [N, D] arrays, m."""
    off = a - b
    return np.asarray(np.sqrt(np.add.reduce(off * off, axis=1)), dtype=np.float64)


def mean(values: NDArray[np.float64]) -> float:
    """The mean of [N] numbers. Read several times a step: np.mean gives the same bits at thrice the cost."""
    return float(np.add.reduce(values) / len(values))


def paired_error(points: PlaneArray, ideal: PlaneArray) -> float:
    """Mean distance (m) of each vertex to its place in the ideal fold, after the best rigid alignment of the plane."""
    angle, shift = align(points, ideal)
    return mean(distances(turn(points, angle) + shift, ideal))


def _centre(points: PlaneArray) -> PlaneArray:
    """[2] the mean of [N, 2] points."""
    return np.asarray(np.add.reduce(points, axis=0) / len(points))


class Cloth:
    """A flex of one simulation: where its vertices are, and how to lay it down."""

    def __init__(self, mujoco: Any, model: Any, data: Any, name: str, mesh: ClothMesh) -> None:
        self._data = data
        self.mesh = mesh
        bodies = [model.body(f"{name}_{index}").id for index in range(len(mesh.points))]
        self.bodies = np.array(bodies, dtype=np.int64)
        first = [int(model.body_jntadr[body]) for body in bodies]
        if any(model.body_jntnum[body] != 3 for body in bodies):
            raise AssertionError(f"cloth '{name}': expected three slide joints per vertex")
        self._address = np.array([[model.jnt_qposadr[joint + axis] for axis in range(3)] for joint in first])
        self._rest = np.concatenate([mesh.points, np.full((len(bodies), 1), VERTEX_RADIUS_M)], axis=1)

    def vertices(self) -> NDArray[np.float64]:
        """[N, 3] vertex positions, m."""
        return np.asarray(self._data.xpos[self.bodies], dtype=np.float64)  # indexing copies

    def lay(self, x_m: float, y_m: float, angle_rad: float) -> None:
        """Lays the sheet flat on the table, turned by `angle_rad` and shifted."""
        target = np.array(self._rest)
        target[:, :2] = turn(self.mesh.points, angle_rad) + np.array([x_m, y_m])
        self._data.qpos[self._address] = target - self._rest
