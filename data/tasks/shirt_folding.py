"""Fold a T-shirt: both sleeves in, then the hem up to the shoulders.

Owns the shirt's shape, its ideal fold, what counts as success, and the order in which the expert works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.sim.bench import ROBOT_ID, Bench, robot_spec
from data.sim.cloth import Cloth, ClothMesh, adjacency, align, distances, flex_xml, grid_mesh, paired_error, turn
from data.sim.detector import Reading
from data.sim.expert import Carry, ScriptedExpert, Skill
from data.sim.flaws import CLEAN, EpisodeFlaws, FlawConfig, draw_flaws
from data.sim.grasp import GraspPoints
from data.sim.scene import SceneParts
from data.tasks import TASKS
from recap.errors import RecapError
from recap.protocols import SimulatedRobot
from recap.specs import RobotSpec, TaskSpec

CELL_M = 0.04
BODY_COLUMNS, BODY_ROWS, SLEEVE_CELLS = 6, 8, 2
GRASP_RADIUS_M = 0.05
TIP_OUTSIDE_M, CORNER_OUTSIDE_M = 0.02, 0.027
"""How far outside the rim the expert closes the gripper: near enough for the rim, too far for the vertex behind it,
which a gripper that does not turn over would hold down."""
START_SHIFT_M, START_TURN_RAD = 0.03, 0.15
SUCCESS_ERROR_M = 0.035
ON_TABLE_M = 0.07
"""A vertex higher than this is in the air."""
RAISED_M = 0.05
"""Cloth let go with every held vertex above this height is dropped."""
LOST_XY_M, LOST_Z_M = 0.45, -0.03
FOLDED = 0.55
"""Share of a part's way that counts as folded."""
UNDONE = 0.35
"""Share of a part's way below which a fold counts as undone again."""
CRUMPLED_M = 0.05
"""Mean distance of the chest from its flat shape above which the expert spreads the shirt first."""
SPREAD_M = 0.015
"""How far beyond the flat shape a pull goes."""
SLEEVES, HEM, SMOOTH, SPREAD = range(4)
MAX_TRIES = {SLEEVES: 2, HEM: 3, SMOOTH: 3, SPREAD: 4}

