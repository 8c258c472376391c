"""Several tasks in one run: the graph, the starts they share, and what a command without a task means."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.attempts import starts_of
from pipelines.config import PRESETS, Models
from pipelines.facts import _facts, task_context
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.steps.gate.outputs import TaskPairs
from pipelines.steps.gate.step import _by_task
from recap.errors import ConfigError
from recap.workspace import Workspace

TASKS = ("shirt_folding", "box_assembly", "toilet_paper_organization")


def test_three_tasks_twice_around() -> None:
    config = replace(PRESETS.get("smoke")(TASKS, Models()), iterations=2)
    nodes = {node.name: node for node in build_graph(config).order()}
    demos = [f"0/{task}/record" for task in TASKS]
    assert [ref.node for ref in nodes["0/demos"].inputs.values()] == demos
    assert nodes["0/pretrain"].inputs["experience"].node == nodes["0/policy"].inputs["experience"].node == "0/demos"
    recorded = demos
    for k in (1, 2):
        new = [f"{k}/{task}/record" for task in TASKS]
        for name, task in zip(new, TASKS, strict=True):
            record, evaluate = nodes[name], nodes[f"{k}/{task}/evaluate"]
            assert record.facts.tasks == evaluate.facts.tasks == (task,)
            assert list(record.inputs) == ["policy"], "no task waits for another"
            assert evaluate.inputs["policy"].node == f"{k}/checkpoint_selection"
        recorded = recorded + new
        assert [ref.node for ref in nodes[f"{k}/experience"].inputs.values()] == recorded
        for learner in ("annotate", "viva/value_train", "policy"):
            assert nodes[f"{k}/{learner}"].inputs["experience"].node == f"{k}/experience"
        assert [ref.node for ref in nodes[f"{k}/episodes"].inputs.values()] == new
        assert nodes[f"{k}/advantage"].inputs["episodes"].node == f"{k}/episodes"
        for name in ("viva/value_train", "policy", "checkpoint_selection", "gate"):
            assert nodes[f"{k}/{name}"].facts.tasks == TASKS


def test_a_task_keeps_its_node_settings_among_others() -> None:
    """So that its demonstrations are recorded once, whatever it is learned with."""
    alone = {node.name: node for node in build_graph(PRESETS.get("sim")(("box_assembly",), Models())).order()}
    among = {node.name: node for node in build_graph(PRESETS.get("sim")(TASKS, Models())).order()}
    mine, same = alone["0/box_assembly/record"], among["0/box_assembly/record"]
    assert (mine.config, mine.facts) == (same.config, same.facts)


def test_each_task_gets_what_it_needs_and_several_what_the_most_demanding_does() -> None:
    def needs(*tasks: str) -> tuple[int, ...]:
        config = PRESETS.get("sim")(tasks, Models())
        nodes = {node.name: node for node in build_graph(config).order()}
        base, model = (nodes[f"0/{name}"].config.model for name in ("pretrain", "policy"))
        assert replace(base, fit=model.fit, candidates=model.candidates) == model, "imitation starts from the base"
        takeovers = config.rollouts.correction.max_takeovers
        return base.network.patch_size, base.shift_pixels, takeovers, base.fit.steps, model.fit.steps

    assert needs("shirt_folding") == (8, 2, 3, 2000, 3000)
    assert needs("toilet_paper_organization") == (8, 2, 3, 4000, 4000)
    assert needs("box_assembly") == (4, 0, 5, 5000, 5000)
    assert needs(*TASKS) == (4, 0, 5, 11_000, 12_000)


def test_starts_take_turns_and_keys_name_task_and_seed() -> None:
    assert starts_of(("box_assembly",), (7, 9)) == {
        "box_assembly/7": ("box_assembly", 7),
        "box_assembly/9": ("box_assembly", 9),
    }
    assert list(starts_of(("a", "b"), (7, 9)).items()) == [
        ("a/7", ("a", 7)),
        ("b/7", ("b", 7)),
        ("a/9", ("a", 9)),
        ("b/9", ("b", 9)),
    ]


def test_a_decision_over_all_tells_of_each() -> None:
    won = {"champion": [True, False, True, True], "challenger": [False, False, True, False]}
    aborted = [False, False, False, True]
    assert _by_task(("a", "b"), ["a", "b", "a", "b"], won, aborted) == {
        "a": TaskPairs(pairs=2, champion=2, challenger=1),
        "b": TaskPairs(pairs=1, champion=0, challenger=0),
    }


def test_a_revised_task_is_another_one_to_every_step() -> None:
    spec = SimpleNamespace(id="t", prompt="do it", revision=1)
    assert _facts(spec, ("prompt",)) == {"prompt": "do it", "revision": 1}  # type: ignore[arg-type]
    context = task_context("prompt")(SimpleNamespace(tasks=("shirt_folding", "toilet_paper_organization")))
    assert all(facts["revision"] > 1 for facts in context["tasks"].values())


def test_a_command_without_a_task_does_not_replace_a_run_of_another(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    for name, task in (("nightly", "box_assembly"), ("mine", "shirt_folding")):
        Invocation.of(task=task, name=name).save(workspace)
    for name in ({}, {"name": "new"}, {"name": "mine"}):
        assert Invocation.of(workspace=tmp_path, **name).task == ("shirt_folding",)
    assert Invocation.of(workspace=tmp_path, name="nightly", task="box_assembly").task == ("box_assembly",)
    with pytest.raises(ConfigError, match="run 'nightly' is of task box_assembly") as refused:
        Invocation.of(workspace=tmp_path, name="nightly")
    assert "recap resume nightly" in refused.value.hint
    with pytest.raises(ConfigError, match="run name"):
        Invocation.of(workspace=tmp_path, name="../nightly")


def test_a_run_of_an_older_recap_is_read(tmp_path: Path) -> None:
    """Several tasks were one text then, and the value model that labels had another name."""
    workspace = Workspace.open(tmp_path)
    Invocation.of(task="shirt_folding,box_assembly", name="old", value="clock").save(workspace)
    file = tmp_path / "runs" / "old" / "invocation.json"
    stored = json.loads(file.read_text())
    stored |= {"task": "shirt_folding,box_assembly", "value_model": stored.pop("value")}
    for new in ("policy", "values", "labels", "arms"):
        del stored[new]
    file.write_text(json.dumps(stored))
    found = Invocation.load(tmp_path, "old")
    assert (found.task, found.value) == (("shirt_folding", "box_assembly"), "clock")
    assert found.config().labels == "clock"
