"""The scripted expert: a resumable phase machine that stands in for the human at the controls.

It reads the simulator state (a person sees the scene), plans one skill at a time, moves both tools in straight lines
or arcs, checks its grasps and tries again. It can take over from any state. A task supplies `Planner.next_skill`.
Owns motion and flaws; knows no cloth and no box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from data.sim import arms
from data.sim.bimanual_env import HOME
from data.sim.flaws import EpisodeFlaws
from data.sim.grasp import AttachGrasp
from data.sim.paths import STRAIGHT, Path, Point
from data.sim.seeds import stream
from recap.types import FloatArray

SPEED_M_S = 0.42
HOVER_M = 0.085
SWING = 0.25
"""Height of a direct way to a grasp, as a share of its length."""
GRASP_Z_M = 0.009
PLACE_Z_M = 0.014
TOLERANCE_M = 0.009
PATIENCE_STEPS = 5
GRIP_STEPS = 2
_NOWHERE: list[arms.Pose | None] = [None, None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Carry:
    """One arm's part of a skill: grasp here, put it there."""

    side: int
    """0 left, 1 right."""
    grasp: tuple[float, float]
    """m, world."""
    place: tuple[float, float]
    """m, world."""
    point: int | None = None
    """The grasp point meant, for the record."""
    grasp_z: float = GRASP_Z_M
    place_z: float = PLACE_Z_M
    arc: float = 0.42
    """Height of the way over, as a share of its length."""
    hinge: Point | None = None
    """The way over turns about this point instead (m, world), as a panel does."""
    settle: int = 0
    """Steps to stay at the place before letting go."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skill:
    """What the planner wants done next, by one or both arms."""

    stage: int
    carries: tuple[Carry, ...]
    attempt: int = 0
    """How often this stage was tried before."""
    clear: bool = False
    """An arm without a part goes home first, out of the way and out of the picture."""
    direct: bool = False
    """A quick touch: the tools swing straight to the grasp and stay down afterwards, with no hovering."""


class Body(Protocol):
    """What the expert acts with: the bench, or a copy of it to rehearse in."""

    @property
    def grasp(self) -> AttachGrasp: ...

    @property
    def rate_hz(self) -> float: ...


class Planner(Protocol):
    """The task's side of the expert."""

    def next_skill(self, flaws: EpisodeFlaws) -> Skill | None:
        """The next skill in the present state; None when there is nothing left to do."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Phase:
    """Both tools move to their goals (None: stay), then the grippers get their commands."""

    goals: tuple[arms.Pose | None, arms.Pose | None]
    grips: tuple[float, float]
    paths: tuple[Path, Path] = (STRAIGHT, STRAIGHT)
    dwell: int = 0
    """Steps to stay after arriving."""
    check: tuple[int, ...] = ()
    """Sides that must hold something afterwards."""


@dataclass(slots=True)
class _Motion:
    """A phase under way."""

    phase: _Phase
    starts: tuple[arms.Pose, arms.Pose]
    length: int
    step: int = 0
    dwelt: int = 0
    pause: int = 0
    ends: tuple[arms.Pose, arms.Pose] = field(init=False)

    def __post_init__(self) -> None:
        left, right = self.phase.goals
        self.ends = (left or self.starts[0], right or self.starts[1])


class ScriptedExpert:
    """Acts for one attempt: `act()` gives the action for the present state, `done` says it has let go for good."""

    def __init__(self, bench: Body, planner: Planner, seed: int, flaws: EpisodeFlaws) -> None:
        self._bench, self._planner, self._flaws = bench, planner, flaws
        self._rng = stream("expert", seed)
        self._queue: list[_Phase] = []
        self._motion: _Motion | None = None
        self._grips = [1.0, 1.0]
        self._commanded = [self._tool_pose(side) for side in (0, 1)]
        self._parting = False
        self.done = False
        if any(bench.grasp.closed):
            self._queue.extend(self._let_go())

    @property
    def rested(self) -> bool:
        """True between two skills: it holds nothing and has nothing under way."""
        return self._motion is None and not self._queue and not any(self._bench.grasp.closed)

    def act(self) -> FloatArray:
        """[14] absolute joint targets for the present state."""
        while self._motion is None:
            self._start_next()
        motion = self._motion
        if motion.pause > 0:
            motion.pause -= 1
            return self._action()
        if motion.step < motion.length:
            motion.step += 1
            share = motion.step / motion.length
            for side in (0, 1):
                self._commanded[side] = motion.phase.paths[side].at(motion.starts[side], motion.ends[side], share)
            if motion.step < motion.length:
                return self._action()
        elif not self._arrived(motion) and motion.step < motion.length + PATIENCE_STEPS:
            motion.step += 1
            return self._action()
        else:
            self._grips = list(motion.phase.grips)
            motion.dwelt += 1
            if motion.dwelt > motion.phase.dwell:
                self._finish(motion)
        return self._action()

    def _finish(self, motion: _Motion) -> None:
        self._motion = None
        held = self._bench.grasp.held
        if any(not held[side] for side in motion.phase.check):
            self._queue = self._let_go()
        elif not self._queue and self._parting:
            self.done = True

    def _start_next(self) -> None:
        if not self._queue:
            skill = None if self._parting else self._planner.next_skill(self._flaws)
            if skill is None:
                self._parting = True
                self._queue = [_Phase(goals=HOME, grips=(1.0, 1.0))]
            else:
                self._queue = self._phases(skill)
        phase = self._queue.pop(0)
        starts = (self._commanded[0], self._commanded[1])
        ends = (phase.goals[0] or starts[0], phase.goals[1] or starts[1])
        pace = SPEED_M_S * self._flaws.speed / self._bench.rate_hz
        longest = max(phase.paths[side].length(starts[side], ends[side]) for side in (0, 1))
        self._motion = _Motion(phase=phase, starts=starts, length=math.ceil(longest / pace - 1e-9))
        self._motion.pause = self._flaws.draw_pause(self._rng)

    def _phases(self, skill: Skill) -> list[_Phase]:
        """Hover, descend, close, carry over, open, rise: both arms in step."""
        hover, down, over, up = [_NOWHERE.copy() for _ in range(4)]
        sides = tuple(carry.side for carry in skill.carries)
        for side in (0, 1):
            if skill.clear and side not in sides:
                hover[side] = HOME[side]
        grips, paths = [1.0, 1.0], [STRAIGHT, STRAIGHT]
        for carry in skill.carries:
            side = carry.side
            first = self._flaws.first_grasp_bias_m if skill.attempt == 0 else (0.0, 0.0)
            bias = self._flaws.place_bias_m
            noise = self._rng.normal(0.0, 1.0, size=4) * self._flaws.noise_m
            gx = float(carry.grasp[0] + first[0] + noise[0])
            gy = float(carry.grasp[1] + first[1] + noise[1])
            px = float(carry.place[0] + bias[0] + noise[2])
            py = float(carry.place[1] + bias[1] + noise[3])
            hover[side] = arms.Pose(x=gx, y=gy, z=carry.grasp_z + HOVER_M)
            down[side] = arms.Pose(x=gx, y=gy, z=carry.grasp_z)
            over[side] = arms.Pose(x=px, y=py, z=carry.place_z)
            up[side] = arms.Pose(x=px, y=py, z=carry.place_z + HOVER_M)
            grips[side], paths[side] = 0.0, Path(arch=carry.arc, hinge=carry.hinge)
        opened, closed = (1.0, 1.0), (grips[0], grips[1])
        settle = max(carry.settle for carry in skill.carries)
        put = [
            _Phase(goals=(None, None), grips=closed, dwell=GRIP_STEPS, check=sides),
            _Phase(goals=(over[0], over[1]), grips=closed, paths=(paths[0], paths[1]), dwell=settle),
            _Phase(goals=(None, None), grips=opened, dwell=GRIP_STEPS),
        ]
        if skill.direct:
            swing = Path(arch=SWING)
            return [_Phase(goals=(down[0], down[1]), grips=opened, paths=(swing, swing)), *put]
        return [
            _Phase(goals=(hover[0], hover[1]), grips=opened),
            _Phase(goals=(down[0], down[1]), grips=opened),
            *put,
            _Phase(goals=(up[0], up[1]), grips=opened),
        ]

    def _let_go(self) -> list[_Phase]:
        raised = tuple(replace(self._commanded[side], z=GRASP_Z_M + HOVER_M) for side in (0, 1))
        return [
            _Phase(goals=(None, None), grips=(1.0, 1.0), dwell=1),
            _Phase(goals=(raised[0], raised[1]), grips=(1.0, 1.0)),
        ]

    def _tool_pose(self, side: int) -> arms.Pose:
        x, y, z = (float(value) for value in self._bench.grasp.tool(side))
        return arms.Pose(x=x, y=y, z=max(z, GRASP_Z_M))

    def _arrived(self, motion: _Motion) -> bool:
        for side in (0, 1):
            if motion.phase.goals[side] is None:
                continue
            goal = motion.ends[side]
            tool = self._bench.grasp.tool(side)
            if math.dist((goal.x, goal.y, goal.z), tuple(float(value) for value in tool)) > TOLERANCE_M:
                return False
        return True

    def _action(self) -> FloatArray:
        parts: list[float] = []
        for side in (0, 1):
            parts += [*arms.inverse(side, self._commanded[side]), self._grips[side]]
        return np.array(parts, dtype=np.float32)
