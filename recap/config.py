"""Typed settings: declaring, checking, overriding and writing down the configuration of a step.

Owns the meaning of a configuration class: a frozen dataclass whose fields are numbers, strings, enums, tuples,
string-keyed mappings or other such dataclasses. It must not know which configurations exist, nor read a file or the
command line.

Example:
    >>> @dataclass(frozen=True, kw_only=True, slots=True)
    ... class TrainConfig:
    ...     steps: int = setting(1000, minimum=1, help="gradient steps")
    ...     device: str = setting("cpu", semantic=False)
    ...     def __post_init__(self) -> None:
    ...         validate(self)
    >>> semantic_dict(override(TrainConfig(), "steps", "500"))
    {'steps': 500}
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from enum import Enum
from typing import Any, Literal, TypeVar

from recap.errors import ConfigError, UnknownName

ConfigT = TypeVar("ConfigT")
_TYPE_KEY = "type"
_MAPPINGS: tuple[Any, ...] = (dict, Mapping)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Rules:
    minimum: float | None
    maximum: float | None
    above: float | None
    choices: tuple[Any, ...] | None
    semantic: bool
    content: bool
    help: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SettingInfo:
    """One setting of a configuration, for help texts."""

    path: str
    """Dotted, as `override` takes it."""
    type: str
    default: Any
    allowed: str
    """The allowed range in words; empty when every value of the type is allowed."""
    semantic: bool
    help: str


def setting(
    default: Any = MISSING,
    *,
    default_factory: Any = MISSING,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    choices: Collection[Any] | None = None,
    semantic: bool = True,
    content: bool = False,
    help: str = "",
) -> Any:
    """A dataclass field with rules that `validate` enforces.

    Args:
        default: value when none is given; without it (and `default_factory`) the field is required.
        default_factory: makes it, for values that can be changed.
        minimum: smallest allowed value (of each element, for a tuple).
        maximum: largest allowed value.
        above: the value must be strictly larger than this.
        choices: the only allowed values.
        semantic: False for what promises the same result within a tolerance (device, workers): not in a step's key.
        content: the text is the path of a file or folder whose content decides the result: what lies there is in a
            step's key, where it lies is not. Empty text points at nothing.
        help: one line for people.
    """
    rules = _Rules(
        minimum=minimum,
        maximum=maximum,
        above=above,
        choices=None if choices is None else tuple(choices),
        semantic=semantic and not content,
        content=content,
        help=help,
    )
    if default_factory is not MISSING:
        return field(default_factory=default_factory, metadata={"recap": rules})
    return field(default=default, metadata={"recap": rules})


def validate(config: Any) -> None:
    """Checks type and range of every field. Called in `__post_init__` of each configuration class.

    Raises:
        ConfigError: names Class.field, the value got and what is allowed.
    """
    hints = _hints(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        where = f"{type(config).__name__}.{item.name}"
        if not _fits(hints[item.name], value):
            raise ConfigError(f"{where}: expected {_type_text(hints[item.name])}, got {value!r}")
        rules = _rules(item)
        if rules is not None:
            for element in value if isinstance(value, tuple) else (value,):
                if element is not None and not _allowed(rules, element):
                    raise ConfigError(f"{where}: expected {_allowed_text(rules)}, got {value!r}")


def semantic_dict(config: Any) -> dict[str, Any]:
    """The fields that decide the result, nested configurations included, as plain JSON values."""
    return _encode_config(config, semantic_only=True)


def content_settings(config: Any, *, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted setting, path) of every setting that points at content, nested configurations included."""
    for item in dataclasses.fields(config):
        value, path = getattr(config, item.name), f"{prefix}{item.name}"
        rules = _rules(item)
        if dataclasses.is_dataclass(value):
            yield from content_settings(value, prefix=f"{path}.")
        elif _holds_configs(value):
            for name, inner in value.items():
                yield from content_settings(inner, prefix=f"{path}.{name}.")
        elif rules is not None and rules.content and value:
            yield path, value


def to_json(config: Any) -> dict[str, Any]:
    """All fields as plain JSON values; `from_json` reads them back."""
    return _encode_config(config, semantic_only=False)


