"""Stand four rolls of toilet paper in the four rings of a tray, one in each.

Owns the rolls and the tray, what counts as success, and the order in which the expert works.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.sim.bimanual_env import ROBOT_ID, BimanualEnv
from data.sim.bimanual_task import BimanualTask
from data.sim.cloth import distances
from data.sim.detector import Reading
from data.sim.expert import GRASP_Z_M, Carry, Skill
from data.sim.flaws import EpisodeFlaws
from data.sim.grasp import GraspPoints
from data.sim.scene import SceneParts
from data.tasks import TASKS
from recap.specs import TaskSpec

RADIUS_M, HEIGHT_M = 0.028, 0.07
GRIP_BELOW_M = 0.01
"""How far below its end a roll is gripped."""
GRASP_RADIUS_M = 0.05
RING_M = 0.085
"""Radius of a ring of the tray."""
PLACED_M = RING_M - RADIUS_M
"""A roll this near to the middle of a ring stands wholly within it."""
UPRIGHT = math.cos(math.radians(15.0))
"""Cosine of the tilt up to which a roll stands."""
TOPPLED = math.cos(math.radians(60.0))
"""Cosine of the tilt from which it lies."""
RAISED_M = HEIGHT_M / 2 + 0.025
"""A roll let go with its middle above this height was dropped."""
RESTING_M = HEIGHT_M / 2 + 0.01
"""A standing roll whose middle is lower than this stands on the table."""
SLOTS = {"back_left": (-0.085, 0.16), "back_right": (0.085, 0.16), "front_left": (-0.085, -0.01),
         "front_right": (0.085, -0.01)}  # fmt: skip
"""Middles of the rings, m, in the order in which they are filled."""
STARTS = ((-0.10, -0.19), (0.10, -0.19), (-0.22, -0.15), (0.22, -0.15))
"""Where the rolls stand when nothing is shifted, m."""
START_SHIFT_M = 0.025
NEAR_M = 0.15
"""A roll begins to count as under way at this distance from a free ring."""
GONE_M = 2 * PLACED_M
"""A ring whose nearest roll is farther off than this has lost it."""
BLOCKING_M = RING_M + RADIUS_M
"""A roll nearer than this to a ring leaves no room for another."""
LOST_X_M, LOST_Y_M = 0.40, (-0.36, 0.27)
"""Beyond these a roll is out of reach."""
SETTLE_STEPS = 2
"""The expert waits this long above the ring, until the roll hangs still."""
MAX_TRIES = 10

SPEC = TaskSpec(
    id="toilet_paper_organization",
    prompt="organize the toilet paper rolls",
    robot=ROBOT_ID,
    max_steps=220,
    rate_hz=10.0,
    lookahead_s=1.8,
    positive_fraction=0.4,
    reset_s=10.0,
    success=(
        "each ring of the tray holds one roll, upright and wholly inside it, and nobody holds a roll, for half a second"
    ),
    revision=3,  # most demonstrators share a habit
)


def tray_xml() -> str:
    """A tray painted on the table, four rings, four rolls; only the rolls can be touched."""
    rings = "".join(
        f"""
    <geom type="cylinder" size="{RING_M} .0006" pos="{x} {y} .0012" rgba=".26 .46 .50 1" contype="0"
      conaffinity="0"/>"""
        for x, y in SLOTS.values()
    )
    rolls = "".join(
        f"""
    <body name="roll_{index}" pos="{x} {y} {HEIGHT_M / 2}">
      <joint name="roll_{index}" type="free" damping=".0008"/>
      <geom type="cylinder" size="{RADIUS_M} {HEIGHT_M / 2}" mass=".06" rgba=".95 .95 .93 1" condim="6"
        friction="1 .005 .002"/>
      <geom type="cylinder" size=".011 {HEIGHT_M / 2 + 0.0005}" mass="0" rgba=".55 .40 .26 1" contype="0"
        conaffinity="0"/>
    </body>"""
        for index, (x, y) in enumerate(STARTS)
    )
    return f"""<geom type="box" size=".175 .175 .0005" pos="0 .075 .0006" rgba=".16 .27 .36 1" contype="0"
      conaffinity="0"/>{rings}{rolls}"""


class RollScenario:
    """Four rolls on the bench: start states, readings."""

    def __init__(self) -> None:
        count = len(STARTS)
        self.parts = SceneParts(objects=tray_xml(), grasp_body="roll_0", timestep_s=0.005)
        ends = np.array([[0.0, 0.0, HEIGHT_M / 2 - GRIP_BELOW_M], [0.0, 0.0, GRIP_BELOW_M - HEIGHT_M / 2]])
        # A roll has two ends and is held by one of them: it hangs from the gripper, so a toppled one rights itself.
        self.grasp_points = GraspPoints(
            bodies=tuple(f"roll_{index // 2}" for index in range(2 * count)),
            anchors=np.tile(ends, (count, 1)),
            radius_m=GRASP_RADIUS_M,
            adjacent=np.zeros((2 * count, 2 * count), dtype=np.bool_),
        )
        self.slots = np.array(list(SLOTS.values()))

    def bind(self, bench: BimanualEnv) -> None:
        self._bench = bench
        names = [f"roll_{index}" for index in range(len(STARTS))]
        self._bodies = np.array([bench.model.body(name).id for name in names])
        self._first = np.array([bench.model.joint(name).qposadr[0] for name in names])

    def place(self, rng: np.random.Generator) -> None:
        shift = START_SHIFT_M * rng.uniform(-1.0, 1.0, size=(len(STARTS), 2))
        for first, start, off in zip(self._first, STARTS, shift, strict=True):
            self._bench.data.qpos[first : first + 2] = np.array(start) + off

    def centres(self) -> NDArray[np.float64]:
        """[4, 3] middles of the rolls, m."""
        return np.array(self._bench.data.xpos[self._bodies])

    def uprightness(self) -> NDArray[np.float64]:
        """[4] cosine of each roll's tilt, whichever end is up."""
        upward = self._bench.data.xmat[self._bodies].reshape(-1, 3, 3)[:, 2, 2]
        return np.asarray(np.abs(upward), dtype=np.float64)

    def top(self, roll: int) -> NDArray[np.float64]:
        """[3] the higher of the two points by which the roll can be held, m."""
        ends = self._bench.grasp.positions()[2 * roll : 2 * roll + 2]
        return np.asarray(ends[int(np.argmax(ends[:, 2]))])

    def held(self) -> frozenset[int]:
        """Rolls in a gripper."""
        return frozenset(point // 2 for side in (0, 1) for point in self._bench.grasp.held[side])

    def placed(self) -> dict[int, int]:
        """{ring: roll} for every ring that holds a roll as it should."""
        centres, stands, held = self.centres(), self.uprightness() > UPRIGHT, self.held()
        found: dict[int, int] = {}
        for slot, middle in enumerate(self.slots):
            off = distances(centres[:, :2], middle[None])
            nearest = int(np.argmin(off))
            rests = stands[nearest] and centres[nearest, 2] < RESTING_M
            if off[nearest] <= PLACED_M and rests and nearest not in held:
                found[slot] = nearest
        return found

    def in_the_air(self, points: tuple[int, ...]) -> bool:
        centres = self.centres()
        return any(centres[point // 2, 2] > RAISED_M for point in points)

    def advance(self) -> None:
        """Rolls have no latches."""

    def read(self) -> Reading:
        centres, upright, held, placed = self.centres(), self.uprightness(), self.held(), self.placed()
        count = len(STARTS)
        free = [slot for slot in range(count) if slot not in placed]
        loose = [roll for roll in range(count) if roll not in placed.values()]
        way = sum(
            max(0.0, 1.0 - float(distances(self.slots[free], centres[roll, None, :2]).min()) / NEAR_M) for roll in loose
        )
        succeeded = not free and not held
        toppled = any(upright[roll] < TOPPLED and roll not in held for roll in range(count))
        x, y = np.abs(centres[:, 0]).max(), centres[:, 1]
        off = np.stack([distances(centres[:, :2], middle[None]) for middle in self.slots]).min(axis=1)
        return Reading(
            progress=0.95 * (len(placed) + 0.5 * way) / count + 0.05 * succeeded,
            stage=len(placed),
            milestones={f"{name}_filled": slot in placed for slot, name in enumerate(SLOTS)},
            undone=frozenset(f"{name}_filled" for slot, name in enumerate(SLOTS) if off[slot] > GONE_M),
            succeeded=succeeded,
            lost=bool(x > LOST_X_M or y.min() < LOST_Y_M[0] or y.max() > LOST_Y_M[1]),
            errors=frozenset({"roll_toppled"} if toppled else ()),
            metrics={"placed": float(len(placed))},
        )


class RollPlanner:
    """Which rolls to take next, one per arm, and to which rings."""

    def __init__(self, scenario: RollScenario) -> None:
        self._scenario = scenario
        self._tries = [0] * len(STARTS)
        self._repeated = False

    def next_skill(self, flaws: EpisodeFlaws) -> Skill | None:
        placed = self._scenario.placed()
        if flaws.repeats and not self._repeated and {0, 1} <= set(placed) and len(placed) == 2:
            self._repeated = True
            return Skill(stage=0, carries=tuple(self._carry(slot, placed[slot], slot) for slot in (0, 1)), attempt=1)
        skipped = flaws.skipped_of(len(SLOTS))
        limit = MAX_TRIES if flaws.checks else 1
        # Back row first: the arms then never reach over what they have done.
        free = [slot for slot in range(len(SLOTS)) if slot not in placed and slot != skipped]
        open_slots = [slot for slot in free if self._tries[slot] < limit]
        loose = [roll for roll in range(len(STARTS)) if roll not in placed.values()]
        carries: list[Carry] = []
        # Each arm serves its own side; one that has nothing to do there then helps the other.
        for side, helps in ((0, False), (1, False), (0, True), (1, True)):
            if any(carry.side == side for carry in carries):
                continue
            pick = self._pick(side, open_slots, loose, helps=helps)
            if pick is not None:
                slot, roll = pick
                open_slots.remove(slot)
                loose.remove(roll)
                carries.append(self._carry(side, roll, slot))
                self._tries[slot] += 1
        if not carries:
            return None
        attempt = max(self._tries) - 1
        return Skill(stage=len(placed), carries=tuple(carries), attempt=attempt, clear=True)

    def _pick(self, side: int, slots: list[int], loose: list[int], *, helps: bool) -> tuple[int, int] | None:
        """A ring and a roll for an arm: a roll of its own side, or any if it helps."""
        own_slots = [slot for slot in slots if (slot % 2) == side]
        centres = self._scenario.centres()[:, :2]
        own = [roll for roll in loose if helps or (centres[roll, 0] >= 0.0) == bool(side)]
        if not slots or not own:
            return None
        slot = (own_slots or slots)[0]
        # What stands in the way goes in first, else the innermost.
        off = distances(centres, self._scenario.slots[slot][None])
        blocking = [roll for roll in loose if off[roll] < BLOCKING_M]
        roll = min(blocking, key=lambda index: off[index]) if blocking else min(own, key=lambda r: abs(centres[r, 0]))
        return slot, roll

    def _carry(self, side: int, roll: int, slot: int) -> Carry:
        top, (x, y) = self._scenario.top(roll), self._scenario.slots[slot]
        return Carry(
            side=side,
            point=roll,
            grasp=(float(top[0]), float(top[1])),
            grasp_z=max(float(top[2]), GRASP_Z_M),
            place=(float(x), float(y)),
            place_z=HEIGHT_M - GRIP_BELOW_M + 0.004,
            arc=0.6,
            settle=SETTLE_STEPS,
        )


TASKS.add(SPEC.id, BimanualTask(SPEC, scenario=RollScenario, planner=RollPlanner, flawed_share=0.65))
