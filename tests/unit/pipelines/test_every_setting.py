"""Every setting of a run is set to another legal value: some step gets another key, or it is refused by name."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import PRESETS, Models, RunConfig
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.settings import MOVED, ONE_FOR_ALL, set_all
from recap.config import content_settings
from recap.errors import ConfigError, UnknownName
from recap.overrides import is_semantic
from recap.step import key_facts, key_of

FREE = {
    "executor.name",
    "executor.address",
    "executor.num_cpus",
    "executor.role_resources",
    "executor.dashboard",
    "runtime.compile",
    "runtime.device",
    "runtime.label_batch",
    "runtime.micro_batch",
    "runtime.processes",
    "runtime.recompute",
    "tracker",
    "workers",
    "demos_from",
    "rollouts_from",
    "robot_from",
    "value_label.shard_episodes",
    "policy.model.fit.checkpoint_every",
    "policy.model.fit.log_every",
    "policy.model.fit.threads",
    "values.viva.fit.checkpoint_every",
    "values.viva.fit.log_every",
    "values.viva.fit.threads",
}
"""Settings that promise the same result within a tolerance: in no key."""


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any, Any]]:
    """(dotted path, type, rules, value) of every setting that a run has."""
    if isinstance(config, Mapping):
        for name, inner in config.items():
            yield from _leaves(inner, f"{prefix}{name}.")
        return
    hints = typing.get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value, path = getattr(config, item.name), f"{prefix}{item.name}"
        holds = isinstance(value, Mapping) and any(map(dataclasses.is_dataclass, value.values()))
        if dataclasses.is_dataclass(value) or holds:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, hints[item.name], item.metadata.get("recap"), value


def _others(path: str, kind: Any, rules: Any, value: Any, folder: Path) -> list[str]:
    """Texts of values that the setting does not have now; some of them are legal."""
    if path == "tasks":
        return ["box_assembly"]
    if rules is not None and rules.choices is not None:
        return [str(choice) for choice in rules.choices if choice != value]
    if rules is not None and rules.content:
        (folder / "weights").write_text("weights")
        return [str(folder / "weights")]
    kinds = typing.get_args(kind) or (kind,)
    if bool in kinds:
        return [str(not value).lower()]
    if typing.get_origin(kind) is tuple:
        return ["3", "cam_high"]
    if int in kinds or float in kinds:
        now = 0 if value is None else value
        near = [now + 1, now - 1, now * 2, now // 2 if int in kinds else now / 2, 0, 1, 2, 0.5, 4, 64]
        return [
            f"{int(one) if int in kinds else one}"
            for one in near
            if one != value and (int not in kinds or one == int(one))
        ]
    if isinstance(value, Mapping):
        return ['{"trainer": {"num_gpus": 1}}']
    return ["other"]


def _keys(config: RunConfig) -> dict[str, str]:
    """{node: its key, were its inputs named by where they come from}."""
    return {
        node.name: key_of(
            key_facts(
                node.spec,
                node.config,
                {name: str(ref) for name, ref in node.inputs.items()},
                facts=node.facts,
                contents={} if node.config is None else dict(content_settings(node.config)),
            )
        )
        for node in build_graph(config).order()
        if not node.is_constant
    }


@pytest.fixture(params=["with an environment", "imitation", "several tasks"])
def config(request: pytest.FixtureRequest) -> RunConfig:
    tasks = ("shirt_folding", "pants_folding") if request.param == "several tasks" else ("shirt_folding",)
    made = PRESETS.get("micro")(tasks, Models())
    return dataclasses.replace(made, iterations=0) if request.param == "imitation" else made


def test_every_setting_has_an_effect_or_is_refused_by_name(config: RunConfig, tmp_path: Path) -> None:
    before = _keys(config)
    told = []
    for path, kind, rules, value in _leaves(config):
        if path in FREE:
            assert not is_semantic(config, path), path
            continue
        refused = False
        for text in _others(path, kind, rules, value, tmp_path):
            try:
                changed = set_all(config, [f"{path}={text}"])
            except ConfigError as error:
                said = str(error)
                if "no effect in this run" in said:
                    assert path in said
                    break
                assert path in said or path.rpartition(".")[2] in said, f"{path}={text}: {said}"
                refused = True
                continue
            if changed == config:
                continue
            assert _keys(changed) != before, f"{path}={text} is accepted and changes nothing"
            told.append(path)
            break
        else:
            # Legal only together with others, which the refusals name.
            assert refused, f"{path}: no legal value other than {value!r} was found"
    assert len(told) > 40 or config.iterations == 0


def test_the_free_settings_are_those_that_are_said_to_be(config: RunConfig) -> None:
    assert {path for path, *_ in _leaves(config) if not is_semantic(config, path)} == FREE


@pytest.mark.parametrize("old", sorted({*MOVED, *(f"evaluate.{name}" for name in ONE_FOR_ALL)}))
def test_settings_of_an_older_recap_are_refused_with_what_they_are_called_now(old: str) -> None:
    made = PRESETS.get("micro")(("shirt_folding",), Models())
    name = old if "." in old else f"{old}.anything"
    with pytest.raises(UnknownName) as refused:
        set_all(made, [f"{name}=1"])
    assert (MOVED.get(old) or ONE_FOR_ALL[old.rpartition(".")[2]]) in refused.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "value.lookahead=99",
        "advantage.returns.c_fail=0.1",
        "policy.tags=none",
        "select.task=box_assembly",
        "collect.image_size=224",
    ],
)
def test_what_was_once_swallowed_is_refused(text: str) -> None:
    with pytest.raises(UnknownName):
        Invocation.of(preset="micro", settings=[text]).config()


def test_one_image_size_reaches_every_step_that_acts() -> None:
    made = Invocation.of(preset="micro", settings=["env.image_size=96"]).config()
    sizes = [node.facts.env.image_size for node in build_graph(made).order() if hasattr(node.facts, "env")]
    assert len(sizes) == 7
    assert set(sizes) == {96}
