"""Fold a cross-shaped blank into a box: side walls, front and back wall, lid; each flap latches when its turn has come.

Owns the blank's shape, its latches, what counts as success, and the order in which the expert works.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.sim.bimanual_env import ROBOT_ID, BimanualEnv
from data.sim.bimanual_task import BimanualTask
from data.sim.detector import Reading
from data.sim.expert import GRASP_Z_M, Carry, Skill
from data.sim.flaws import EpisodeFlaws
from data.sim.grasp import GraspPoints
from data.sim.paths import Point
from data.sim.scene import SceneParts
from data.tasks import TASKS
from recap.specs import TaskSpec

HALF_X_M, HALF_Y_M = 0.07, 0.055
"""Half the floor of the box."""
WALL_M = 0.075
LID_M = 2 * HALF_Y_M
CARD_M = 0.0015
"""Half the thickness of the cardboard."""
CENTRE_Y_M = -0.10
"""Where the middle of the floor lies when nothing is shifted."""
GRASP_RADIUS_M = 0.05
START_SHIFT_M, START_TURN_RAD = 0.03, 0.2
UPRIGHT_RAD = math.pi / 2
LATCH_RAD = 1.0
"""A flap let go at this angle or more latches: magnets in its rim draw it upright over the last 42 mm (lid: 62). A tool
goes 42 mm in one control step, so whoever lets go one step early still latches."""
OVER_RAD = 1.62
"""Angle that a carry aims for: a little past upright, as far as the crease goes."""
FELL_RAD = 0.8
"""A flap that was latched and is below this angle is undone."""
RAISED_RAD = 0.35
"""A flap let go above this angle, and not latching, was dropped."""
WRONG_RAD = 0.9
"""A flap held above this angle before its turn is out of order."""
LOST_M = 0.22
"""A floor this far from where it started cannot be reached on all sides."""
SETTLE_STEPS = 2
"""The expert waits this long at the place, for the arm's last centimetre."""
MAX_TRIES = 10