def from_json(config_type: type[ConfigT], value: Mapping[str, Any]) -> ConfigT:
    """The configuration written by `to_json`. Absent fields take their default.

    Raises:
        UnknownName: a key is no field.
        ConfigError: a value is of the wrong type or out of range, or a required field is absent.
    """
    return typing.cast("ConfigT", _decode_config(config_type, value, config_type.__name__))


def override(config: ConfigT, path: str, text: str) -> ConfigT:
    """A copy with the field at dotted `path` set to what `text` says in the field's type.

    Raises:
        UnknownName: no such field; names the nearest.
        ConfigError: `text` is not of the field's type or out of range.

    Example:
        `override(config, "policy.steps", "500")`; tuples are `1,2,3` or JSON, absent values are `none`.
    """
    name, _, rest = path.partition(".")
    if isinstance(config, Mapping):
        if name not in config:
            raise UnknownName.among("name", name, config)
        if not rest or not dataclasses.is_dataclass(config[name]):
            raise ConfigError(f"{name}: expected one of its settings, {name}.SETTING")
        return typing.cast("ConfigT", {**config, name: override(config[name], rest, text)})
    names = [item.name for item in dataclasses.fields(typing.cast("Any", config))]
    if name not in names:
        raise UnknownName.among(f"setting of {type(config).__name__}", name, names)
    kind = _hints(type(config))[name]
    where = f"{type(config).__name__}.{name}"
    value = getattr(config, name)
    if rest:
        if not dataclasses.is_dataclass(value) and not _holds_configs(value):
            raise UnknownName(f"{where} is {_type_text(kind)} and has no setting '{rest}'")
        value = override(value, rest, text)
    elif dataclasses.is_dataclass(value) and not text.lstrip().startswith("{"):
        inner = ", ".join(f"{name}.{item.name}" for item in dataclasses.fields(value))
        raise ConfigError(f"{where} is a group of settings, got {text!r}: set one of {inner}")
    else:
        value = _parse(kind, text, where)
    return typing.cast("ConfigT", dataclasses.replace(typing.cast("Any", config), **{name: value}))


def is_semantic(config: Any, path: str) -> bool:
    """Whether the setting at dotted `path`, and all that it lies in, decides the result."""
    name, _, rest = path.partition(".")
    if isinstance(config, Mapping):
        return not rest or is_semantic(config[name], rest)
    rules = next(_rules(item) for item in dataclasses.fields(config) if item.name == name)
    # The content behind a path is in the key by another way.
    own = rules is None or rules.semantic or rules.content
    inner = getattr(config, name)
    return own and (
        not rest or not (dataclasses.is_dataclass(inner) or _holds_configs(inner)) or is_semantic(inner, rest)
    )


def _holds_configs(value: Any) -> bool:
    return isinstance(value, Mapping) and any(dataclasses.is_dataclass(inner) for inner in value.values())


def describe(config_type: type[Any], *, prefix: str = "") -> Iterator[SettingInfo]:
    """Every setting of a configuration class, depth first, in the order of declaration."""
    hints = _hints(config_type)
    for item in dataclasses.fields(config_type):
        kind, path = hints[item.name], f"{prefix}{item.name}"
        if dataclasses.is_dataclass(kind):
            yield from describe(typing.cast("type[Any]", kind), prefix=f"{path}.")
            continue
        rules = _rules(item)
        default = item.default_factory() if item.default_factory is not MISSING else item.default
        yield SettingInfo(
            path=path,
            type=_type_text(kind),
            default=None if default is MISSING else default,
            allowed=_allowed_text(rules) if rules else "",
            semantic=rules is None or rules.semantic,
            help=rules.help if rules else "",
        )


def _hints(config_type: Any) -> dict[str, Any]:
    if config_type not in _hints_of:
        if not dataclasses.is_dataclass(config_type):
            raise ConfigError(f"{config_type.__name__} is not a configuration: expected a frozen dataclass")
        _hints_of[config_type] = typing.get_type_hints(config_type)
    return _hints_of[config_type]


_hints_of: dict[Any, dict[str, Any]] = {}


def _rules(item: dataclasses.Field[Any]) -> _Rules | None:
    return item.metadata.get("recap")


