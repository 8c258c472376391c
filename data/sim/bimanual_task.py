"""A task of the simulated bimanual robot: a scenario (what lies there), a planner (what to do next) and a description.

Owns the wiring that `data.tasks.SimTask` asks for; what a task is about stays in its own file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from data.sim.backend import choose_renderer
from data.sim.bimanual_env import CAPABILITIES, BimanualEnv, Scenario, robot_spec
from data.sim.expert import Planner, ScriptedExpert
from data.sim.flaws import CLEAN, USUAL_SHARE, FlawConfig
from data.tasks import flaws_of
from recap.errors import RecapError
from recap.protocols import Env
from recap.specs import RobotSpec, TaskSpec

SceneT = TypeVar("SceneT", bound=Scenario)


class TaskEnv(BimanualEnv, Generic[SceneT]):
    """The bimanual robot with the objects of one task before it."""

    def __init__(self, spec: TaskSpec, scenario: SceneT, *, renderer: str, image_size: int) -> None:
        self.task, self.scenario = spec.id, scenario
        super().__init__(
            scenario,
            prompt=spec.prompt,
            max_steps=spec.max_steps,
            rate_hz=spec.rate_hz,
            renderer=renderer,
            image_size=image_size,
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
        self.capabilities = CAPABILITIES
        self.spec, self._scenario, self._planner = spec, scenario, planner
        self.flawed_share = flawed_share
        self.robot: RobotSpec = robot_spec(64)

    def choose_renderer(self, asked: str) -> str:
        """As `data.sim.backend.choose_renderer`."""
        return choose_renderer(asked)

    def make_env(self, renderer: str = "auto", image_size: int = 64) -> TaskEnv[SceneT]:
        """The robot over a scene of its own. Close it."""
        return TaskEnv(self.spec, self._scenario(), renderer=renderer, image_size=image_size)

    def make_expert(self, env: Env, seed: int, flaws: FlawConfig) -> ScriptedExpert:
        """The expert in `env`, from its present state on; `seed` decides its noise and its flaws.

        Raises:
            RecapError: `env` was not made by this task.
        """
        own = self._own(env)
        return ScriptedExpert(own, self._planner(own.scenario), seed, flaws_of(self, flaws, seed))

    def make_takeover(self, env: Env, seed: int) -> ScriptedExpert:
        """The expert that saves an attempt under way; `seed` decides its 8 mm target noise. Raises as `make_expert`."""
        return self.make_expert(env, seed, CLEAN)

    def _own(self, env: Env) -> TaskEnv[SceneT]:
        if not isinstance(env, TaskEnv) or env.task != self.spec.id:
            raise RecapError(
                f"the expert of '{self.spec.id}' cannot act on a {type(env).__name__}"
                f" of '{getattr(env, 'task', 'no task')}'",
                hint=f"TASKS.simulated('{self.spec.id}').make_env()",
            )
        return env