SPEC = TaskSpec(
    id="box_assembly",
    prompt="assemble the box",
    robot=ROBOT_ID,
    max_steps=400,
    rate_hz=10.0,
    lookahead_s=1.8,
    positive_fraction=0.4,
    reset_s=15.0,
    success=(
        "all four walls and the lid are folded and latched, each after the flaps that must lie beneath it, and nobody "
        "holds the box, for half a second"
    ),
    revision=3,  # most demonstrators share a habit
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Flap:
    """A panel that turns about one crease."""

    name: str
    arm: int
    """The arm that the expert folds it with: 0 left, 1 right."""
    parent: str
    """Body that the crease belongs to."""
    crease: Point
    """Middle of the crease in the parent's frame, m."""
    outward: tuple[int, int]
    """Direction of the panel when flat, in the blank's plane."""
    length_m: float
    half_width_m: float
    after: tuple[str, ...]
    """Flaps that must be latched before this one can be."""
    rgba: str

    @property
    def tip(self) -> Point:
        """Middle of the free edge in the panel's frame, m."""
        return (self.outward[0] * self.length_m, self.outward[1] * self.length_m, 0.0)


FLAPS = (
    Flap(
        name="left", arm=0, parent="blank", crease=(-HALF_X_M, 0.0, 0.0), outward=(-1, 0), length_m=WALL_M,
        half_width_m=HALF_Y_M, after=(), rgba=".74 .50 .28 1",
    ),
    Flap(
        name="right", arm=1, parent="blank", crease=(HALF_X_M, 0.0, 0.0), outward=(1, 0), length_m=WALL_M,
        half_width_m=HALF_Y_M, after=(), rgba=".74 .50 .28 1",
    ),
    Flap(
        name="front", arm=1, parent="blank", crease=(0.0, -HALF_Y_M, 0.0), outward=(0, -1), length_m=WALL_M,
        half_width_m=HALF_X_M, after=("left", "right"), rgba=".52 .34 .18 1",
    ),
    Flap(
        name="back", arm=0, parent="blank", crease=(0.0, HALF_Y_M, 0.0), outward=(0, 1), length_m=WALL_M,
        half_width_m=HALF_X_M, after=("left", "right"), rgba=".52 .34 .18 1",
    ),
    Flap(
        name="lid", arm=1, parent="back", crease=(0.0, WALL_M, 0.0), outward=(0, 1), length_m=LID_M,
        half_width_m=HALF_X_M, after=("front", "back"), rgba=".24 .42 .62 1",
    ),
)  # fmt: skip
NAMES = tuple(flap.name for flap in FLAPS)
AFTER = tuple(tuple(NAMES.index(name) for name in flap.after) for flap in FLAPS)
"""Predecessors of each flap, by index."""
BEFORE = tuple(tuple(later for later in range(len(FLAPS)) if own in AFTER[later]) for own in range(len(FLAPS)))
"""Successors of each flap, by index."""


def blank_xml() -> str:
    """The blank flat on the table: a floor that slides with friction, and five hinged panels."""
    inner: dict[str, str] = {}
    for flap in reversed(FLAPS):
        (ux, uy), length = flap.outward, flap.length_m
        size = (length / 2, flap.half_width_m) if ux else (flap.half_width_m, length / 2)
        inner[flap.parent] = f"""
      <body name="{flap.name}" pos="{flap.crease[0]} {flap.crease[1]} {flap.crease[2]}">
        <joint name="{flap.name}_fold" axis="{uy} {-ux} 0" range="-.01 {OVER_RAD}" stiffness=".02" damping=".004"
          armature=".0002"/>
        <geom type="box" size="{size[0]} {size[1]} {CARD_M}" pos="{ux * length / 2} {uy * length / 2} 0" mass=".02"
          rgba="{flap.rgba}" contype="0" conaffinity="0"/>{inner.get(flap.name, "")}
      </body>""" + inner.get(flap.parent, "")
    return f"""<body name="blank" pos="0 {CENTRE_Y_M} {2 * CARD_M}">
      <joint name="blank_x" type="slide" axis="1 0 0" frictionloss="15" damping="10"/>
      <joint name="blank_y" type="slide" axis="0 1 0" frictionloss="15" damping="10"/>
      <joint name="blank_turn" axis="0 0 1" frictionloss="1" damping=".3"/>
      <geom type="box" size="{HALF_X_M} {HALF_Y_M} {CARD_M}" mass=".15" rgba=".62 .42 .24 1" contype="0"
        conaffinity="0"/>{inner["blank"]}
    </body>"""


def latches_xml() -> str:
    """One joint equality per flap that holds it upright; all begin open."""
    return "\n    ".join(
        f'<joint name="{name}_latch" joint1="{name}_fold" polycoef="{UPRIGHT_RAD} 0 0 0 0" active="false"/>'
        for name in NAMES
    )


class BoxScenario:
    """The blank on the bench: start states, latches, readings."""

    def __init__(self) -> None:
        self.parts = SceneParts(objects=blank_xml(), grasp_body=NAMES[0], timestep_s=0.005, equality=latches_xml())
        self.grasp_points = GraspPoints(
            bodies=NAMES,
            anchors=np.array([flap.tip for flap in FLAPS]),
            radius_m=GRASP_RADIUS_M,
            adjacent=np.zeros((len(FLAPS), len(FLAPS)), dtype=np.bool_),
        )

    def bind(self, bench: BimanualEnv) -> None:
        self._bench = bench
        model = bench.model
        self._folds = np.array([model.joint(f"{name}_fold").qposadr[0] for name in NAMES])
        self._latches = np.array([model.equality(f"{name}_latch").id for name in NAMES])
        self._floor = np.array([model.joint(f"blank_{axis}").qposadr[0] for axis in ("x", "y", "turn")])
        self._bodies = np.array([model.body(name).id for name in NAMES])

    def place(self, rng: np.random.Generator) -> None:
        x, y, turn = rng.uniform(-1.0, 1.0, size=3)
        self._bench.data.qpos[self._floor] = (START_SHIFT_M * x, START_SHIFT_M * y, START_TURN_RAD * turn)

    def angles(self) -> NDArray[np.float64]:
        """[5] how far each flap is folded, rad; 0 is flat."""
        return np.array(self._bench.data.qpos[self._folds])

    def latched(self) -> NDArray[np.bool_]:
        """[5] which flaps hold by themselves."""
        return np.array(self._bench.data.eq_active[self._latches], dtype=np.bool_)

    def tips(self) -> NDArray[np.float64]:
        """[5, 3] where the free edges are, m."""
        return self._bench.grasp.positions()

    def crease(self, flap: int) -> NDArray[np.float64]:
        """[3] middle of the crease of a flap, m."""
        return np.array(self._bench.data.xpos[self._bodies[flap]])

    def tip_at(self, flap: int, angle_rad: float) -> NDArray[np.float64]:
        """[3] where the free edge would be at another angle of its own crease, m."""
        crease, tip = self.crease(flap), self.tips()[flap]
        axis = np.array(self._bench.data.xaxis[self._bench.model.joint(f"{NAMES[flap]}_fold").id])
        arm, turn = tip - crease, angle_rad - float(self.angles()[flap])
        across = np.array([
            axis[1] * arm[2] - axis[2] * arm[1],
            axis[2] * arm[0] - axis[0] * arm[2],
            axis[0] * arm[1] - axis[1] * arm[0],
        ])  # fmt: skip
        return np.asarray(crease + math.cos(turn) * arm + math.sin(turn) * across)

    def held(self) -> frozenset[int]:
        """Flaps in a gripper."""
        return frozenset(index for side in (0, 1) for index in self._bench.grasp.held[side])

    def ready(self, flap: int) -> bool:
        """Every flap that must come before is latched."""
        latched = self.latched()
        return all(latched[before] for before in AFTER[flap])

    def in_the_air(self, points: tuple[int, ...]) -> bool:
        angles = self.angles()
        return any(angles[flap] > RAISED_RAD and not (angles[flap] > LATCH_RAD and self.ready(flap)) for flap in points)

    def advance(self) -> None:
        """A flap let go upright in its turn latches; one that is gripped comes loose, unless a later one covers it."""
        angles, held = self.angles(), self.held()
        for flap, latch in enumerate(self._latches):
            latched = self.latched()
            if flap in held:
                if latched[flap] and not any(latched[later] for later in BEFORE[flap]):
                    self._bench.data.eq_active[latch] = 0
            elif not latched[flap] and angles[flap] > LATCH_RAD and self.ready(flap):
                self._bench.data.eq_active[latch] = 1

    def read(self) -> Reading:
        angles, latched, held = self.angles(), self.latched(), self.held()
        count = len(FLAPS)
        way = np.clip(angles / UPRIGHT_RAD, 0.0, 1.0)
        # Half of a flap's share for the way, half for the latch; out of turn its way is worth nothing.
        share = [1.0 if latched[flap] else 0.5 * float(way[flap]) * self.ready(flap) for flap in range(count)]
        succeeded = bool(latched.all()) and not held
        early = any(angles[flap] > WRONG_RAD and not self.ready(flap) for flap in held)
        floor = self._bench.data.qpos[self._floor]
        return Reading(
            progress=0.95 * sum(share) / count + 0.05 * succeeded,
            stage=int(latched.sum()),
            milestones={f"{name}_folded": bool(latched[flap]) for flap, name in enumerate(NAMES)},
            undone=frozenset(f"{name}_folded" for flap, name in enumerate(NAMES) if angles[flap] < FELL_RAD),
            succeeded=succeeded,
            lost=bool(np.abs(floor[:2]).max() > LOST_M),
            errors=frozenset({"wrong_order"} if early else ()),
            metrics={"latched": float(latched.sum())},
        )


class BoxPlanner:
    """Which flap to fold next, from what is latched."""

    def __init__(self, scenario: BoxScenario) -> None:
        self._scenario = scenario
        self._tries = [0] * len(FLAPS)
        self._repeated = False

    def next_skill(self, flaws: EpisodeFlaws) -> Skill | None:
        scenario = self._scenario
        latched = scenario.latched()
        skipped = flaws.skipped_of(len(FLAPS))
        if flaws.repeats and not self._repeated and latched[1] and not any(latched[2:]):
            self._repeated = True
            return self._fold(1)
        for flap in range(len(FLAPS)):
            if latched[flap] or flap == skipped:
                continue
            if not flaws.checks:
                if self._tries[flap] == 0:
                    return self._fold(flap)
            elif self._tries[flap] < MAX_TRIES and scenario.ready(flap):
                return self._fold(flap)
        return None

    def _fold(self, flap: int) -> Skill:
        """Grips the free edge and takes it round its crease to just past upright."""
        scenario = self._scenario
        tip, crease, place = scenario.tips()[flap], scenario.crease(flap), scenario.tip_at(flap, OVER_RAD)
        # The tool stays above the table: what it is above the edge it stays above it all the way.
        above = max(0.0, GRASP_Z_M - float(tip[2]))
        carry = Carry(
            side=FLAPS[flap].arm,
            point=flap,
            grasp=(float(tip[0]), float(tip[1])),
            grasp_z=float(tip[2]) + above,
            place=(float(place[0]), float(place[1])),
            place_z=float(place[2]) + above,
            settle=SETTLE_STEPS,
            hinge=(float(crease[0]), float(crease[1]), float(crease[2]) + above),
        )
        skill = Skill(stage=flap, carries=(carry,), attempt=self._tries[flap], clear=True)
        self._tries[flap] += 1
        return skill


# A flap that did not latch shows, and whoever acts quietly goes back to it: a habit must be nearly everyone's to stick.
TASKS.add(SPEC.id, BimanualTask(SPEC, scenario=BoxScenario, planner=BoxPlanner, flawed_share=0.9))
