"""The offline start as options and as a graph: which go together, what follows what, and that nothing simulates."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.synthetic import synthetic_draft

from data.episodes import EpisodeStore
from pipelines.config import PRESETS, Models, RunConfig
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.offline import import_facts
from recap.errors import ConfigError
from recap.graph import Node
from recap.types import Source
from recap.workspace import Workspace

TASK = "shirt_folding"
STEPS = {
    "record",
    "join",
    "annotate",
    "value_train",
    "value_label",
    "judge",
    "advantage",
    "policy",
    "checkpoint_selection",
    "open_loop_eval",
    "constant",
}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Any]:
    for name, source in (("demos", Source.DEMO), ("rollouts", Source.ROLLOUT)):
        EpisodeStore(tmp_path / name).commit(synthetic_draft(1, length=2, source=source))
    return {"demos": tmp_path / "demos", "rollouts": tmp_path / "rollouts"}


def _offline(preset: str = "micro", **more: Any) -> Invocation:
    return Invocation.of(task=TASK, preset=preset, collect="none", **more)


def _nodes(config: RunConfig) -> dict[str, Node]:
    return {node.name: node for node in build_graph(config).order()}


@pytest.mark.parametrize("preset", ["sim", "smoke", "micro"])
def test_every_preset_starts_offline(folders: dict[str, Any], preset: str) -> None:
    nodes = _nodes(_offline(preset, **folders).config())
    assert {node.spec.name for node in nodes.values()} == STEPS
    assert nodes["1/policy"].inputs["base"].node == "0/pretrain"
    assert nodes["1/policy"].inputs["labels"].node == "1/advantage"
    assert nodes["1/advantage"].inputs["episodes"].node == f"1/{TASK}/record"
    assert nodes[f"1/{TASK}/open_loop_eval"].inputs["policy"].node == "1/checkpoint_selection"
    for k in (0, 1):
        select = nodes[f"{k}/checkpoint_selection"]
        assert (select.config.attempts, select.config.guidance) == (0, (1.0,)), "no attempt is made"
        assert not select.facts.compare


def test_rollouts_are_looked_at_before_anything_is_trained(folders: dict[str, Any]) -> None:
    order = list(_nodes(_offline(**folders).config()))
    assert order.index(f"1/{TASK}/record") < order.index("0/pretrain")
    assert order.index("1/annotate") < order.index("0/policy")


def test_imitation_alone_needs_demonstrations_alone(folders: dict[str, Any]) -> None:
    nodes = _nodes(_offline(demos=folders["demos"], iterations=0).config())
    assert [name for name in nodes if name.startswith("1/")] == []
    assert f"0/{TASK}/open_loop_eval" in nodes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"collect": "none"}, "--collect none without --demos"),
        ({"collect": "none", "rollouts": "rollouts"}, "--collect none without --demos"),
        ({"collect": "none", "demos": "demos"}, "--demos without --rollouts"),
        ({"demos": "demos"}, "--demos without --collect none"),
        ({"rollouts": "rollouts"}, "--rollouts without --collect none"),
        ({"collect": "simulation", "demos": "demos"}, "--demos without --collect none"),
        ({"collect": "robot"}, "expected one of 'simulation', 'none'"),
        ({"collect": "none", "demos": "demos", "rollouts": "rollouts", "iterations": 2}, "iterations = 2 offline"),
        ({"collect": "none", "demos": "demos", "rollouts": "rollouts", "iterations": 0}, "nothing would read them"),
        ({"collect": "none", "demos": "nowhere", "rollouts": "rollouts"}, "nowhere: does not exist"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    folders: dict[str, Any], options: dict[str, Any], said: str
) -> None:
    root = folders["demos"].parent
    paths = {name: root / value for name, value in options.items() if name in ("demos", "rollouts")}
    with pytest.raises(ConfigError) as refused:
        build_graph(Invocation.of(task=TASK, preset="micro", **{**options, **paths}).config())
    assert said in refused.value.message


def test_settings_cannot_ask_for_a_second_iteration(folders: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="iterations = 3 offline"):
        _offline(**folders, settings=["iterations=3"]).config()


def test_it_has_a_run_name_of_its_own_and_is_issued_again_by_its_command(
    folders: dict[str, Any], tmp_path: Path
) -> None:
    typed = _offline(**folders, unlabelled="skip")
    assert typed.name == f"{TASK}-micro-offline"
    words = shlex.split(typed.command(tmp_path))
    options = dict(zip(words[2::2], words[3::2], strict=True))
    assert options["--collect"] == "none"
    assert (options["--demos"], options["--rollouts"]) == (str(folders["demos"]), str(folders["rollouts"]))
    assert "--name" not in options

    workspace = Workspace.open(tmp_path / "w")
    typed.save(workspace)
    assert Invocation.load(workspace.root, None) == typed


def test_relative_folders_are_kept_as_absolute_ones(folders: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folders["demos"].parent)
    typed = _offline(demos=Path("demos"), rollouts=Path("rollouts"))
    assert typed.demos == str(folders["demos"])


def test_where_the_experience_lies_is_no_setting_that_decides_a_result(folders: dict[str, Any]) -> None:
    from recap.config import semantic_dict

    here = _offline(**folders).config()
    there = replace(here, demos_from="/elsewhere", rollouts_from="/elsewhere")
    assert semantic_dict(here) == semantic_dict(there)
    facts = [import_facts(config, role) for role in ("demos", "rollouts") for config in (here, there)]
    assert facts[0] != facts[1]
    assert semantic_dict(facts[0]) == semantic_dict(facts[1])
    assert semantic_dict(facts[2]) == semantic_dict(facts[3]) != semantic_dict(facts[0])


def test_a_run_that_records_its_own_experience_is_as_before() -> None:
    assert not PRESETS.get("sim")((TASK,), Models()).offline
    assert Invocation.of(task=TASK, collect="simulation").config() == Invocation.of(task=TASK).config()
