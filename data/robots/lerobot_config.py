"""Configuration files -> LeRobot's Robot and Teleoperator, through LeRobot's own registries.

A file is what LeRobot takes as `--robot.*` or `--teleop.*`, as YAML or JSON, with two keys of our own:

    type: so101_follower                    # LeRobot's; so is everything that is not named below
    port: /dev/ttyACM0
    cameras: {front: {type: opencv, index_or_path: 0, width: 640, height: 480, fps: 30}}
    discover_packages_path: my_robots       # as on LeRobot's command line: a package to import first
    recap:                                  # robot only: how the task sees it (`RobotSetup`)
      limits: {shoulder_pan: [-110, 110], gripper: [0, 100]}
      cameras: {cam_high: front}

Third-party plug-ins are found by LeRobot's rule: installed distributions called lerobot_robot_*, lerobot_teleoperator_*
and lerobot_camera_*. Knows no task and connects nothing.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from recap.errors import ConfigError, UnknownName

_PLUGINS = ("lerobot_robot_", "lerobot_teleoperator_", "lerobot_camera_")
"""LeRobot imports its policy plug-ins too; that costs seconds and a network, which no robot needs."""
_DISCOVER = "discover_packages_path"
_SETUP = "recap"
_COUNTS = {"read_retries": 10, "stale_steps": 1000}
"""{setting: highest}"""
_SECONDS = ("handover_s", "blend_s", "late_s")
_BUTTONS = "buttons"


@dataclass(frozen=True, kw_only=True, slots=True)
class RobotSetup:
    """How a task sees a LeRobot robot. Names on the left are the task's, on the right the robot's."""

    limits: Mapping[str, tuple[float, float]]
    """{action channel: (lowest, highest)}, in robot units; for every channel of the task. Beyond it nothing is sent."""
    state: Mapping[str, str] = field(default_factory=dict)
    """{state channel: key of the robot's observation}, where it is neither the same name nor that name and ".pos"."""
    action: Mapping[str, str] = field(default_factory=dict)
    """{action channel: key of the robot's action}, the same."""
    cameras: Mapping[str, str] = field(default_factory=dict)
    """{camera: key of the robot's observation}, where it is not the same name."""
    speeds: Mapping[str, float] = field(default_factory=dict)
    """{action channel: most that its command may change in a second}, in robot units; no bound where not named."""
    handover_s: float = 1.0
    """Seconds in which the command moves from where the robot is to where the teleoperator is, when it takes over."""
    read_retries: int = 2
    """Further tries of a reading (robot or teleoperator) that failed, at once and within the step."""
    stale_steps: int = 5
    """Steps of one attempt that may go on with an earlier reading when every try failed; one more aborts it."""
    blend_s: float = 0.0
    """Seconds in which a policy's new chunk takes over from the last one; 0: at once."""
    late_s: float = 1.0
    """Seconds on end for which the last command is held when a policy has no action yet; then the attempt is over."""
    buttons: bool = False
    """The teleoperator's own buttons do what the operator's keys do."""


def load_robot(path: Path) -> tuple[Any, RobotSetup]:
    """LeRobot's Robot (not connected) and the setup of a configuration file.

    Raises:
        ConfigError: unreadable, a field that LeRobot does not take, or the robot could not be made.
        UnknownName: no robot of that type.
    """
    values = read_config(path, "--robot-config")
    setup = _setup(values.pop(_SETUP, None), path)
    return _make(values, path, kind="robot"), setup


def load_teleoperator(path: Path) -> Any:
    """LeRobot's Teleoperator (not connected) of a configuration file; raises like `load_robot`."""
    values = read_config(path, "--teleop-config")
    if _SETUP in values:
        raise ConfigError(f"{path}: '{_SETUP}' belongs into the file of --robot-config")
    return _make(values, path, kind="teleoperator")


def read_config(path: Path, option: str, *, needs: str = "type") -> dict[str, Any]:
    """The fields of a YAML or JSON file; `option` names it in messages.

    Raises:
        ConfigError: not readable, or without the text `needs`.
    """
    import yaml

    try:
        # JSON is YAML.
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{option} {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{option} {path}: neither YAML nor JSON ({error})") from error
    if not isinstance(values, dict) or not isinstance(values.get(needs), str):
        wanted = "the fields of LeRobot's configuration, 'type' among them (type: so101_follower)"
        if needs != "type":
            wanted = f"fields, '{needs}' among them, each the name of a configuration file (docs/robots.md)"
        raise ConfigError(f"{option} {path}: expected {wanted}")
    return values


def _make(values: dict[str, Any], path: Path, *, kind: str) -> Any:
    import draccus

    if kind == "robot":
        import lerobot.robots as package
        from lerobot.robots import RobotConfig as Config
        from lerobot.robots import make_robot_from_config as make
    else:
        import lerobot.teleoperators as package
        from lerobot.teleoperators import TeleoperatorConfig as Config
        from lerobot.teleoperators import make_teleoperator_from_config as make

    failed = _discover(package, values.pop(_DISCOVER, None), path)
    known = Config.get_known_choices()
    if values["type"] not in known:
        broken = "".join(f"\n  plug-in {name} could not be imported: {problem}" for name, problem in failed.items())
        raise UnknownName(UnknownName.among(f"LeRobot {kind}", values["type"], known).message + broken)
    try:
        config = draccus.decode(Config, values)
    except (draccus.utils.DraccusException, ValueError, TypeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        return make(config)
    # Third-party code, and the drivers under it, raise whatever they like.
    except Exception as error:
        raise ConfigError(f"{path}: the {kind} '{values['type']}' could not be made: {error}") from error


def _discover(package: Any, extra: Any, path: Path) -> dict[str, str]:
    """Imports all that registers itself; returns {plug-in: why it could not be imported}."""
    import lerobot.cameras

    failed: dict[str, str] = {}
    for parent in (package, lerobot.cameras):
        for module in pkgutil.iter_modules(parent.__path__):
            if module.ispkg:
                _import(f"{parent.__name__}.{module.name}", failed)
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"] or ""
        if name.startswith(_PLUGINS):
            _import(name, failed)
    if extra is not None:
        if not isinstance(extra, str) or not all(part.isidentifier() for part in extra.split(".")):
            raise ConfigError(f"{path}: {_DISCOVER} {extra!r}, expected the name of a package")
        # What LeRobot's own function does; importing that one costs ten seconds of dataset code.
        try:
            found = importlib.import_module(extra)
            for module in pkgutil.iter_modules(getattr(found, "__path__", ()), f"{extra}."):
                importlib.import_module(module.name)
        except ImportError as error:
            raise ConfigError(f"{path}: {_DISCOVER} {extra}: {error}") from error
    return failed


def _import(name: str, failed: dict[str, str]) -> None:
    try:
        importlib.import_module(name)
    # A broken plug-in of another robot must not keep this one from moving; it is named if its type is missed.
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"


def _setup(values: Any, path: Path) -> RobotSetup:
    names = [item.name for item in fields(RobotSetup)]
    if not isinstance(values, dict) or "limits" not in values:
        raise ConfigError(
            f"{path}: no '{_SETUP}: limits:', expected {{action channel: [lowest, highest]}}: "
            "nothing is sent to a robot whose limits are not known"
        )
    for name, value in values.items():
        if name not in names:
            raise UnknownName.among(f"field of '{_SETUP}' in {path}:", str(name), names)
        if name in _COUNTS:
            if type(value) is not int or not 0 <= value <= _COUNTS[name]:
                raise ConfigError(f"{path}: {_SETUP}.{name} is {value!r}, expected a whole number, 0..{_COUNTS[name]}")
        elif name == _BUTTONS:
            if not isinstance(value, bool):
                raise ConfigError(f"{path}: {_SETUP}.{name} is {value!r}, expected true or false")
        elif name not in _SECONDS and not isinstance(value, dict):
            raise ConfigError(f"{path}: {_SETUP}.{name} is {value!r}, expected {{name: ...}}")
    for name in _SECONDS:
        seconds = values.get(name, 0)
        if not _number(seconds) or not 0 <= seconds <= 60:
            raise ConfigError(f"{path}: {_SETUP}.{name} is {seconds!r}, expected 0..60 seconds")
    speeds = values.get("speeds", {})
    for name, speed in speeds.items():
        if not _number(speed) or speed <= 0:
            raise ConfigError(f"{path}: {_SETUP}.speeds.{name} is {speed!r}, expected units per second, above 0")
    maps = {name: values.get(name, {}) for name in ("state", "action", "cameras")}
    for name, mapping in maps.items():
        if not all(isinstance(part, str) for pair in mapping.items() for part in pair):
            raise ConfigError(f"{path}: {_SETUP}.{name} is {mapping!r}, expected {{the task's name: the robot's name}}")
    numbers: dict[str, Any] = {name: float(values[name]) for name in _SECONDS if name in values}
    numbers |= {name: values[name] for name in _COUNTS if name in values}
    return RobotSetup(
        limits={str(name): _limit(name, value, path) for name, value in values["limits"].items()},
        speeds={str(name): float(speed) for name, speed in speeds.items()},
        buttons=values.get(_BUTTONS, False),
        **maps,
        **numbers,
    )


def _limit(name: Any, value: Any, path: Path) -> tuple[float, float]:
    good = isinstance(value, list) and len(value) == 2 and all(map(_number, value)) and value[0] < value[1]
    if not good:
        raise ConfigError(f"{path}: {_SETUP}.limits.{name} is {value!r}, expected [lowest, highest]")
    return float(value[0]), float(value[1])


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
