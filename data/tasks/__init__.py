"""Tasks: one file each, registering itself in `TASKS`. Importing them loads no simulator.

A task without a simulator may also be one YAML file in a folder of task files (data/task_file.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from data.sim.flaws import EpisodeFlaws, FlawConfig, draw_flaws
from recap.errors import ConfigError, UnknownName
from recap.protocols import Capabilities, Env, SimulatedEnv
from recap.registry import Registry
from recap.specs import RobotSpec, TaskSpec
from recap.task_folders import SUFFIXES, offered
from recap.types import FloatArray

if TYPE_CHECKING:
    from pathlib import Path

    from data.task_file import RecordedTask


_LONGEST = 240
"""Bytes of a name of a file, its suffix left out."""


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


class TaskDefinition(Protocol):
    """A task: what is asked, of which robot."""

    @property
    def spec(self) -> TaskSpec: ...

    @property
    def robot(self) -> RobotSpec:
        """The robot at its default image size."""
        ...


@runtime_checkable
class SimTask(TaskDefinition, Protocol):
    """A task that can be simulated, by MuJoCo here or by somebody's environment."""

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def flawed_share(self) -> float:
        """Share of its demonstrations with a structured flaw, where the settings name none."""
        ...

    def choose_renderer(self, asked: str) -> str:
        """What draws its pictures on this machine, "auto" or one by name; ConfigError if that does not work here."""
        ...

    def make_env(self, renderer: str = "auto", image_size: int = 64) -> SimulatedEnv:
        """An environment with this task's scene. Close it."""
        ...

    def make_expert(self, env: Env, seed: int, flaws: FlawConfig) -> Expert:
        """An expert that acts from the present state of `env` on."""
        ...

    def make_takeover(self, env: Env, seed: int) -> Expert:
        """An expert without structured flaws that saves the attempt under way from the present state of `env` on."""
        ...


def flaws_of(task: SimTask, config: FlawConfig, seed: int) -> EpisodeFlaws:
    """The flaws that `task.make_expert(env, seed, config)` acts with."""
    return draw_flaws(config, seed, usual_share=task.flawed_share)


def capabilities_of(task: TaskDefinition) -> Capabilities:
    """What the environment of a task can do; nothing where it has none."""
    return task.capabilities if isinstance(task, SimTask) else Capabilities()


def simulated(task: TaskDefinition) -> SimTask:
    """`task`, for whoever needs its environment.

    Raises:
        ConfigError: it is known by its recordings only.
    """
    if isinstance(task, SimTask):
        return task
    name, path = task.spec.id, getattr(task, "path", None)
    raise ConfigError(
        f"task '{name}' has no simulator: it is known by its recordings only{f' ({path})' if path else ''}",
        hint=f"recap run --task {name} --collect none --demos DIR --rollouts DIR, "
        f"or record attempts: recap data record --task {name} --robot-config FILE --teleop-config FILE",
    )


class TaskRegistry(Registry[TaskDefinition]):
    """The registered tasks, and those described in the folders of task files, looked up when they are asked for."""

    def __init__(self) -> None:
        super().__init__("task", packages=("data.tasks",))
        self._read: dict[Path, tuple[tuple[int, int], RecordedTask]] = {}

    def simulated(self, name: str) -> SimTask:
        """The task called `name`, with its environment; errors as `get` and `simulated`."""
        return simulated(self.get(name))

    def get(self, name: str) -> TaskDefinition:
        """The task called `name`.

        Raises:
            UnknownName: there is none.
            ConfigError: its file is not right, or it is registered and described in a file.
        """
        path = self._file(name)
        registered = super().names()
        if path is None:
            if name not in registered:
                raise UnknownName.among(self.kind, name, self.names())
            return super().get(name)
        if name in registered:
            raise ConfigError(f"task '{name}' is built in and described in {path} too", hint="give the file another id")
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        if path not in self._read or self._read[path][0] != stamp:
            from data.task_file import read_task_file

            self._read[path] = (stamp, read_task_file(path))
        return self._read[path][1]

    def names(self) -> list[str]:
        """All names, sorted."""
        described = {path.stem for folder in offered() for path in folder.glob("*.*") if _is_task_file(path)}
        return sorted({*super().names(), *described})

    def _file(self, name: str) -> Path | None:
        folders = offered()
        # What leads elsewhere, and what is longer than a file name can be, is the name of no file.
        too_long = len(name.encode(errors="replace")) > _LONGEST
        if not folders or "/" in name or "\\" in name or name.startswith(".") or too_long:
            return None
        from data.task_file import find_task_file

        return next((path for folder in folders if (path := find_task_file(folder, name)) is not None), None)


def _is_task_file(path: Path) -> bool:
    return path.suffix in SUFFIXES and not path.name.startswith(".")


TASKS = TaskRegistry()
