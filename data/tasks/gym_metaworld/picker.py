"""The demonstrator of gym_metaworld: the policy that Meta-World ships, told wrongly where things are.

That policy reads where the puck and the mark are, which no policy of ours is shown, and has no memory: it can take
over anywhere and tries again by itself. Owns the flaws.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from data.robots.gym import GymEnv
from data.sim.flaws import EpisodeFlaws
from data.sim.seeds import stream
from recap.types import FloatArray

Point = NDArray[np.float64]

HAND, GRIPPER, PUCK, MARK = slice(0, 3), 3, slice(4, 7), slice(-3, None)
"""In the observation: m, and how far the gripper is open, 0..1."""
HELD_M, AWAY_M = 0.06, 0.08
"""Closer, the hand has the puck; farther, it is not about it."""
LIFTED_M = 0.05
"""Height of the puck's centre; on the table it is 0.02."""
CARRIED_UP_M = 0.15
"""Where a puck stays that is taken and not brought to the mark."""
EMPTY = 0.33
"""Opening of a gripper that has closed on nothing; the puck keeps it at 0.37 or more."""
OPEN_STEPS = 12
"""That a gripper needs to let go."""


class Picker:
    """An `Expert`. It is `rested` away from the puck, and never `done`, for the verdict ends the attempt."""

    def __init__(self, robot: GymEnv, seed: int, flaws: EpisodeFlaws) -> None:
        from metaworld.policies import SawyerPickPlaceV3Policy

        self._robot, self._flaws, self._rng = robot, flaws, stream("picker", seed)
        self._policy = SawyerPickPlaceV3Policy()
        self._first = np.array(robot.observation[PUCK])
        self._mark_error = self._noise() + np.array((*flaws.place_bias_m, 0.0))
        self._puck_error = self._noise() + np.array((*flaws.first_grasp_bias_m, 0.0))
        self._holds, self._repeats = False, flaws.repeats
        self._pause = self._opening = 0

    @property
    def done(self) -> bool:
        return False

    @property
    def rested(self) -> bool:
        return self._distance() > AWAY_M

    def act(self) -> FloatArray:
        """[4] the way of the hand and the grip, each -1..1."""
        self._look()
        if self._pause > 0:
            self._pause -= 1
            return np.array([0.0, 0.0, 0.0, float(self._holds)], dtype=np.float32)
        if self._opening > 0:
            self._opening -= 1
            return np.array([0.0, 0.0, 0.5, -1.0], dtype=np.float32)
        seen = np.array(self._robot.observation, dtype=np.float64)
        if not self._holds:
            seen[PUCK] += self._puck_error
        seen[MARK] += self._mark_error
        if self._leaves_out(1):
            seen[MARK] = self._first + np.array((0.0, 0.0, CARRIED_UP_M))
        with warnings.catch_warnings():
            # It says that its own gains are too high for a far target; what is beyond the range stops there.
            warnings.simplefilter("ignore")
            action = np.clip(self._policy.get_action(seen), -1.0, 1.0)
        action[:3] *= self._flaws.speed
        if self._leaves_out(0):
            action[3] = -1.0
        return np.asarray(action, dtype=np.float32)

    def _look(self) -> None:
        """What has changed: the puck is held, or it was missed or lost."""
        seen = self._robot.observation
        holds = seen[PUCK][2] > LIFTED_M and self._distance() < HELD_M
        if holds and not self._holds:
            self._begin_stage()
            if self._repeats:
                # Puts it back: the stage is done again.
                self._repeats, self._opening = False, OPEN_STEPS
        elif not holds and seen[GRIPPER] < EMPTY and self._opening == 0:
            # The package's policy would never open again. The next try is made with more care.
            self._puck_error = self._noise()
            self._opening = OPEN_STEPS
            self._begin_stage()
        self._holds = holds

    def _begin_stage(self) -> None:
        self._pause = self._flaws.draw_pause(self._rng) or self._pause

    def _leaves_out(self, stage: int) -> bool:
        """Stages: take the puck, bring it to the mark."""
        return self._flaws.skipped_of(2) == stage

    def _noise(self) -> Point:
        """[3] m; heights are not misjudged."""
        return np.array([*self._rng.normal(0.0, self._flaws.noise_m, 2), 0.0])

    def _distance(self) -> float:
        """From the hand to the puck, m."""
        return math.dist(self._robot.observation[HAND], self._robot.observation[PUCK])
