"""The demonstrator of gym_aloha: the right gripper takes the cube from above and holds it up, the left one takes it.

It reads where the cube is, which no policy is shown, and plans the next stage from what it sees, so it can take over
anywhere and tries again. Owns the motion and the flaws.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from data.robots.gym import GymEnv
from data.sim.flaws import EpisodeFlaws
from data.sim.seeds import stream
from data.tasks.gym_aloha.arm import FIRST, ArmIk, Vector, tool_angles, tool_point, tool_turn
from recap.types import FloatArray

SIDES = ("left", "right")
MEET = np.array([0.0, 0.5, 0.22])
"""Where the cube changes hands, m."""
AWAY_M = 0.2
"""The left gripper waits this far short of it."""
ABOVE_M, RAISED_M = 0.1, 0.08
"""Above the cube before it is taken, and of the cube after."""
ON_TABLE_M, ARRIVED_M = 0.02, 0.02
"""Height of the centre of a cube that lies there; the tool is over it when it is so near, across."""
HELD_M, LIFTED_M = 0.04, 0.035
"""The cube is in a gripper when it is so near the tool and its centre so high."""
SPEED_M, SPEED_RAD = 0.012, 0.09
"""Of a tool, a control step."""
GRIP_STEPS, SETTLE_STEPS = 14, 4
DOWN, LEVEL, TURNED = math.pi / 2, 0.0, math.pi / 2
"""Pitch of a tool, and the roll with which the left one does not meet the right one's fingers."""


@dataclass(frozen=True, kw_only=True)
class _Move:
    """Both tools in straight lines to their goals, [5]: x, y, z (m), pitch, roll (rad). None: stay."""

    left: Vector | None = None
    right: Vector | None = None
    open_left: float = 1.0
    open_right: float = 1.0
    dwell: int = SETTLE_STEPS


