"""Tasks: one file each, registering itself in `TASKS`. Importing them loads no simulator."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

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


@runtime_checkable
class ForeignTask(Protocol):
    """A task whose world is not the built-in simulator. What it cannot do is asked before anything runs."""

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions whose versions are recorded with each of its episodes."""
        ...

    @property
    def demonstrates(self) -> bool:
        """`make_expert` gives a demonstrator."""
        ...

    @property
    def takes_over(self) -> bool:
        """`make_takeover` gives an expert that corrects a policy, and the truth has the progress a supervisor needs."""
        ...

    def choose_renderer(self, asked: str) -> str:
        """What draws its pictures; ConfigError if that is not what was asked for."""
        ...


def renderer_of(task: SimTask, asked: str) -> str:
    """The renderer of a task's robots on this machine; `asked` is "auto" or one by name.

    Raises:
        ConfigError: the one asked for does not work here.
    """
    if isinstance(task, ForeignTask):
        return task.choose_renderer(asked)
    from data.sim.backend import choose_renderer

    return choose_renderer(asked)


def packages_of(task: SimTask) -> tuple[str, ...]:
    """Distributions whose versions are recorded with each episode of a task."""
    return task.packages if isinstance(task, ForeignTask) else ("mujoco",)


TASKS: Registry[SimTask] = Registry("task", packages=("data.tasks",))
