"""A garment to fold: its shape flat and folded, and the cloth on the bench that is judged against it.

Owns what folded means for any garment (how far each part is on its way, the paired-vertex error, success). A task says
which vertices are sleeves or legs, and where they belong.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from data.sim.bimanual_env import BimanualEnv
from data.sim.cloth import (
    Cloth,
    ClothMesh,
    PlaneArray,
    adjacency,
    align,
    distances,
    flex_xml,
    mean,
    paired_error,
    turn,
)
from data.sim.detector import Reading
from data.sim.grasp import GraspPoints
from data.sim.scene import SceneParts

GRASP_RADIUS_M = 0.05
ON_TABLE_M = 0.07
"""A vertex higher than this is in the air."""
RAISED_M = 0.05
"""Cloth let go with every held vertex above this height is dropped."""
LOST_XY_M, LOST_Z_M = 0.45, -0.03
FOLDED = 0.55
"""Share of a part's way that counts as folded."""
UNDONE = 0.35
"""Share of a part's way below which a fold counts as undone again."""
SUCCESS_SHARE = 0.05
"""What success itself adds to progress; the parts' weights are the rest."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """Vertices that a fold takes from one place to another."""

    name: str
    vertices: NDArray[np.int64]
    weight: float
    """Share of true progress."""
    before: PlaneArray
    """[N, 2] where the garment's vertices are before the fold, m."""
    after: tuple[PlaneArray, ...]
    """[N, 2] where they are once it is done; and where later folds take them, if they do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lift:
    """One arm's share of a fold."""

    rim: int
    """The vertex that the gripper takes."""
    side: int
    """0 left, 1 right."""
    part: str
    """The part that follows it."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fold:
    """What both arms do at once."""

    lifts: tuple[Lift, ...]
    goal: PlaneArray
    """[N, 2] where the vertices belong after this fold, m."""
    max_tries: int


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Garment:
    """A garment in its own frame, flat and folded, and how it is folded."""

    name: str
    """Of the cloth in the model."""
    rgba: str
    mesh: ClothMesh
    ideal: PlaneArray
    """[N, 2] where each vertex belongs in the finished fold, m."""
    still: NDArray[np.int64]
    """Vertices that no fold moves."""
    body: NDArray[np.int64]
    """Vertices that show how the garment would lie unfolded."""
    parts: tuple[Part, ...]
    folds: tuple[Fold, ...]
    """In order."""
    pairs: tuple[tuple[int, int], ...]
    """Left and right rim vertices by which it can be spread."""
    behind: Mapping[int, int]
    """For each rim vertex that is ever taken, the vertex one cell into the cloth."""
    outside_m: Mapping[int, float]
    """How far outside the rim the gripper closes there, m: near enough for the rim, too far for the vertex behind it,
    which a gripper that does not turn over would hold down."""
    success_error_m: float
    shift_m: float
    """Starts are shifted by up to this, each way."""
    turn_rad: float
    """Starts are turned by up to this."""
    centre: tuple[float, float] = (0.0, 0.0)
    """Where the garment's origin lies when nothing is shifted, m."""
    ordered: bool = False
    """A fold that is done before an earlier one is an error."""
    layers: NDArray[np.bool_] | None = None
    """[N, N] vertices that may be gripped together besides mesh neighbours: layers that lie on each other."""


@dataclass(slots=True)
class Progress:
    """How far each part has got, [0, 1]."""

    ways: dict[str, float] = field(default_factory=dict)

    def folded(self, part: str) -> bool:
        return self.ways[part] > FOLDED