class Carrier:
    """An `Expert`. It is `rested` between two stages with nothing held, and never `done`: the verdict ends it."""

    def __init__(self, robot: GymEnv, seed: int, flaws: EpisodeFlaws) -> None:
        self._physics = robot.env.unwrapped._env.physics
        self._model, self._data = self._physics.model.ptr, self._physics.data.ptr
        self._ik = {side: ArmIk(self._model, side) for side in SIDES}
        self._joints = {side: np.array(self._data.qpos[FIRST[side] : FIRST[side] + 6]) for side in SIDES}
        self._poses = {side: self._pose(side) for side in SIDES}
        self._grips = {side: float(robot.observation["agent_pos"][6 + 7 * k]) for k, side in enumerate(SIDES)}
        self._flaws, self._rng = flaws, stream("carrier", seed)
        self._steps: deque[tuple[dict[str, Vector], dict[str, float]]] = deque()
        self._had = self._took = self._above = False
        self._error: Vector = np.zeros(2)
        self._first, self._repeats = True, flaws.repeats

    @property
    def done(self) -> bool:
        return False

    @property
    def rested(self) -> bool:
        return not self._steps and not self._has()

    def act(self) -> FloatArray:
        """[14] where the joints (rad) and grippers (0..1) should go."""
        if self._had and not self._has() and self._flaws.checks:
            # It slipped: whatever was planned is void.
            self._steps.clear()
        self._had = self._has()
        if not self._steps:
            self._plan()
        self._poses, self._grips = self._steps.popleft()
        for side in SIDES:
            x, y, z, pitch, roll = self._poses[side]
            turn = tool_turn(side, pitch, roll)
            self._joints[side] = self._ik[side].solve(self._joints[side], np.array([x, y, z]), turn)
        both = [[*self._joints[side], self._grips[side]] for side in SIDES]
        return np.asarray(np.concatenate(both), dtype=np.float32)

    def _plan(self) -> None:
        has = self._has() if self._flaws.checks else self._took or self._leaves_out(0)
        pause = self._flaws.draw_pause(self._rng)
        if pause:
            self._queue(_Move(open_right=self._grips["right"], dwell=pause))
        if not has:
            self._take()
        elif self._repeats:
            self._repeats = False
            down = self._poses["right"] - np.array([0.0, 0.0, RAISED_M, 0.0, 0.0])
            self._queue(_Move(right=down, open_right=0.0), _Move(dwell=GRIP_STEPS))
        elif float(np.linalg.norm(self._poses["right"][:3] - MEET)) > 0.01:
            self._queue(_Move(left=self._waiting(), right=np.array([*MEET, DOWN, 0.0]), open_right=0.0))
        elif self._leaves_out(1):
            self._queue(_Move(open_right=0.0))
        else:
            self._give()

    def _take(self) -> None:
        cube = np.array(self._data.qpos[16:18])
        if float(np.linalg.norm(self._poses["right"][:2] - cube - self._error)) > ARRIVED_M or not self._above:
            # Looks again from above, for the cube may still have been on its way down.
            self._error = self._noise()
            if self._first:
                self._error = self._error + np.array(self._flaws.first_grasp_bias_m)
            self._first, self._above = False, True
            self._queue(_Move(left=self._waiting(), right=self._over(cube, ABOVE_M)))
            return
        self._above, self._took = False, True
        self._queue(
            _Move(right=self._over(cube, 0.0)),
            _Move(open_right=0.0, dwell=GRIP_STEPS),
            _Move(right=self._over(cube, RAISED_M), open_right=0.0),
        )

    def _over(self, cube: Vector, height: float) -> Vector:
        """[5] the right tool, looking down, `height` m above a cube that lies at [2] m on the table."""
        return np.array([*(cube + self._error), ON_TABLE_M + height, DOWN, 0.0])

    def _give(self) -> None:
        # The hand-over is missed across the left gripper's way: too far or too near along it would still touch.
        error = self._noise() + np.array(self._flaws.place_bias_m)
        goal = np.array([MEET[0], *(MEET[1:] + error), LEVEL, TURNED])
        self._queue(
            _Move(left=goal, open_right=0.0),
            _Move(open_left=0.0, open_right=0.0, dwell=GRIP_STEPS),
            _Move(left=self._waiting(), open_right=0.0),
        )

    def _queue(self, *moves: _Move) -> None:
        """Cuts moves into control steps."""
        poses = self._steps[-1][0] if self._steps else self._poses
        for move in moves:
            goals = {side: getattr(move, side) for side in SIDES}
            goals = {side: poses[side] if goal is None else goal for side, goal in goals.items()}
            ways = [goals[side] - poses[side] for side in SIDES]
            longest = max(
                max(float(np.linalg.norm(way[:3])) / SPEED_M, float(np.abs(way[3:]).max()) / SPEED_RAD) for way in ways
            )
            count = math.ceil(longest / self._flaws.speed)
            grips = {"left": move.open_left, "right": move.open_right}
            for k in range(1, count + 1):
                # Arms that start or stop at once swing, and shake the cube out of the gripper.
                share = 0.5 - 0.5 * math.cos(math.pi * k / count)
                self._steps.append(({side: poses[side] + share * (goals[side] - poses[side]) for side in SIDES}, grips))
            self._steps.extend([(goals, grips)] * (move.dwell if count else max(1, move.dwell)))
            poses = goals

    def _noise(self) -> Vector:
        return self._rng.normal(0.0, self._flaws.noise_m, 2)

    def _waiting(self) -> Vector:
        return np.array([MEET[0] - AWAY_M, *MEET[1:], LEVEL, TURNED])

    def _has(self) -> bool:
        """The right gripper holds the cube."""
        cube = self._data.qpos[16:19]
        return bool(cube[2] > LIFTED_M and np.linalg.norm(tool_point(self._data, self._model, "right") - cube) < HELD_M)

    def _pose(self, side: str) -> Vector:
        turn = self._data.body(f"vx300s_{side}/gripper_link").xmat.reshape(3, 3)
        return np.array([*tool_point(self._data, self._model, side), *tool_angles(side, turn)])

    def _leaves_out(self, stage: int) -> bool:
        """Stages: take the cube, hand it over."""
        return self._flaws.skipped_of(2) == stage
