"""Settings: checked on construction, overridden by text, written down and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import pytest

from recap.config import from_json, semantic_dict, setting, to_json, validate
from recap.errors import ConfigError, UnknownName
from recap.overrides import override


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    rate: float = setting(1.0, above=0.0, maximum=10.0)
    device: str = setting("cpu", semantic=False)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherInner:
    rate: float = 1.0

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Everything:
    task: str
    steps: int = setting(10, minimum=1, maximum=100, help="gradient steps")
    share: float | None = setting(None, minimum=0.0, maximum=1.0)
    name: str = setting("a", choices=("a", "b"))
    sizes: tuple[int, ...] = setting((1, 2), minimum=0)
    pair: tuple[int, str] = (1, "x")
    colour: Colour = Colour.RED
    mode: Literal["fast", "exact"] = "fast"
    on: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)
    either: Inner | OtherInner = field(default_factory=Inner)
    workers: int = setting(1, semantic=False)

    def __post_init__(self) -> None:
        validate(self)


def everything(**changes: Any) -> Everything:
    return Everything(**{"task": "t", **changes})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"steps": 0}, "Everything.steps: expected >= 1 and <= 100, got 0"),
        ({"steps": 101}, "got 101"),
        ({"steps": True}, "expected int, got True"),
        ({"steps": 1.5}, "expected int, got 1.5"),
        ({"share": 1.2}, "got 1.2"),
        ({"share": float("nan")}, "expected float or none, got nan"),
        ({"name": "c"}, "expected one of 'a', 'b', got 'c'"),
        ({"sizes": (1, -1)}, "expected >= 0, got (1, -1)"),
        ({"sizes": [1]}, "got [1]"),
        ({"pair": ("x", 1)}, "Everything.pair"),
        ({"colour": "red"}, "expected Colour, got 'red'"),
        ({"mode": "slow"}, "got 'slow'"),
        ({"on": 1}, "expected bool, got 1"),
        ({"weights": {1: 2.0}}, "Everything.weights"),
        ({"inner": OtherInner()}, "expected Inner"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as raised:
        everything(**changes)
    assert expected in raised.value.message


def test_a_nested_setting_is_refused_by_the_name_of_its_own_class() -> None:
    with pytest.raises(ConfigError, match=r"Inner\.rate: expected > 0 and <= 10, got 0"):
        Inner(rate=0)


def test_only_semantic_fields_are_in_the_semantic_dict() -> None:
    found = semantic_dict(everything())
    assert "workers" not in found
    assert found["inner"] == {"rate": 1.0}
    assert found["colour"] == "red"
    assert found["sizes"] == [1, 2]


def test_one_and_one_point_zero_are_the_same_float_setting() -> None:
    assert repr(semantic_dict(everything(share=1, weights={"a": 2}))["share"]) == "1.0"
    assert repr(semantic_dict(everything(weights={"a": 2}))["weights"]) == "{'a': 2.0}"


def test_two_classes_of_equal_fields_do_not_look_alike() -> None:
    assert (
        semantic_dict(everything(either=Inner()))["either"] != semantic_dict(everything(either=OtherInner()))["either"]
    )


def test_json_goes_both_ways() -> None:
    config = everything(
        share=0.5,
        sizes=(),
        pair=(3, "y"),
        colour=Colour.BLUE,
        weights={"b": 1.5},
        inner=Inner(rate=3.0),
        either=OtherInner(),
    )
    assert from_json(Everything, to_json(config)) == config


@pytest.mark.parametrize(
    ("written", "error", "expected"),
    [
        ({"task": "t", "step": 3}, UnknownName, "did you mean 'steps'?"),
        ({"steps": 3}, ConfigError, "no value for task"),
        ({"task": "t", "inner": {"rat": 1.0}}, UnknownName, "setting of Inner"),
        ({"task": "t", "inner": 3}, ConfigError, "expected Inner, got 3"),
        ({"task": "t", "either": {"rate": 1.0}}, ConfigError, "expected 'type'"),
        ({"task": "t", "either": {"type": "Iner"}}, UnknownName, "did you mean 'Inner'?"),
        ({"task": "t", "colour": "redd"}, UnknownName, "did you mean 'red'?"),
        ({"task": "t", "pair": [1]}, ConfigError, "expected 2 values, got 1"),
        ({"task": "t", "steps": "3"}, ConfigError, "expected int, got '3'"),
    ],
)
def test_json_is_read_strictly(written: dict[str, Any], error: type[ConfigError], expected: str) -> None:
    with pytest.raises(error) as raised:
        from_json(Everything, written)
    assert expected in raised.value.message


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("steps", "50", 50),
        ("share", "0.25", 0.25),
        ("share", "none", None),
        ("sizes", "3,4, 5", (3, 4, 5)),
        ("sizes", "[3, 4]", (3, 4)),
        ("sizes", "", ()),
        ("pair", "7,z", (7, "z")),
        ("colour", "blue", Colour.BLUE),
        ("mode", "exact", "exact"),
        ("on", "true", True),
        ("task", "500", "500"),
        ("weights", '{"a": 1}', {"a": 1.0}),
        ("inner", '{"rate": 2}', Inner(rate=2.0)),
    ],
)
def test_override_reads_text_in_the_type_of_the_field(path: str, text: str, value: Any) -> None:
    assert getattr(override(everything(), path, text), path) == value


def test_override_reaches_nested_settings_and_leaves_the_rest() -> None:
    before = everything(steps=7)
    after = override(before, "inner.rate", "2")
    assert after.inner.rate == 2.0
    assert after.steps == 7
    assert before.inner.rate == 1.0


@pytest.mark.parametrize(
    ("path", "text", "error", "expected"),
    [
        ("stepz", "1", UnknownName, "did you mean 'steps'?"),
        ("inner.rats", "1", UnknownName, "unknown setting of Inner 'rats': did you mean 'rate'?"),
        ("steps.x", "1", ConfigError, "has no setting 'x'"),
        ("inner", "3", ConfigError, "set one of inner.rate, inner.device"),
        ("steps", "many", ConfigError, "Everything.steps: expected int, got 'many'"),
        ("steps", "1000", ConfigError, "got 1000"),
        ("on", "yes", ConfigError, "expected bool, got 'yes'"),
        ("pair", "1", ConfigError, "Everything.pair"),
        ("mode", "slow", ConfigError, "Everything.mode"),
        ("colour", "green", UnknownName, "did you mean 'red'?"),
        ("weights", "{", ConfigError, "Everything.weights"),
    ],
)
def test_override_refuses_by_name(path: str, text: str, error: type[ConfigError], expected: str) -> None:
    with pytest.raises(error) as raised:
        override(everything(), path, text)
    assert expected in raised.value.message


@dataclass(frozen=True, kw_only=True, slots=True)
class _Grown:
    size: int = setting(1)
    added: int | None = setting(None, later=True)


def test_a_setting_that_came_later_is_in_no_key_at_its_default() -> None:
    assert semantic_dict(_Grown()) == {"size": 1}
    assert semantic_dict(_Grown(added=3)) == {"size": 1, "added": 3}
    assert to_json(_Grown()) == {"size": 1, "added": None}
    assert from_json(_Grown, {"size": 1}) == _Grown()
