"""The file of `recap run --env`: which robot and which teleoperator a run works with.

    robot: robot.yaml             # configuration files of LeRobot (lerobot_config.py), beside this file or elsewhere
    teleoperator: leader.yaml     # needed for demonstrations and corrections

Knows no task and connects nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.robots.lerobot_config import load_robot, load_teleoperator, read_config
from data.robots.lerobot_robot import LeRobotRobot, Teleoperator
from recap.errors import ConfigError, UnknownName

if TYPE_CHECKING:
    from data.tasks import TaskDefinition

_FIELDS = ("robot", "teleoperator")


@dataclass(frozen=True, kw_only=True, slots=True)
class RobotFiles:
    """The configuration files of a run's devices."""

    robot: Path
    teleoperator: Path | None
    """None: nobody can demonstrate or take over."""

    @property
    def identity(self) -> dict[str, Any]:
        """Type and id of both, as JSON: what makes them the same devices. A port may change.

        Raises:
            ConfigError: a file is not readable.
        """
        files = {"robot": self.robot, "teleoperator": self.teleoperator}
        read = {name: read_config(path, f"--env, {name}") for name, path in files.items() if path is not None}
        return {name: {key: values.get(key) for key in ("type", "id")} for name, values in read.items()}

    def make(
        self, task: TaskDefinition, *, around: Callable[[Any], Any] = lambda device: device
    ) -> tuple[LeRobotRobot, Teleoperator | None]:
        """Both, for a task; not connected. `around` gives what is driven in place of LeRobot's robot.

        Raises:
            ConfigError: they do not fit the task, each other or LeRobot; all of it named.
            UnknownName: no device of that type.
        """
        device, setup = load_robot(self.robot)
        rate_hz = task.spec.rate_hz
        robot = LeRobotRobot(around(device), task.robot, setup, rate_hz=rate_hz, prompt=task.spec.prompt)
        if self.teleoperator is None:
            return robot, None
        return robot, Teleoperator(load_teleoperator(self.teleoperator), robot, rate_hz=rate_hz)


def read_env_file(path: Path) -> RobotFiles:
    """The devices that the file names.

    Raises:
        ConfigError: not readable, no robot named, or a file that is not there.
        UnknownName: a field that there is not.
    """
    values = read_config(path, "--env", needs="robot")
    for name, value in values.items():
        if name not in _FIELDS:
            raise UnknownName.among(f"field of --env {path}:", str(name), _FIELDS)
        if not isinstance(value, str):
            raise ConfigError(f"--env {path}: {name} is {value!r}, expected the name of a configuration file")
    files = {name: path.parent / str(value) for name, value in values.items()}
    for name, file in files.items():
        if not file.is_file():
            raise ConfigError(f"--env {path}: {name} {file}: no such file")
    return RobotFiles(robot=files["robot"], teleoperator=files.get("teleoperator"))