def _allowed(rules: _Rules, value: Any) -> bool:
    if rules.choices is not None and value not in rules.choices:
        return False
    if rules.minimum is not None and value < rules.minimum:
        return False
    if rules.maximum is not None and value > rules.maximum:
        return False
    return rules.above is None or value > rules.above


def _allowed_text(rules: _Rules) -> str:
    parts = []
    if rules.choices is not None:
        parts.append("one of " + ", ".join(repr(choice) for choice in rules.choices))
    if rules.minimum is not None:
        parts.append(f">= {rules.minimum:g}")
    if rules.above is not None:
        parts.append(f"> {rules.above:g}")
    if rules.maximum is not None:
        parts.append(f"<= {rules.maximum:g}")
    return " and ".join(parts)


def _type_text(kind: Any) -> str:
    if kind is type(None):
        return "none"
    if _is_union(kind):
        return " or ".join(_type_text(member) for member in typing.get_args(kind))
    return getattr(kind, "__name__", str(kind)) if typing.get_origin(kind) is None else str(kind)


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _fits(kind: Any, value: Any) -> bool:
    """True if `value` is of type `kind`; a bool is no number, a float field takes finite numbers only."""
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if _is_union(kind):
        return any(_fits(member, value) for member in members)
    if origin is Literal:
        return any(type(value) is type(member) and value == member for member in members)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(members) == 2 and members[1] is Ellipsis:
            return all(_fits(members[0], element) for element in value)
        return len(value) == len(members) and all(map(_fits, members, value))
    if origin in _MAPPINGS or kind in _MAPPINGS:
        inner = members[1] if members else Any
        return isinstance(value, Mapping) and all(isinstance(k, str) and _fits(inner, v) for k, v in value.items())
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _encode_config(config: Any, *, semantic_only: bool) -> dict[str, Any]:
    hints = _hints(type(config))
    encoded = {}
    for item in dataclasses.fields(config):
        rules = _rules(item)
        if not semantic_only or rules is None or rules.semantic:
            where = f"{type(config).__name__}.{item.name}"
            encoded[item.name] = _encode(
                hints[item.name], getattr(config, item.name), where, semantic_only=semantic_only
            )
    return encoded


