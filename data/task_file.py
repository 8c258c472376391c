"""A task in one YAML (or JSON) file: what is asked and of which robot, without a simulator.

    <workspace>/tasks/<id>.yaml

Owns the format and its complaints. The task is known by its recordings: it can be learned from, not simulated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data.episode_contract import PLAIN, PLAIN_NAME
from recap.errors import ConfigError, UnknownName
from recap.files import write_atomic
from recap.specs import CameraSpec, RobotSpec, TaskSpec
from recap.task_folders import SUFFIXES
from recap.texts import check_texts, escaped
from recap.workspace import check_name

_TASK_FIELDS = tuple(name for name in TaskSpec.__dataclass_fields__ if name != "revision")
_RENAMED = {"positive_share": "positive_fraction"}
_ROBOT_FIELDS = ("id", "state_names", "action_names", "action_units", "gripper_dims", "cameras")


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedTask:
    """A task that no simulator knows: recorded on a robot, or taken in."""

    spec: TaskSpec
    robot: RobotSpec
    """Sizes of its cameras are those in which episodes are kept and that policies are trained for."""
    path: Path | None = None
    """Its file; None for one that a package registers."""

    def describe(self) -> dict[str, Any]:
        """Everything the file says, as JSON."""
        return {
            "spec": {name: value for name, value in asdict(self.spec).items() if name in _TASK_FIELDS},
            "robot": {**asdict(self.robot), "cameras": list(map(asdict, self.robot.cameras))},
        }


def find_task_file(folder: Path, name: str) -> Path | None:
    """The file of a task in a folder of task files, if it is there.

    Raises:
        ConfigError: two files of that name.
    """
    if folder.is_file():
        return folder if folder.stem == name and folder.suffix in SUFFIXES else None
    found = [path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").is_file()]
    if len(found) > 1:
        raise ConfigError(f"task '{name}' is described twice: {', '.join(map(str, found))}", hint="remove one of them")
    return found[0] if found else None


def read_task_file(path: Path) -> RecordedTask:
    """Reads and checks a task file.

    Raises:
        ConfigError: not YAML, a field missing, unknown or out of range, or the id is not the file's name.
    """
    try:
        # Editors on Windows put a byte order mark first.
        return _parsed(path.read_text(encoding="utf-8-sig"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"task file {path}: not readable ({error})") from error


def _parsed(text: str, path: Path) -> RecordedTask:
    value = check_texts(f"task file {path}", _json(text, path) if path.suffix == ".json" else _yaml(text, path))
    fields = _fields(value, _TASK_FIELDS, path, "")
    robot_fields = _fields(fields["robot"], _ROBOT_FIELDS, path, "robot.")
    robot = _robot(robot_fields, path)
    spec = TaskSpec(
        id=_checked(fields, "id", _is_text, "a name", path),
        prompt=_checked(fields, "prompt", _is_text, "the instruction, in words", path),
        robot=robot.id,
        max_steps=_checked(fields, "max_steps", lambda v: type(v) is int and v > 0, "a whole number > 0", path),
        rate_hz=float(_checked(fields, "rate_hz", _is_positive, "a number > 0", path)),
        lookahead_s=float(_checked(fields, "lookahead_s", _is_positive, "seconds > 0", path)),
        positive_fraction=float(
            _checked(fields, "positive_fraction", lambda v: _is_positive(v) and v < 1, "a number within (0, 1)", path)
        ),
        reset_s=float(_checked(fields, "reset_s", lambda v: v == 0 or _is_positive(v), "seconds >= 0", path)),
        success=_checked(fields, "success", _is_text, "the success definition, in words", path),
    )
    check_name(f"task file {path}: task", spec.id)
    if spec.id != path.stem:
        raise ConfigError(f"task file {path}: id '{spec.id}', expected '{path.stem}' as the file is called")
    return RecordedTask(spec=spec, robot=robot, path=path)


def write_task_file(path: Path, spec: TaskSpec, robot: RobotSpec) -> None:
    """Writes a task file with a word on each field, for a person to look over.

    Raises:
        ConfigError: a field that `read_task_file` would refuse. Nothing is written.
    """
    check_texts(f"task '{escaped(spec.id)}'", [asdict(spec), asdict(robot)])
    cameras = "".join(f"    {_text(c.name)}: [{c.height}, {c.width}]\n" for c in robot.cameras)
    units = robot.action_units[0] if len(set(robot.action_units)) == 1 else list(robot.action_units)
    content = f"""\
