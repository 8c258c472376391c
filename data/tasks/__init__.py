"""Tasks: one file each, registering itself in `TASKS`. Importing them loads no simulator."""

from __future__ import annotations

from typing import Protocol

from data.sim.flaws import FlawConfig
from recap.protocols import SimulatedRobot
from recap.registry import Registry
from recap.specs import RobotSpec, TaskSpec
from recap.types import FloatArray


class Expert(Protocol):
    """Stands in for the human at the controls of one attempt."""

    @property
    def done(self) -> bool:
        """True once it has nothing left to do."""
        ...

    @property
    def rested(self) -> bool:
        """True between two skills: it holds nothing and has nothing under way."""
        ...

    def act(self) -> FloatArray:
        """[A] action for the present state."""
        ...


class SimTask(Protocol):
    """A task that can be simulated."""

    @property
    def spec(self) -> TaskSpec: ...

    @property
    def robot(self) -> RobotSpec:
        """The robot at its default image size."""
        ...

    def make_robot(self, renderer: str = "auto", image_size: int = 64) -> SimulatedRobot:
        """A robot over this task's scene. Close it."""
        ...

    def make_expert(self, robot: SimulatedRobot, seed: int, flaws: FlawConfig) -> Expert:
        """An expert that acts from the robot's present state on."""
        ...

    def make_takeover(self, robot: SimulatedRobot, seed: int) -> Expert:
        """An expert without structured flaws that saves the attempt under way from the robot's present state on."""
        ...


TASKS: Registry[SimTask] = Registry("task", packages=("data.tasks",))
