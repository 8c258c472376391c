"""Tries a skill out in a copy of the simulation, before the arms do it. The bench itself is not touched.

Owns the copy. What comes of a try is a function of the bench's state and of the skill alone.
"""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from data.sim.bimanual_env import drive
from data.sim.cloth import Cloth
from data.sim.expert import ScriptedExpert, Skill
from data.sim.flaws import STEADY, EpisodeFlaws
from data.sim.garment import GarmentScenario
from data.sim.grasp import AttachGrasp

LONGEST_STEPS = 70
"""A try that takes longer than this is broken off."""


class _Once:
    """A planner of one skill."""

    def __init__(self, skill: Skill) -> None:
        self._skills = [skill]

    def next_skill(self, flaws: EpisodeFlaws) -> Skill | None:
        return self._skills.pop() if self._skills else None


class Rehearsal:
    """A second simulation of one bench with a garment on it."""

    def __init__(self, scenario: GarmentScenario) -> None:
        bench, garment = scenario.bench, scenario.garment
        self._bench, self._mujoco = bench, bench.mujoco
        # Grasps live in the model as well as in the state: the copy needs both of its own.
        self._model = copy.deepcopy(bench.model)
        self._data = bench.mujoco.MjData(self._model)
        self.rate_hz = bench.rate_hz
        self.grasp = AttachGrasp(self._model, self._data, scenario.grasp_points)
        self._cloth = Cloth(bench.mujoco, self._model, self._data, garment.name, garment.mesh)

    def play(self, skill: Skill) -> tuple[NDArray[np.float64], int]:
        """Does `skill` without noise from the bench's present state, in which nothing may be held.

        Returns:
            [N, 3] where the vertices lie afterwards, m; and how many control steps it took.
        """
        self._mujoco.mj_copyData(self._data, self._model, self._bench.data)
        self.grasp.clear()
        expert = ScriptedExpert(self, _Once(skill), 0, STEADY)
        steps = 0
        while steps == 0 or not (expert.rested or steps == LONGEST_STEPS):
            steps += 1
            action = np.asarray(expert.act(), dtype=np.float64)
            for side in (0, 1):
                self.grasp.command(side, float(action[7 * side + 6]))
            drive(self._data, action)
            self._mujoco.mj_step(self._model, self._data, nstep=self._bench.substeps)
            self._mujoco.mj_kinematics(self._model, self._data)
        return self._cloth.vertices(), steps
