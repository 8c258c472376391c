"""Gymnasium environments with pixels and continuous actions, as simulated tasks.

One file says how an environment is read (`GymTask`) and registers itself; everything else of a simulated task follows:
seeded starts, verdicts, the time limit, what is recorded. `data/tasks/gym_pusht` is the example, and `gym_mujoco` helps
those that draw with MuJoCo. gymnasium and the environment's own package are imported when the first robot is made.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data.sim.backend import load_mujoco, require_gl
from data.sim.flaws import STEADY, USUAL_SHARE, EpisodeFlaws, FlawConfig
from data.tasks import Expert, flaws_of
from data.versions import versions
from recap.errors import ConfigError, RecapError
from recap.protocols import Capabilities, Env, Sent
from recap.specs import RobotSpec, TaskSpec
from recap.types import Event, FloatArray, FrameArray, Observation, Outcome, PrivilegedTruth

RENDERER = "gym"
"""What episodes of an environment name as their image backend: its own."""
DEFAULT_IMAGE_SIZE = 64


@dataclass(frozen=True, kw_only=True)
class GymTask:
    """An environment as a `SimTask`. Example: `data/tasks/gym_pusht`.

    The functions get the `GymEnv`, whose `env`, `observation`, `reward` and `info` are the environment's own.
    """

    spec: TaskSpec
    env_id: str
    """As for gymnasium.make."""
    module: str
    """Package that registers the environment when it is imported."""
    packages: tuple[str, ...]
    """Distributions whose versions are recorded with each episode."""
    install: str
    """Command that makes an environment in which `module` can be imported, for the error message."""
    robot_spec: Callable[[int], RobotSpec]
    """The robot at an image size (pixels, square)."""
    make_kwargs: Callable[[int], Mapping[str, Any]]
    """Keyword arguments of gymnasium.make at an image size."""
    read_state: Callable[[GymEnv], Any]
    """[S] proprioception: nothing that a real robot would not know."""
    read_frames: Callable[[GymEnv], Mapping[str, Any]]
    """{camera: [h, w, 3] uint8}. Called only when somebody looks."""
    read_success: Callable[[GymEnv], bool]
    """The task is done now; asked after each step."""
    read_progress: Callable[[GymEnv], float] | None = None
    """True progress, [0, 1]; None: the environment has no measure of it, and the truth says NaN."""
    expert: Callable[[GymEnv, int, EpisodeFlaws], Expert] | None = None
    """Demonstrator from the present state on; None: there is none. `flaws` says how it errs."""
    takeover: Callable[[GymEnv, int], Expert] | None = None
    """Expert without flaws that saves an attempt under way; None: there is none."""
    flawed_share: float = USUAL_SHARE
    """Share of its demonstrations with a structured flaw, where the settings name none. No step's key holds it: whoever
    changes it raises the spec's revision."""
    hold_steps: int = 1
    """Steps for which the task must be done."""
    wrap: Callable[[Any, int], Any] | None = None
    """Goes around the environment, at an image size (pixels): its seeds, its pictures. None: nothing has to."""
    action_range: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """([A] lowest, [A] highest) that it takes; None: its action space says so, and is right."""
    draws_with_mujoco: bool = False
    """MuJoCo binds its GL library when it is imported: one that works here is chosen before `module` can do that."""
    robot: RobotSpec = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "robot", self.robot_spec(DEFAULT_IMAGE_SIZE))

    @property
    def capabilities(self) -> Capabilities:
        progress = self.read_progress is not None
        return Capabilities(
            simulated_time=True,
            expert=self.expert is not None,
            takeover=self.takeover is not None and progress,
            progress=progress,
        )

    def choose_renderer(self, asked: str) -> str:
        """Always the environment's own; ConfigError if another was asked for by name."""
        if asked not in ("auto", RENDERER):
            raise ConfigError(f"task '{self.spec.id}' draws its own pictures: renderer '{asked}', expected 'auto'")
        if self.draws_with_mujoco:
            require_gl(self.spec.id)
        return RENDERER

    def make_env(self, renderer: str = "auto", image_size: int = DEFAULT_IMAGE_SIZE) -> GymEnv:
        """A new environment. Close it.

        Raises:
            ConfigError: the environment's package is not installed, or the environment is not as described.
        """
        self.require_package()
        self.choose_renderer(renderer)
        return GymEnv(self, image_size)

    def make_expert(self, env: Env, seed: int, flaws: FlawConfig) -> Expert:
        """The demonstrator.

        Raises:
            ConfigError: there is none.
            RecapError: `env` was not made by this task.
        """
        if self.expert is None:
            raise ConfigError(
                f"task '{self.spec.id}' has no demonstrator",
                hint=f"recap run --task {self.spec.id} --collect none --demos DIR --rollouts DIR",
            )
        return self.expert(self._own(env), seed, flaws_of(self, flaws, seed))

    def make_takeover(self, env: Env, seed: int) -> Expert:
        """The expert who corrects; raises like `make_expert`."""
        if self.takeover is None:
            raise ConfigError(
                f"task '{self.spec.id}' has no expert that takes over", hint="--set rollouts.corrections=0"
            )
        return self.takeover(self._own(env), seed)

    def require_package(self) -> None:
        """Raises ConfigError, with the command that installs it, if the environment's package is not here."""
        if importlib.util.find_spec(self.module) is None:
            raise ConfigError(
                f"task '{self.spec.id}' needs the package '{self.module}', which is not installed here",
                hint=self.install,
            )

    def _own(self, env: Env) -> GymEnv:
        if not isinstance(env, GymEnv) or env.task is not self:
            raise RecapError(f"the expert of '{self.spec.id}' cannot act on a {type(env).__name__}")
        return env


