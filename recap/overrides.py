"""One setting of a configuration, changed by its dotted name and a text, as a person types it."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, Literal, TypeVar

from recap.config import decode, hints_of, holds_configs, is_union, rules_of, type_text
from recap.errors import ConfigError, UnknownName

ConfigT = TypeVar("ConfigT")


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
    kind = hints_of(type(config))[name]
    where = f"{type(config).__name__}.{name}"
    value = getattr(config, name)
    if rest:
        if not dataclasses.is_dataclass(value) and not holds_configs(value):
            raise UnknownName(f"{where} is {type_text(kind)} and has no setting '{rest}'")
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
    rules = next(rules_of(item) for item in dataclasses.fields(config) if item.name == name)
    # The content behind a path is in the key by another way.
    own = rules is None or rules.semantic or rules.content
    inner = getattr(config, name)
    return own and (
        not rest or not (dataclasses.is_dataclass(inner) or holds_configs(inner)) or is_semantic(inner, rest)
    )


def _parse(kind: Any, text: str, where: str) -> Any:
    members = typing.get_args(kind)
    wrong = ConfigError(f"{where}: expected {type_text(kind)}, got '{text}'")
    if is_union(kind):
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
        return decode(kind, json.loads(text), where)
    except json.JSONDecodeError:
        raise wrong from None
