"""Typed settings: declaring, checking and writing down the configuration of a step.

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
    >>> semantic_dict(TrainConfig(steps=500))
    {'steps': 500}
"""

from __future__ import annotations

import dataclasses
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
    hub: str
    later: bool
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
    hub: str = "",
    later: bool = False,
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
        hub: of such a setting, the folder or file that is meant of a repository on a model hub (recap.hub), which the
            text may name instead; "." for its top folder, empty: no hub.
        later: a setting that came when runs were already made: at its default it is in no step's key, so that theirs
            stay what they are.
        help: one line for people.
    """
    rules = _Rules(
        minimum=minimum,
        maximum=maximum,
        above=above,
        choices=None if choices is None else tuple(choices),
        semantic=semantic and not content,
        content=content,
        hub=hub,
        later=later,
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
    hints = hints_of(type(config))
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        where = f"{type(config).__name__}.{item.name}"
        if not _fits(hints[item.name], value):
            raise ConfigError(f"{where}: expected {type_text(hints[item.name])}, got {value!r}")
        rules = rules_of(item)
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
        rules = rules_of(item)
        if dataclasses.is_dataclass(value):
            yield from content_settings(value, prefix=f"{path}.")
        elif holds_configs(value):
            for name, inner in value.items():
                yield from content_settings(inner, prefix=f"{path}.{name}.")
        elif rules is not None and rules.content and value:
            yield path, value


def holds_configs(value: Any) -> bool:
    """Whether a value is a mapping of names to configurations."""
    return isinstance(value, Mapping) and any(dataclasses.is_dataclass(inner) for inner in value.values())


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


def hints_of(config_type: Any) -> dict[str, Any]:
    """{field: type} of a configuration class."""
    if config_type not in _known_hints:
        if not dataclasses.is_dataclass(config_type):
            raise ConfigError(f"{config_type.__name__} is not a configuration: expected a frozen dataclass")
        _known_hints[config_type] = typing.get_type_hints(config_type)
    return _known_hints[config_type]


_known_hints: dict[Any, dict[str, Any]] = {}


def rules_of(item: dataclasses.Field[Any]) -> _Rules | None:
    """What `setting` said of a field."""
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


def type_text(kind: Any) -> str:
    """A type in words."""
    if kind is type(None):
        return "none"
    if is_union(kind):
        return " or ".join(type_text(member) for member in typing.get_args(kind))
    return getattr(kind, "__name__", str(kind)) if typing.get_origin(kind) is None else str(kind)


def is_union(kind: Any) -> bool:
    """Whether a declaration allows several types."""
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _fits(kind: Any, value: Any) -> bool:
    """True if `value` is of type `kind`; a bool is no number, a float field takes finite numbers only."""
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return True
    if is_union(kind):
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
    hints = hints_of(type(config))
    encoded = {}
    for item in dataclasses.fields(config):
        rules = rules_of(item)
        if semantic_only and rules is not None and rules.later and getattr(config, item.name) == item.default:
            continue
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
        if is_union(kind):
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
    if is_union(kind):
        members = typing.get_args(kind)
        return float in members and int not in members
    return kind is float


def _configs(kind: Any) -> list[type[Any]]:
    """The configuration classes that a declaration allows, subclasses included."""
    found: list[type[Any]] = []
    for member in typing.get_args(kind) if is_union(kind) else (kind,):
        if isinstance(member, type) and dataclasses.is_dataclass(member):
            found.append(member)
            for child in member.__subclasses__():
                found += _configs(child)
    return found


def _sole_config(kind: Any) -> type[Any] | None:
    members = typing.get_args(kind) if is_union(kind) else (kind,)
    declared = [member for member in members if isinstance(member, type) and dataclasses.is_dataclass(member)]
    return declared[0] if len(declared) == 1 else None


def _decode_config(config_type: type[Any], value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: expected settings of {config_type.__name__}, got {value!r}")
    hints = hints_of(config_type)
    for key in value:
        if key not in hints:
            raise UnknownName.among(f"setting of {config_type.__name__}", str(key), hints)
    items = dataclasses.fields(config_type)
    missing = [i.name for i in items if i.name not in value and i.default is MISSING and i.default_factory is MISSING]
    if missing:
        raise ConfigError(f"{where}: no value for {', '.join(missing)}")
    return config_type(**{name: decode(hints[name], inner, f"{where}.{name}") for name, inner in value.items()})


def decode(kind: Any, value: Any, where: str) -> Any:
    """A value of type `kind` from plain JSON; ConfigError names `where` if it is none."""
    origin, members = typing.get_origin(kind), typing.get_args(kind)
    configs = _configs(kind)
    if configs and isinstance(value, Mapping):
        by_name = {config.__name__: config for config in configs}
        sole = _sole_config(kind)
        if _TYPE_KEY in value and (sole is None or _TYPE_KEY not in hints_of(sole)):
            if value[_TYPE_KEY] not in by_name:
                raise UnknownName.among(f"type of {where}", str(value[_TYPE_KEY]), by_name)
            rest = {key: inner for key, inner in value.items() if key != _TYPE_KEY}
            return _decode_config(by_name[value[_TYPE_KEY]], rest, where)
        if sole is None:
            raise ConfigError(f"{where}: expected '{_TYPE_KEY}', one of {', '.join(by_name)}")
        return _decode_config(sole, value, where)
    if is_union(kind):
        for member in members:
            try:
                candidate = decode(member, value, where)
            except ConfigError:
                continue
            if _fits(member, candidate):
                return candidate
        raise ConfigError(f"{where}: expected {type_text(kind)}, got {value!r}")
    if origin is tuple and isinstance(value, (list, tuple)):
        each = members if members[-1] is not Ellipsis else (members[0],) * len(value)
        if len(each) != len(value):
            raise ConfigError(f"{where}: expected {len(each)} values, got {len(value)}")
        return tuple(decode(k, v, where) for k, v in zip(each, value, strict=True))
    if origin in _MAPPINGS and isinstance(value, Mapping):
        return {key: decode(members[1], inner, where) for key, inner in value.items()}
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise UnknownName.among(where, str(value), [str(member.value) for member in kind]) from None
    if not _fits(kind, value):
        raise ConfigError(f"{where}: expected {type_text(kind)}, got {value!r}")
    return float(value) if kind is float else value
