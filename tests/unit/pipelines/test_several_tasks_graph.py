"""Several tasks in one run: the graph, the starts they share, and what a command without a task means."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.attempts import starts_of
from pipelines.config import PRESETS
from pipelines.invocation import Invocation, default_task
from pipelines.loop import build_graph
from pipelines.steps.promote import _by_task
from pipelines.world import _facts, task_world
from recap.errors import ConfigError
from recap.workspace import Workspace

TASKS = ("shirt_folding", "box_assembly", "toilet_paper_organization")
NAME = ",".join(TASKS)


def test_three_tasks_twice_around() -> None:
    config = replace(PRESETS.get("smoke")(NAME), iterations=2)
    nodes = {node.name: node for node in build_graph(config).order()}
    assert nodes["0/demos"].inputs["first"].node == "0/demos-2"
    assert nodes["0/demos"].inputs["second"].node == f"0/{TASKS[2]}/collect"
    assert {ref.node for ref in nodes["0/demos-2"].inputs.values()} == {f"0/{task}/collect" for task in TASKS[:2]}
    assert nodes["0/pretrain"].inputs["experience"].node == nodes["0/policy"].inputs["experience"].node == "0/demos"
    for k in (1, 2):
        before = "0/demos" if k == 1 else f"1/{TASKS[2]}/collect"
        for task in TASKS:
            collect = nodes[f"{k}/{task}/collect"]
            assert collect.config.task == task
            assert collect.inputs["previous"].node == before, "experience grows task by task"
            assert nodes[f"{k}/{task}/evaluate"].inputs["policy"].node == f"{k}/select"
            before = collect.name
        for learner in ("annotate", "value", "policy"):
            assert nodes[f"{k}/{learner}"].inputs["experience"].node == before
        assert nodes[f"{k}/advantage"].inputs["episodes"].node == f"{k}/episodes"
        assert {nodes[f"{k}/{step}"].config.task for step in ("value", "policy", "select", "promote")} == {NAME}


def test_a_task_keeps_its_node_settings_among_others() -> None:
    """So that its demonstrations are recorded once, whatever it is learned with."""
    alone = {node.name: node for node in build_graph(PRESETS.get("sim")("box_assembly")).order()}
    among = {node.name: node for node in build_graph(PRESETS.get("sim")(NAME)).order()}
    assert alone["0/collect"].config == among["0/box_assembly/collect"].config


def test_each_task_gets_what_it_needs_and_several_what_the_most_demanding_does() -> None:
    def needs(name: str) -> tuple[int, ...]:
        config = PRESETS.get("sim")(name)
        base, model = config.pretrain.model, config.policy.model
        assert (base.network, base.shift_pixels) == (model.network, model.shift_pixels), (
            "imitation starts from the base"
        )
        takeovers = config.rollout.correction.max_takeovers
        return base.network.patch_size, base.shift_pixels, takeovers, base.fit.steps, model.fit.steps

    assert needs("shirt_folding") == (8, 2, 3, 2000, 3000)
    assert needs("toilet_paper_organization") == (8, 2, 3, 4000, 4000)
    assert needs("box_assembly") == (4, 0, 5, 5000, 5000)
    assert needs(NAME) == (4, 0, 5, 11_000, 12_000)


def test_starts_take_turns_and_keys_of_one_task_are_its_seeds() -> None:
    assert starts_of("box_assembly", (7, 9)) == {"7": ("box_assembly", 7), "9": ("box_assembly", 9)}
    assert list(starts_of("a,b", (7, 9)).items()) == [
        ("a/7", ("a", 7)),
        ("b/7", ("b", 7)),
        ("a/9", ("a", 9)),
        ("b/9", ("b", 9)),
    ]


def test_a_decision_over_all_tells_of_each() -> None:
    won = {"champion": [True, False, True], "challenger": [False, False, True]}
    assert _by_task("a,b", ["a", "b", "a"], won) == {
        "a": {"pairs": 2, "champion": 2, "challenger": 1},
        "b": {"pairs": 1, "champion": 0, "challenger": 0},
    }


def test_a_revised_task_is_another_one_to_every_step() -> None:
    """Keys of tasks that were never revised stay what they were."""
    spec = SimpleNamespace(id="t", prompt="do it", revision=1)
    assert _facts(spec, ("prompt",)) == {"prompt": "do it"}  # type: ignore[arg-type]
    spec.revision = 2
    assert _facts(spec, ("prompt",)) == {"prompt": "do it", "revision": 2}  # type: ignore[arg-type]
    world = task_world("prompt")(SimpleNamespace(task="shirt_folding,toilet_paper_organization"))
    assert "revision" not in world["tasks"]["shirt_folding"]
    assert world["tasks"]["toilet_paper_organization"]["revision"] > 1


def test_a_command_without_a_task_does_not_replace_a_run_of_another(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path)
    for name, task in (("nightly", "box_assembly"), ("mine", "shirt_folding")):
        Invocation.of(task=task, name=name).save(workspace)
    assert default_task(tmp_path, None) == default_task(tmp_path, "new") == default_task(tmp_path, "mine")
    with pytest.raises(ConfigError, match="run 'nightly' is of task box_assembly") as refused:
        default_task(tmp_path, "nightly")
    assert "recap resume nightly" in refused.value.hint
    with pytest.raises(ConfigError, match="run name"):
        default_task(tmp_path, "../nightly")