SPEC = TaskSpec(
    id="shirt_folding",
    prompt="fold the shirt",
    robot=ROBOT_ID,
    max_steps=150,
    rate_hz=10.0,
    lookahead_s=1.8,
    positive_share=0.4,
    reset_s=10.0,
    success=(
        "the shirt lies on the table, held by nobody, and its vertices are on average less than 35 mm from the ideal "
        "fold (sleeves in, hem on the shoulders) after the best rigid alignment, with no part left unfolded, for half "
        "a second"
    ),
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ShirtShape:
    """The shirt flat and folded, in its own frame; collar towards +y, sides as seen from above."""

    mesh: ClothMesh
    ideal: NDArray[np.float64]
    """[N, 2] where each vertex belongs in the finished fold, m."""
    chest: NDArray[np.int64]
    """Vertices that no fold moves."""
    sleeves: tuple[NDArray[np.int64], NDArray[np.int64]]
    """Left and right sleeve vertices."""
    lower: NDArray[np.int64]
    """Vertices below the fold line."""
    tips: tuple[int, int]
    """Middle of the sleeve ends."""
    corners: tuple[int, int]
    """Hem corners."""
    behind: Mapping[int, int]
    """For each tip and corner, the vertex one cell into the cloth."""


def shirt_shape() -> ShirtShape:
    """75 vertices, 4 cm apart: a body of 6 x 8 cells and two sleeves of 2 x 2 cells beside the shoulders."""
    cells = [(i, j) for i in range(BODY_COLUMNS) for j in range(BODY_ROWS)]
    for k in range(SLEEVE_CELLS):
        cells += [(i, BODY_ROWS - 1 - k) for i in (-2, -1, BODY_COLUMNS, BODY_COLUMNS + 1)]
    nodes, triangles = grid_mesh(cells, CELL_M)
    grid = np.array(nodes, dtype=np.int64)
    beyond = np.maximum(-grid[:, 0], 0) + np.maximum(grid[:, 0] - BODY_COLUMNS, 0)
    x = (grid[:, 0] - BODY_COLUMNS / 2) * CELL_M
    y = (grid[:, 1] - BODY_ROWS / 2) * CELL_M - 0.008 * beyond
    # A scooped neckline.
    neck = (grid[:, 1] == BODY_ROWS) & (np.abs(grid[:, 0] - BODY_COLUMNS // 2) <= 1)
    y = np.where(neck, y - np.where(grid[:, 0] == BODY_COLUMNS // 2, 0.018, 0.012), y)
    edge = BODY_COLUMNS / 2 * CELL_M
    folded_x = np.where(x < -edge - 1e-9, -2 * edge - x, np.where(x > edge + 1e-9, 2 * edge - x, x))
    folded_y = np.where(y < -1e-9, -y, y)
    index = {(int(i), int(j)): k for k, (i, j) in enumerate(grid)}
    middle = BODY_ROWS - 1
    inside = beyond == 0
    return ShirtShape(
        mesh=ClothMesh(points=np.stack([x, y], axis=1), triangles=triangles),
        ideal=np.stack([folded_x, folded_y], axis=1),
        chest=np.flatnonzero(inside & (grid[:, 1] >= BODY_ROWS // 2)),
        sleeves=(np.flatnonzero(grid[:, 0] < 0), np.flatnonzero(grid[:, 0] > BODY_COLUMNS)),
        lower=np.flatnonzero(grid[:, 1] < BODY_ROWS // 2),
        tips=(index[-2, middle], index[BODY_COLUMNS + 2, middle]),
        corners=(index[0, 0], index[BODY_COLUMNS, 0]),
        behind={
            index[-2, middle]: index[-1, middle],
            index[BODY_COLUMNS + 2, middle]: index[BODY_COLUMNS + 1, middle],
            index[0, 0]: index[1, 1],
            index[BODY_COLUMNS, 0]: index[BODY_COLUMNS - 1, 1],
        },
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Folds:
    """How far each part has got, [0, 1]."""

    sleeve_left: float
    sleeve_right: float
    hem: float

    @property
    def sleeves(self) -> tuple[float, float]:
        return (self.sleeve_left, self.sleeve_right)


class ShirtScenario:
    """The shirt on the bench: start states, readings."""

    def __init__(self) -> None:
        self.shape = shirt_shape()
        mesh = self.shape.mesh
        self.parts = SceneParts(
            objects=flex_xml("shirt", mesh, rgba=".16 .34 .72 1", mass_kg=0.15), grasp_body="shirt_0", timestep_s=0.01
        )
        count = len(mesh.points)
        self.grasp_points = GraspPoints(
            bodies=tuple(f"shirt_{index}" for index in range(count)),
            anchors=np.zeros((count, 3)),
            radius_m=GRASP_RADIUS_M,
            adjacent=adjacency(mesh),
        )

    def bind(self, bench: Bench) -> None:
        self._bench = bench
        self.cloth = Cloth(bench.mujoco, bench.model, bench.data, "shirt", self.shape.mesh)

    def place(self, rng: np.random.Generator) -> None:
        x, y, angle = rng.uniform(-1.0, 1.0, size=3)
        self.cloth.lay(START_SHIFT_M * x, START_SHIFT_M * y, START_TURN_RAD * angle)

    def frame(self) -> tuple[float, NDArray[np.float64]]:
        """(angle, shift) that take the shirt's own frame to the table, by the chest."""
        chest = self.shape.chest
        return align(self.shape.mesh.points[chest], self.cloth.vertices()[chest, :2])

    def crumple(self) -> float:
        """Mean distance of the chest from its flat shape, m; it stays flat in every good fold."""
        chest, (angle, shift) = self.shape.chest, self.frame()
        flat = turn(self.shape.mesh.points[chest], angle) + shift
        return float(np.mean(distances(self.cloth.vertices()[chest, :2], flat)))

    def flat_on_table(self) -> NDArray[np.float64]:
        """[N, 2] the unfolded shirt nearest to how it lies now, within the range of start poses, m."""
        points = self.shape.mesh.points
        body = np.concatenate([self.shape.chest, self.shape.lower])
        angle, shift = align(points[body], self.cloth.vertices()[body, :2])
        angle = min(max(angle, -START_TURN_RAD), START_TURN_RAD)
        return np.asarray(turn(points, angle) + np.clip(shift, -START_SHIFT_M, START_SHIFT_M))

    def ideal_on_table(self) -> NDArray[np.float64]:
        """[N, 2] where each vertex belongs now, given where the chest lies, m."""
        angle, shift = self.frame()
        return np.asarray(turn(self.shape.ideal, angle) + shift)

    def folds(self) -> Folds:
        """How far each part has got in the present state."""
        points = self.cloth.vertices()
        off = distances(points[:, :2], self.ideal_on_table())
        flat = distances(self.shape.mesh.points, self.shape.ideal)

        def way(part: NDArray[np.int64]) -> float:
            return float(np.clip(1.0 - np.mean(off[part]) / np.mean(flat[part]), 0.0, 1.0))

        left, right = self.shape.sleeves
        return Folds(sleeve_left=way(left), sleeve_right=way(right), hem=way(self.shape.lower))

    def error(self) -> float:
        """Paired-vertex error against the ideal fold, m."""
        return paired_error(self.cloth.vertices()[:, :2], self.shape.ideal)

    def good(self) -> bool:
        """The fold is good with a margin, whoever holds it."""
        folds = self.folds()
        return self.error() < 0.8 * SUCCESS_ERROR_M and min(*folds.sleeves, folds.hem) > UNDONE + 0.05

    def in_the_air(self, points: tuple[int, ...]) -> bool:
        return float(self.cloth.vertices()[list(points), 2].min()) > RAISED_M

    def advance(self) -> None:
        """Cloth has no latches."""

    def read(self) -> Reading:
        points = self.cloth.vertices()
        folds, error = self.folds(), self.error()
        held = {index for side in (0, 1) for index in self._bench.grasp.held[side]}
        low = bool(points[:, 2].max() < ON_TABLE_M)
        lost = bool(points[:, 2].min() < LOST_Z_M or np.abs(points[:, :2].mean(axis=0)).max() > LOST_XY_M)

        def rests(part: NDArray[np.int64]) -> bool:
            return not held.intersection(part.tolist()) and bool(points[part, 2].max() < ON_TABLE_M)

        left, right = self.shape.sleeves
        vertices = {"sleeve_left": left, "sleeve_right": right, "hem": self.shape.lower}
        parts = {"sleeve_left": folds.sleeve_left, "sleeve_right": folds.sleeve_right, "hem": folds.hem}
        milestones = {f"{name}_folded": share > FOLDED and rests(vertices[name]) for name, share in parts.items()}
        succeeded = error < SUCCESS_ERROR_M and min(parts.values()) > UNDONE and not held and low
        progress = 0.25 * folds.sleeve_left + 0.25 * folds.sleeve_right + 0.45 * folds.hem + 0.05 * succeeded
        stage = 0 if min(folds.sleeves) <= FOLDED else (1 if folds.hem <= FOLDED else 2)
        return Reading(
            progress=min(progress, 1.0),
            stage=stage,
            milestones=milestones,
            undone=frozenset(f"{name}_folded" for name, share in parts.items() if share < UNDONE),
            succeeded=succeeded,
            lost=lost,
            metrics={"paired_vertex_error_m": error, **parts},
        )


class ShirtPlanner:
    """Which part to fold next, from how the shirt lies."""

    def __init__(self, scenario: ShirtScenario) -> None:
        self._scenario = scenario
        self._tries = dict.fromkeys(MAX_TRIES, 0)
        self._repeated = False

    def next_skill(self, flaws: EpisodeFlaws) -> Skill | None:
        folds, scenario = self._scenario.folds(), self._scenario
        skipped = None if flaws.skipped is None else flaws.skipped % 3
        if flaws.checks and scenario.crumple() > CRUMPLED_M and self._left(SPREAD, flaws):
            return self._skill(SPREAD, self._pull())
        sides = tuple(side for side in (0, 1) if folds.sleeves[side] <= FOLDED and skipped != side)
        if sides and self._left(SLEEVES, flaws):
            return self._skill(SLEEVES, tuple(self._sleeve(side) for side in sides))
        if flaws.repeats and not self._repeated and self._tries[HEM] == 0:
            self._repeated = True
            return self._skill(SLEEVES, (self._sleeve(0), self._sleeve(1)))
        if folds.hem <= FOLDED and self._left(HEM, flaws) and skipped != 2:
            return self._skill(HEM, tuple(self._corner(side) for side in (0, 1)))
        if flaws.checks and not scenario.good() and self._left(SMOOTH, flaws):
            return self._skill(SMOOTH, (self._worst(),))
        return None

    def _left(self, stage: int, flaws: EpisodeFlaws) -> bool:
        return self._tries[stage] < (MAX_TRIES[stage] if flaws.checks else 1)

    def _skill(self, stage: int, carries: tuple[Carry, ...]) -> Skill:
        skill = Skill(stage=stage, carries=carries, attempt=self._tries[stage])
        self._tries[stage] += 1
        return skill

    def _pull(self) -> tuple[Carry, ...]:
        """Both sleeve tips, or both hem corners, out to where they lie when the shirt is flat."""
        shape, flat = self._scenario.shape, self._scenario.flat_on_table()
        points = self._scenario.cloth.vertices()[:, :2]
        off = [float(np.sum(distances(points[list(pair)], flat[list(pair)]))) for pair in (shape.tips, shape.corners)]
        pair = shape.tips if off[0] >= off[1] else shape.corners
        if points[pair[0], 0] > points[pair[1], 0] + 0.05:
            # The ends lie crossed: one arm after the other, the worse end first.
            worse = max(pair, key=lambda rim: float(np.sum((points[rim] - flat[rim]) ** 2)))
            return (self._spread(worse, 0 if points[worse, 0] < 0 else 1, flat),)
        return tuple(self._spread(rim, side, flat) for side, rim in enumerate(pair))

    def _spread(self, rim: int, side: int, flat: NDArray[np.float64]) -> Carry:
        shape = self._scenario.shape
        point = self._scenario.cloth.vertices()[rim, :2]
        outward = flat[rim] - flat[shape.behind[rim]]
        place = flat[rim] + SPREAD_M * outward / np.sqrt(np.sum(outward**2))
        return Carry(side=side, point=rim, grasp=_pair(point), place=_pair(place), arc=0.2)

    def _sleeve(self, side: int) -> Carry:
        return self._carry(self._scenario.shape.tips[side], side)

    def _corner(self, side: int) -> Carry:
        return self._carry(self._scenario.shape.corners[side], side)

    def _worst(self) -> Carry:
        shape = self._scenario.shape
        points, ideal = self._scenario.cloth.vertices()[:, :2], self._scenario.ideal_on_table()
        rim = [*shape.tips, *shape.corners]
        worst = max(rim, key=lambda index: float(np.sum((points[index] - ideal[index]) ** 2)))
        return self._carry(worst, 0 if points[worst, 0] < 0 else 1)

    def _carry(self, rim: int, side: int) -> Carry:
        """Takes a rim vertex to where it belongs.

        The gripper closes just outside the cloth, so that it holds the edge and not the sheet behind it, which could
        not turn over.
        """
        shape = self._scenario.shape
        points, ideal = self._scenario.cloth.vertices()[:, :2], self._scenario.ideal_on_table()
        outward = points[rim] - points[shape.behind[rim]]
        length = float(np.sqrt(np.sum(outward**2)))
        reach = (TIP_OUTSIDE_M if rim in shape.tips else CORNER_OUTSIDE_M) * outward / max(length, 1e-6)
        grasp, place = points[rim] + reach, ideal[rim] + reach
        return Carry(
            side=side,
            point=rim,
            grasp=_pair(grasp),
            place=_pair(place),
        )


def _pair(point: NDArray[np.float64]) -> tuple[float, float]:
    return (float(point[0]), float(point[1]))


class ShirtBench(Bench):
    """The bench with a shirt on it."""

    def __init__(self, *, renderer: str, image_size: int) -> None:
        self.shirt = ShirtScenario()
        super().__init__(
            self.shirt, max_steps=SPEC.max_steps, rate_hz=SPEC.rate_hz, renderer=renderer, image_size=image_size
        )


class ShirtFolding:
    """The task, for the registry."""

    spec: TaskSpec = SPEC
    robot: RobotSpec = robot_spec(64)

    def make_robot(self, renderer: str = "auto", image_size: int = 64) -> ShirtBench:
        return ShirtBench(renderer=renderer, image_size=image_size)

    def make_expert(self, robot: SimulatedRobot, seed: int, flaws: FlawConfig) -> ScriptedExpert:
        """The expert for the shirt on `robot`, from its present state on.

        Raises:
            RecapError: `robot` was not made by this task.
        """
        bench = _own(robot)
        return ScriptedExpert(bench, ShirtPlanner(bench.shirt), seed, draw_flaws(flaws, seed))

    def make_takeover(self, robot: SimulatedRobot, seed: int) -> ScriptedExpert:
        """The expert that saves an attempt under way; `seed` decides its 8 mm target noise.

        Raises:
            RecapError: `robot` was not made by this task.
        """
        bench = _own(robot)
        return ScriptedExpert(bench, ShirtPlanner(bench.shirt), seed, draw_flaws(CLEAN, seed))


def _own(robot: SimulatedRobot) -> ShirtBench:
    if not isinstance(robot, ShirtBench):
        raise RecapError(
            f"the shirt expert cannot act on a {type(robot).__name__}",
            hint="TASKS.get('shirt_folding').make_robot()",
        )
    return robot


TASKS.add(SPEC.id, ShirtFolding())