def without_flaws(expert: Callable[[GymEnv, int, EpisodeFlaws], Expert]) -> Callable[[GymEnv, int], Expert]:
    """A task's `takeover` where its demonstrator can begin from any state."""
    return lambda robot, seed: expert(robot, seed, STEADY)


class GymEnv:
    """A SimulatedEnv over one environment of gymnasium."""

    renderer = RENDERER

    def __init__(self, task: GymTask, image_size: int) -> None:
        """Raises ConfigError if the package is missing or its action space is not the robot's."""
        self.task, self.spec, self.capabilities = task, task.robot_spec(image_size), task.capabilities
        if task.draws_with_mujoco:
            load_mujoco()
        import gymnasium

        try:
            importlib.import_module(task.module)
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"task '{task.spec.id}' needs the package '{task.module}', which cannot be imported here: {error}",
                hint=task.install,
            ) from error
        # The time limit is the task's, and what gymnasium's checker would warn of is checked here.
        self.env: Any = gymnasium.make(
            task.env_id, max_episode_steps=-1, disable_env_checker=True, **task.make_kwargs(image_size)
        )
        space = self.env.action_space
        if not isinstance(space, gymnasium.spaces.Box) or space.shape != (len(self.spec.action_names),):
            self.env.close()
            raise ConfigError(
                f"task '{task.spec.id}': environment {task.env_id} takes actions {space}, "
                f"expected a Box of {len(self.spec.action_names)} numbers"
            )
        low, high = task.action_range or (space.low, space.high)
        self._low, self._high, self._dtype = np.asarray(low), np.asarray(high), space.dtype
        if task.wrap is not None:
            self.env = task.wrap(self.env, image_size)
        self.observation: Any = None
        self.reward = 0.0
        self.info: Mapping[str, Any] = {}
        self._started = False

    def reset(self, seed: int) -> None:
        """The start state of `seed`."""
        self.observation, self.info = self.env.reset(seed=seed)
        self.reward = 0.0
        self._outcome: Outcome | None = None
        self._events: list[Event] = []
        self._held = 0
        self._started = True
        self._progress = [self._read_progress()]

    def observe(self, *, draw: bool = True) -> Observation:
        """State and, if drawn, pictures as the task reads them."""
        self._require_start()
        return Observation(state=self._state(), frames=self._frames() if draw else {}, prompt=self.task.spec.prompt)

    def _state(self) -> FloatArray:
        # A copy: some environments write into one array.
        state = np.array(self.task.read_state(self), dtype=np.float32)
        if state.shape != (len(self.spec.state_names),):
            raise RecapError(
                f"{self.task.spec.id}: state has shape {state.shape}, expected {len(self.spec.state_names)}"
            )
        return state

    def _frames(self) -> dict[str, FrameArray]:
        drawn = self.task.read_frames(self)
        frames: dict[str, FrameArray] = {}
        for camera in self.spec.cameras:
            # A copy: some environments draw into one buffer.
            frame = np.array(drawn[camera.name])
            if frame.dtype != np.uint8 or frame.shape != (camera.height, camera.width, 3):
                raise RecapError(
                    f"{self.task.spec.id}: camera '{camera.name}' gave {frame.dtype} {frame.shape}, "
                    f"expected uint8 ({camera.height}, {camera.width}, 3)"
                )
            frames[camera.name] = frame
        return frames

    def step(self, action: FloatArray) -> Sent:
        """Sends [A]; what lies beyond the action space stops at its edge, as at a joint's range.

        Raises:
            RecapError: wrong shape, not finite, or the attempt is over.
        """
        self._require_start()
        if self.finished:
            raise RecapError("this attempt is over: no further step", hint="call reset(seed) first")
        command = np.asarray(action, dtype=np.float64)
        if command.shape != self._low.shape:
            raise RecapError(f"action: expected shape {self._low.shape}, got {command.shape}")
        if not np.isfinite(command).all():
            raise RecapError(f"action: not finite at step {self.steps}: {command}")
        sent = np.clip(command, self._low, self._high).astype(self._dtype)
        self.observation, reward, terminated, truncated, self.info = self.env.step(sent)
        self.reward = float(reward)
        self._judge(terminated=terminated, truncated=truncated)
        # Recorded as asked: at its edge the action space is a joint's range, not somebody who changes commands.
        return Sent(action=action, asked=action)

    def _judge(self, *, terminated: bool, truncated: bool) -> None:
        if not np.isfinite(self._state()).all() or not np.isfinite(self.reward):
            self._progress.append(self._progress[-1])
            self._end(Outcome.ABORTED, "unstable_physics", 0)
            return
        self._progress.append(self._read_progress())
        self._held = self._held + 1 if self.task.read_success(self) else 0
        if self._held >= self.task.hold_steps:
            self._end(Outcome.SUCCESS, "success", 1)
        elif terminated:
            self._end(Outcome.FAILURE, "terminated", -1)
        elif truncated or self.steps >= self.task.spec.max_steps:
            self._end(Outcome.FAILURE, "timeout", -1)

    @property
    def software(self) -> Mapping[str, str]:
        return versions(*self.task.packages)

    @property
    def finished(self) -> bool:
        return self._outcome is not None

    @property
    def steps(self) -> int:
        """Control steps taken since reset."""
        return len(self._progress) - 1

    def truth(self) -> PrivilegedTruth:
        """The truth so far; entry t describes the state that step t started from. Nobody's verdict is a FAILURE."""
        self._require_start()
        known = self.task.read_progress is not None
        return PrivilegedTruth(
            progress=np.array(self._progress[:-1], dtype=np.float32),
            stage=np.zeros(self.steps, dtype=np.int64),
            events=tuple(self._events),
            outcome=self._outcome or Outcome.FAILURE,
            metrics={"final_progress": self._progress[-1]} if known else {},
        )

    def close(self) -> None:
        self.env.close()

    def _read_progress(self) -> float:
        if self.task.read_progress is None:
            return float("nan")
        progress = float(self.task.read_progress(self))
        if not 0.0 <= progress <= 1.0:
            raise RecapError(f"{self.task.spec.id}: progress {progress} at step {self.steps}, expected 0..1")
        return progress

    def _end(self, outcome: Outcome, name: str, kind: int) -> None:
        self._outcome = outcome
        self._events.append(Event(t=self.steps - 1, name=name, kind=kind))

    def _require_start(self) -> None:
        if not self._started:
            raise RecapError("the robot has no start state yet", hint="call reset(seed) first")
