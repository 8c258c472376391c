"""The demonstrator of gym_pusht: tries straight pushes in a copy of the table and does the best one, again and again.

It reads where the block lies, which no policy is shown. A pure function of the scene, the seed and the flaws.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.sim.flaws import EpisodeFlaws
from data.sim.seeds import stream
from recap.types import FloatArray

Points = NDArray[np.float64]

BOXES = ((-60.0, 0.0, 60.0, 30.0), (-15.0, 30.0, 15.0, 120.0))
"""The T in its own frame, px: left, low, right, high of the bar and of the stem."""
CORNERS = np.array([(x, y) for left, low, right, high in BOXES for x in (left, right) for y in (low, high)])
CENTRE = np.array([0.0, 45.0])
"""Centre of the block in its own frame, px."""
RADIUS = 15.0
"""Of the tool, px."""
GAP = 6.0
"""Between tool and block before a push, px."""
RING = 150.0
"""Way around the block, px from its centre."""
LOW, HIGH = 24.0, 488.0
"""The tool stays this far inside the walls, px."""
PX_PER_M = 400.0
"""Flaws are given in metres of a table; the picture is 512 px wide."""
TRIES = 120
FREE_STEP, PUSH_STEP = 45.0, 15.0
"""Longest way of the target in one control step, px."""
SIM_DT, SIM_STEP = 0.02, 4.0
"""Of the copy: seconds and px of tool per physics step. Nothing in this world has momentum, so it may be coarse."""
LAST_STEPS = 4
"""Control steps that the tool needs to catch up with a target that has stopped."""


class Pusher:
    """An `Expert`. Between two pushes it is `rested`; it is never `done`, for the verdict ends the attempt."""

    def __init__(self, env: Any, seed: int, flaws: EpisodeFlaws) -> None:
        self._env, self._flaws = env, flaws
        self._rng = stream("pusher", seed)
        # A table of its own for each attempt: one that was used before would remember its contacts.
        table = type(env)(obs_type="state")
        table.reset(seed=0)
        self._space, self._tool, self._block = table.space, table.agent, table.block
        goal = np.array(env.goal_pose, dtype=np.float64)
        goal[:2] += PX_PER_M * np.array(flaws.place_bias_m)
        self._goal = _placed(CORNERS, goal[:2], goal[2])
        self._targets: deque[Points] = deque()
        self._slow = 1.0 if flaws.mode != "hesitant" else flaws.speed

    @property
    def done(self) -> bool:
        return False

    @property
    def rested(self) -> bool:
        return not self._targets

    def act(self) -> FloatArray:
        """[2] where the tool should go, px."""
        if not self._targets:
            self._plan()
        return np.asarray(self._targets.popleft(), dtype=np.float32)

    def _plan(self) -> None:
        tool = np.array(self._env.agent.position, dtype=np.float64)
        place, angle = np.array(self._env.block.position, dtype=np.float64), float(self._env.block.angle)
        pushes = [push for push in (self._draw(place, angle) for _ in range(TRIES)) if push is not None]
        now = self._cost(place, angle)
        costs = [self._try(start, way, place, angle) for start, way in pushes]
        best = int(np.argmin(costs)) if costs else -1
        if best < 0 or costs[best] > now - 0.2:
            # Nothing helps from here: any push that does little harm makes another scene.
            order = np.argsort(costs) if costs else np.array([], dtype=np.int64)
            best = int(order[self._rng.integers(0, min(20, len(order)))]) if len(order) else -1
        if best < 0:
            self._targets.extend([tool] * 2)
            return
        start, way = pushes[best]
        noise = self._rng.normal(0.0, self._flaws.noise_m * PX_PER_M / 4, 2)
        if self._rng.random() < self._flaws.pause_share and self._flaws.pause_steps:
            self._targets.extend([tool] * int(self._rng.integers(1, self._flaws.pause_steps + 1)))
        position = tool
        for point in (*self._around(tool, start, place, angle), start + noise):
            self._go(position, point, FREE_STEP * self._slow)
            position = point
        self._targets.extend([position] * 2)
        self._go(position, position + way, PUSH_STEP * self._slow)
        self._targets.extend([position + way] * LAST_STEPS)

    def _go(self, begin: Points, end: Points, step: float) -> None:
        count = max(1, math.ceil(float(np.hypot(*(end - begin))) / step))
        self._targets.extend(np.clip(begin + (end - begin) * k / count, LOW, HIGH) for k in range(1, count + 1))

    def _draw(self, place: Points, angle: float) -> tuple[Points, Points] | None:
        """(where the tool begins, its way) of a random push; None if there is no room for it."""
        left, low, right, high = BOXES[self._rng.integers(0, 2)]
        share, turn, far = self._rng.random(), self._rng.normal(0.0, 0.3), self._rng.random()
        side = self._rng.integers(0, 4)
        normal = np.array([(1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)][side])
        along = left + share * (right - left), low + share * (high - low)
        edge = np.array([(right, along[1]), (left, along[1]), (along[0], high), (along[0], low)][side])
        inward = -_turned(normal, turn)
        # Short pushes as often as long ones: the last millimetres need them.
        length = GAP + 2.0 * 60.0**far
        begin = _placed((edge + normal * (RADIUS + GAP))[None], place, angle)[0]
        way = _turned(inward, angle) * length
        inside = (np.minimum(begin, begin + way) > LOW).all() and (np.maximum(begin, begin + way) < HIGH).all()
        return (begin, way) if inside and _distance(begin[None], place, angle)[0] > RADIUS + 1.0 else None

    def _try(self, begin: Points, way: Points, place: Points, angle: float) -> float:
        """What is left to do, px, after that push in the copy."""
        length = float(np.hypot(*way))
        count = max(1, math.ceil(length / SIM_STEP))
        velocity = way / (count * SIM_DT)
        self._tool.position, self._tool.velocity = tuple(begin), tuple(velocity)
        self._block.angle, self._block.position = angle, tuple(place)
        self._block.velocity, self._block.angular_velocity = (0.0, 0.0), 0.0
        self._space.reindex_shapes_for_body(self._tool)
        self._space.reindex_shapes_for_body(self._block)
        for _ in range(count):
            self._space.step(SIM_DT)
        return self._cost(np.array(self._block.position), float(self._block.angle)) + 0.01 * length

    def _cost(self, place: Points, angle: float) -> float:
        """Mean distance of the corners to where they belong, px."""
        return float(np.hypot(*(_placed(CORNERS, place, angle) - self._goal).T).mean())

    def _around(self, begin: Points, end: Points, place: Points, angle: float) -> list[Points]:
        """Points on the way that keep the tool off the block; none if the straight way is free."""
        line = begin + (end - begin) * np.linspace(0.0, 0.95, 24)[:, None]
        if (_distance(line, place, angle)[2:] > RADIUS + 2.0).all():
            return []
        centre = _placed(CENTRE[None], place, angle)[0]
        first, last = (math.atan2(*(point - centre)[::-1]) for point in (begin, end))
        sweep = (last - first + math.pi) % (2 * math.pi) - math.pi
        count = max(1, math.ceil(abs(sweep) / 0.5))
        angles = first + sweep * np.arange(count + 1) / count
        ring = centre + RING * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        return list(np.clip(ring, LOW, HIGH))


def _turned(vector: Points, angle: float) -> Points:
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1]])


def _placed(points: Points, place: Points, angle: float) -> Points:
    """[P, 2] from the block's frame to the table's."""
    cos, sin = math.cos(angle), math.sin(angle)
    return np.asarray(points @ np.array([[cos, sin], [-sin, cos]]) + place)


def _distance(points: Points, place: Points, angle: float) -> Points:
    """[P] distance to the block, px; 0 inside."""
    cos, sin = math.cos(angle), math.sin(angle)
    own = (points - place) @ np.array([[cos, -sin], [sin, cos]])
    gaps = [
        np.hypot(
            np.maximum(np.maximum(left - own[:, 0], own[:, 0] - right), 0.0),
            np.maximum(np.maximum(low - own[:, 1], own[:, 1] - high), 0.0),
        )
        for left, low, right, high in BOXES
    ]
    return np.asarray(np.minimum(*gaps))
