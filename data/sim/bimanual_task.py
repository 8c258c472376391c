"""A task on the simulated bench: a scenario (what lies there), a planner (what to do next) and a description.

Owns the wiring that `data.tasks.SimTask` asks for; what a task is about stays in its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from data.sim.bimanual_env import BimanualEnv, Scenario, robot_spec
from data.sim.expert import Planner, ScriptedExpert
from data.sim.flaws import CLEAN, USUAL_SHARE, FlawConfig
from data.tasks import flaws_of
from recap.errors import RecapError
from recap.protocols import SimulatedRobot
from recap.specs import RobotSpec, TaskSpec

SceneT = TypeVar("SceneT", bound=Scenario)


class TaskEnv(BimanualEnv, Generic[SceneT]):
    """The bench with the objects of one task on it."""

    def __init__(self, spec: TaskSpec, scenario: SceneT, *, renderer: str, image_size: int) -> None:
        self.task, self.scenario = spec.id, scenario
        super().__init__(
            scenario, max_steps=spec.max_steps, rate_hz=spec.rate_hz, renderer=renderer, image_size=image_size
        )


class BimanualTask(Generic[SceneT]):
    """A SimTask, for the registry.

    Args:
        spec: what is asked for.
        scenario: makes what lies on the bench.
        planner: makes the one who knows what to do next there.
        flawed_share: share of its demonstrations with a structured flaw, where the settings name none. No step's key
            holds it: whoever changes it raises the spec's revision.
    """

    def __init__(
        self,
        spec: TaskSpec,
        *,
        scenario: Callable[[], SceneT],
        planner: Callable[[SceneT], Planner],
        flawed_share: float = USUAL_SHARE,
    ) -> None:
        self.spec, self._scenario, self._planner = spec, scenario, planner
        self.flawed_share = flawed_share
        self.robot: RobotSpec = robot_spec(64)

    def make_robot(self, renderer: str = "auto", image_size: int = 64) -> TaskEnv[SceneT]:
        """A robot over a scene of its own. Close it."""
        return TaskEnv(self.spec, self._scenario(), renderer=renderer, image_size=image_size)

    def make_expert(self, robot: SimulatedRobot, seed: int, flaws: FlawConfig) -> ScriptedExpert:
        """The expert on `robot`, from its present state on; `seed` decides its noise and its flaws.

        Raises:
            RecapError: `robot` was not made by this task.
        """
        bench = self._own(robot)
        return ScriptedExpert(bench, self._planner(bench.scenario), seed, flaws_of(self, flaws, seed))

    def make_takeover(self, robot: SimulatedRobot, seed: int) -> ScriptedExpert:
        """The expert that saves an attempt under way; `seed` decides its 8 mm target noise.

        Raises:
            RecapError: `robot` was not made by this task.
        """
        return self.make_expert(robot, seed, CLEAN)

    def _own(self, robot: SimulatedRobot) -> TaskEnv[SceneT]:
        if not isinstance(robot, TaskEnv) or robot.task != self.spec.id:
            raise RecapError(
                f"the expert of '{self.spec.id}' cannot act on a {type(robot).__name__}"
                f" of '{getattr(robot, 'task', 'no task')}'",
                hint=f"TASKS.get('{self.spec.id}').make_robot()",
            )
        return robot