def _encode(kind: Any, value: Any, where: str, *, semantic_only: bool) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        encoded = _encode_config(value, semantic_only=semantic_only)
        # Two classes of equal fields must not look alike: the class is named wherever the declaration leaves it open.
        return encoded if _sole_config(kind) is type(value) else {_TYPE_KEY: type(value).__name__, **encoded}
    members = typing.get_args(kind)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        if typing.get_origin(kind) is not tuple:
            members = next((typing.get_args(m) for m in members if typing.get_origin(m) is tuple), ())
        each = members if members and members[-1] is not Ellipsis else (members[0] if members else Any,) * len(value)
        return [_encode(k, v, where, semantic_only=semantic_only) for k, v in zip(each, value, strict=True)]
    if isinstance(value, Mapping):
        if _is_union(kind):
            members = next((typing.get_args(m) for m in members if typing.get_origin(m) in _MAPPINGS), ())
        inner = members[1] if len(members) == 2 else Any
        return {key: _encode(inner, value[key], where, semantic_only=semantic_only) for key in sorted(value)}
    if isinstance(value, list) and kind is Any:  # plain JSON within an output
        return [_encode(Any, one, where, semantic_only=semantic_only) for one in value]
    # 1 and 1.0 are the same setting of a float field, so they are written the same.
    if isinstance(value, int) and not isinstance(value, bool) and _is_float(kind):
        return float(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigError(f"{where}: {type(value).__name__} cannot be written as JSON: use numbers, text, enums, tuples")


def _is_float(kind: Any) -> bool:
    if _is_union(kind):
        members = typing.get_args(kind)
        return float in members and int not in members
    return kind is float


def _configs(kind: Any) -> list[type[Any]]:
    """The configuration classes that a declaration allows, subclasses included."""
    found: list[type[Any]] = []
    for member in typing.get_args(kind) if _is_union(kind) else (kind,):
        if isinstance(member, type) and dataclasses.is_dataclass(member):
            found.append(member)
            for child in member.__subclasses__():
                found += _configs(child)
    return found


def _sole_config(kind: Any) -> type[Any] | None:
    members = typing.get_args(kind) if _is_union(kind) else (kind,)
    declared = [member for member in members if isinstance(member, type) and dataclasses.is_dataclass(member)]
    return declared[0] if len(declared) == 1 else None


def _decode_config(config_type: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected settings of {config_type.__name__}, got {value!r}")
    hints = _hints(config_type)
    for key in value:
        if key not in hints:
            raise UnknownName.among(f"setting of {config_type.__name__}", str(key), hints)
    items = dataclasses.fields(config_type)
    missing = [i.name for i in items if i.name not in value and i.default is MISSING and i.default_factory is MISSING]
    if missing:
        raise ConfigError(f"{where}: no value for {', '.join(missing)}")
    return config_type(**{name: _decode(hints[name], inner, f"{where}.{name}") for name, inner in value.items()})


def _decode(kind: Any, value: Any, where: str) -> Any:
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    configs = _configs(kind)
    if configs and isinstance(value, Mapping):
        by_name = {config.__name__: config for config in configs}
        sole = _sole_config(kind)
        if _TYPE_KEY in value and (sole is None or _TYPE_KEY not in _hints(sole)):
            if value[_TYPE_KEY] not in by_name:
                raise UnknownName.among(f"type of {where}", str(value[_TYPE_KEY]), by_name)
            rest = {key: inner for key, inner in value.items() if key != _TYPE_KEY}
            return _decode_config(by_name[value[_TYPE_KEY]], rest, where)
        if sole is None:
            raise ConfigError(f"{where}: expected '{_TYPE_KEY}', one of {', '.join(by_name)}")
        return _decode_config(sole, value, where)
    if _is_union(kind):
        for member in members:
            try:
                candidate = _decode(member, value, where)
            except ConfigError:
                continue
            if _fits(member, candidate):
                return candidate
        raise ConfigError(f"{where}: expected {_type_text(kind)}, got {value!r}")
    if origin is tuple and isinstance(value, (list, tuple)):
        each = members if members[-1] is not Ellipsis else (members[0],) * len(value)
        if len(each) != len(value):
            raise ConfigError(f"{where}: expected {len(each)} values, got {len(value)}")
        return tuple(_decode(k, v, where) for k, v in zip(each, value, strict=True))
    if origin in _MAPPINGS and isinstance(value, Mapping):
        return {key: _decode(members[1], inner, where) for key, inner in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise UnknownName.among(where, str(value), [str(member.value) for member in kind]) from None
    if not _fits(kind, value):
        raise ConfigError(f"{where}: expected {_type_text(kind)}, got {value!r}")
    return float(value) if kind is float else value


def _parse(kind: Any, text: str, where: str) -> Any:
    members = typing.get_args(kind)
    wrong = ConfigError(f"{where}: expected {_type_text(kind)}, got '{text}'")
    if _is_union(kind):
        if type(None) in members and text.lower() in ("none", "null"):
            return None
        for member in members:
            try:
                return _parse(member, text, where)
            except ConfigError:
                continue
        raise wrong
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise wrong
        return text.lower() == "true"
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise wrong from None
    if typing.get_origin(kind) is tuple and not text.lstrip().startswith("["):
        pieces = [piece.strip() for piece in text.split(",")] if text.strip() else []
        each = members if members[-1] is not Ellipsis else (members[0],) * len(pieces)
        if len(each) != len(pieces):
            raise wrong
        return tuple(_parse(k, piece, where) for k, piece in zip(each, pieces, strict=True))
    if typing.get_origin(kind) is Literal:
        matching = [member for member in members if str(member) == text]
        if not matching:
            raise wrong
        return matching[0]
    if isinstance(kind, type) and issubclass(kind, Enum):
        matching = [member for member in kind if str(member.value) == text]
        if not matching:
            raise UnknownName.among(where, text, [str(member.value) for member in kind])
        return matching[0]
    try:
        return _decode(kind, json.loads(text), where)
    except json.JSONDecodeError:
        raise wrong from None