class GarmentScenario:
    """A garment on the bench: start states, readings."""

    def __init__(self, garment: Garment) -> None:
        self.garment = garment
        mesh, name = garment.mesh, garment.name
        self.parts = SceneParts(
            objects=flex_xml(name, mesh, rgba=garment.rgba, mass_kg=0.15), grasp_body=f"{name}_0", timestep_s=0.01
        )
        # Read in every step, the same in all of them: flat where no fold moves it, and of each part where its own
        # vertices go and how long their way is.
        self._still = mesh.points[garment.still]
        self._ways = [
            (
                part,
                [after[part.vertices] for after in part.after],
                mean(distances(part.before, part.after[0])[part.vertices]),
            )
            for part in garment.parts
        ]
        self._vertices = {part.name: frozenset(part.vertices.tolist()) for part in garment.parts}
        count = len(mesh.points)
        linked = adjacency(mesh)
        self.grasp_points = GraspPoints(
            bodies=tuple(f"{name}_{index}" for index in range(count)),
            anchors=np.zeros((count, 3)),
            radius_m=GRASP_RADIUS_M,
            adjacent=linked if garment.layers is None else linked | garment.layers,
        )

    def bind(self, bench: BimanualEnv) -> None:
        self.bench = bench
        self.cloth = Cloth(bench.mujoco, bench.model, bench.data, self.garment.name, self.garment.mesh)

    def place(self, rng: np.random.Generator) -> None:
        garment = self.garment
        x, y, angle = rng.uniform(-1.0, 1.0, size=3)
        self.cloth.lay(
            garment.centre[0] + garment.shift_m * x, garment.centre[1] + garment.shift_m * y, garment.turn_rad * angle
        )

    def frame(self) -> tuple[float, PlaneArray]:
        """(angle, shift) that take the garment's own frame to the table, by what no fold moves."""
        return align(self._still, self.cloth.vertices()[self.garment.still, :2])

    def crumple(self) -> float:
        """Mean distance of what no fold moves from its flat shape, m; it stays flat in every good fold."""
        still, (angle, shift) = self.garment.still, self.frame()
        flat = turn(self.garment.mesh.points[still], angle) + shift
        return float(np.mean(distances(self.cloth.vertices()[still, :2], flat)))

    def flat_on_table(self) -> PlaneArray:
        """[N, 2] the unfolded garment nearest to how it lies now, within the range of start poses, m."""
        garment, points = self.garment, self.garment.mesh.points
        angle, shift = align(points[garment.body], self.cloth.vertices()[garment.body, :2])
        angle = min(max(angle, -garment.turn_rad), garment.turn_rad)
        centre = np.array(garment.centre)
        return np.asarray(turn(points, angle) + (centre + np.clip(shift - centre, -garment.shift_m, garment.shift_m)))

    def on_table(self, plane: PlaneArray) -> PlaneArray:
        """[N, 2] positions in the garment's frame, brought to the table as it lies now, m."""
        angle, shift = self.frame()
        return np.asarray(turn(plane, angle) + shift)

    def progress(self) -> Progress:
        """How far each part has got in the present state."""
        points = self.cloth.vertices()[:, :2]
        angle, shift = self.frame()
        found = Progress()
        for part, places, whole in self._ways:
            here = points[part.vertices]
            off = distances(here, turn(places[0], angle) + shift)
            for later in places[1:]:
                off = np.minimum(off, distances(here, turn(later, angle) + shift))
            found.ways[part.name] = min(max(1.0 - mean(off) / whole, 0.0), 1.0)
        return found

    def error(self) -> float:
        """Paired-vertex error against the ideal fold, m."""
        return paired_error(self.cloth.vertices()[:, :2], self.garment.ideal)

    def good(self) -> bool:
        """The fold is good with a margin, whoever holds it."""
        ways = self.progress().ways.values()
        return self.error() < 0.8 * self.garment.success_error_m and min(ways) > UNDONE + 0.05

    def in_the_air(self, points: tuple[int, ...]) -> bool:
        return float(self.cloth.vertices()[list(points), 2].min()) > RAISED_M

    def advance(self) -> None:
        """Cloth has no latches."""

    def read(self) -> Reading:
        garment, points = self.garment, self.cloth.vertices()
        found, error = self.progress(), self.error()
        held = {index for side in (0, 1) for index in self.bench.grasp.held[side]}
        low = bool(points[:, 2].max() < ON_TABLE_M)

        def rests(part: Part) -> bool:
            free = not held.intersection(self._vertices[part.name])
            return free and bool(points[part.vertices, 2].max() < ON_TABLE_M)

        succeeded = error < garment.success_error_m and min(found.ways.values()) > UNDONE and not held and low
        progress = 0.0
        # One by one: sum() rounds otherwise.
        for part in garment.parts:
            progress += part.weight * found.ways[part.name]
        progress += SUCCESS_SHARE * succeeded
        done = [all(found.folded(lift.part) for lift in fold.lifts) for fold in garment.folds]
        stage = done.index(False) if False in done else len(done)
        early = garment.ordered and any(done[stage:])
        return Reading(
            progress=min(progress, 1.0),
            stage=stage,
            milestones={f"{part.name}_folded": found.folded(part.name) and rests(part) for part in garment.parts},
            undone=frozenset(f"{name}_folded" for name, way in found.ways.items() if way < UNDONE),
            succeeded=succeeded,
            lost=bool(points[:, 2].min() < LOST_Z_M or np.abs(points[:, :2].mean(axis=0)).max() > LOST_XY_M),
            errors=frozenset({"wrong_order"} if early else ()),
            metrics={"paired_vertex_error_m": error, **found.ways},
        )