# A task that is known by its recordings: recap learns it from them and does not simulate it.
# Change what is not right. A run whose task file was changed since does its steps again.
id: {_text(spec.id)}
prompt: {_text(spec.prompt)}
max_steps: {spec.max_steps}   # T_max: an attempt not done by then has failed; no recorded episode may be longer
rate_hz: {spec.rate_hz!r}   # control rate of the recordings
lookahead_s: {spec.lookahead_s!r}   # of the advantage
positive_fraction: {spec.positive_fraction!r}   # of autonomous frames
reset_s: {spec.reset_s!r}   # between attempts
success: {_text(spec.success)}
robot:
  id: {_text(robot.id)}
  state_names: {_text(list(robot.state_names))}
  action_names: {_text(list(robot.action_names))}
  action_units: {_text(units)}   # one for all, or a list: rad, m, 0..1
  gripper_dims: {_text(list(robot.gripper_dims))}   # places, from 0, of actions that are grippers
  cameras:   # name: [height, width] as stored
{cameras}"""
    _parsed(content, path)
    write_atomic(path, content.encode())


def _text(value: str | list[str] | list[int]) -> str:
    """A text, or a list, on one line of YAML."""
    import yaml

    numbers = isinstance(value, list) and all(isinstance(item, int) for item in value)
    # Quoted always: what looks like a number or a yes stays text. Anything YAML cannot hold as it is gets an escape.
    style = None if numbers else '"'
    line: str = yaml.safe_dump(value, default_style=style, default_flow_style=True, allow_unicode=True, width=math.inf)
    return line.rstrip("\n")


def _robot(fields: Mapping[str, Any], path: Path) -> RobotSpec:
    def names(name: str) -> tuple[str, ...]:
        found = _checked(fields, name, _is_names, "a list of different names", path, "robot.")
        return tuple(found)

    actions = names("action_names")
    units = _checked(
        fields,
        "action_units",
        lambda v: _is_text(v) or (isinstance(v, list) and len(v) == len(actions) and all(map(_is_text, v))),
        f"one unit, or a list of {len(actions)}",
        path,
        "robot.",
    )
    grippers = _checked(
        fields,
        "gripper_dims",
        lambda v: (
            isinstance(v, list)
            and all(type(dim) is int and 0 <= dim < len(actions) for dim in v)
            and len(set(v)) == len(v)
        ),
        f"a list of places from 0 to {len(actions) - 1}",
        path,
        "robot.",
    )
    cameras = _checked(
        fields,
        "cameras",
        lambda v: isinstance(v, dict) and bool(v) and all(_is_camera(n) and _is_size(s) for n, s in v.items()),
        f"name: [height, width] of at least one camera, a name of {PLAIN}",
        path,
        "robot.",
    )
    return RobotSpec(
        id=_checked(fields, "id", _is_text, "a name", path, "robot."),
        state_names=names("state_names"),
        action_names=actions,
        action_units=tuple(units) if isinstance(units, list) else (units,) * len(actions),
        gripper_dims=tuple(grippers),
        cameras=tuple(CameraSpec(name=n, height=s[0], width=s[1]) for n, s in cameras.items()),
    )


def _fields(value: Any, known: tuple[str, ...], path: Path, prefix: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        what = prefix.rstrip(".") or "the file"
        raise ConfigError(f"task file {path}: {what} is {type(value).__name__}, expected the fields {', '.join(known)}")
    for name in value:
        if name in _RENAMED:
            raise ConfigError(
                f"task file {path}: {name} is now called {_RENAMED[name]}", hint=f"rename the field in {path}"
            )
        if name not in known:
            raise UnknownName.among(f"field of task file {path}", f"{prefix}{name}", [f"{prefix}{n}" for n in known])
    missing = [f"{prefix}{name}" for name in known if name not in value]
    if missing:
        raise ConfigError(f"task file {path}: {', '.join(missing)} missing")
    return value


def _checked(
    fields: Mapping[str, Any], name: str, fits: Callable[[Any], bool], wanted: str, path: Path, prefix: str = ""
) -> Any:
    if not fits(fields[name]):
        raise ConfigError(f"task file {path}: {prefix}{name} is {fields[name]!r}, expected {wanted}")
    return fields[name]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _is_camera(value: Any) -> bool:
    return isinstance(value, str) and PLAIN_NAME.fullmatch(value) is not None


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)


def _json(text: str, path: Path) -> Any:
    import json

    def fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = _twice([name for name, _ in pairs])
        if twice:
            raise ValueError(f"'{twice}' is given twice")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=fields)
    except ValueError as error:
        raise ConfigError(f"task file {path}: not readable as JSON ({error})") from error


def _yaml(text: str, path: Path) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """Plain values only; a field given twice is an error, where YAML would keep the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: FBT001, FBT002 - as in yaml
            twice = _twice([key.value for key, _ in node.value])
            if twice:
                raise yaml.constructor.ConstructorError(None, None, f"'{twice}' is given twice", node.start_mark)
            return super().construct_mapping(node, deep=deep)

        def construct_scalar(self, node: Any) -> Any:
            # Escapes copied from JSON give a character beyond U+FFFF in two halves, which YAML leaves apart.
            value = super().construct_scalar(node)
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")

    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"task file {path}: not readable as YAML ({error})") from error


def _twice(names: list[Any]) -> str:
    """The first name, in order, that is there more than once; "" if none is."""
    return str(min((name for name in names if names.count(name) > 1), default=""))
