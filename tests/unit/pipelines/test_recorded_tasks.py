"""A task in a file within a run: offline it is like any other, simulated it is refused, edited it is another input."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.synthetic_lerobot import synthetic_dataset

from data.tasks import TASKS
from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest
from pipelines.executors import EXECUTORS, ExecutorSettings
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.task_files import keep_task_file, name_task_file
from recap.errors import ConfigError
from recap.explain import explain
from recap.runner import Runner
from recap.step import key_facts, key_of
from recap.workspace import Workspace


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAP_TASKS", "")


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A workspace with two demonstrations and one rollout of a task that only its file describes."""
    dataset, root = synthetic_dataset(tmp_path / "d"), tmp_path / "w"
    import_dataset(root, ImportRequest(dataset=dataset, task="cubes", episodes="0-1"), lambda line: None)
    rollout = ImportRequest(dataset=dataset, task="cubes", episodes="2", source="rollout", policy="p")
    import_dataset(root, rollout, lambda line: None)
    return root


def _offline(root: Path) -> Any:
    settings = ["imported.others=skip", "workers=1"]
    folders = {"demos": root, "rollouts": root}
    return Invocation.of(task="cubes", preset="micro", collect="none", settings=settings, **folders).config()


def test_a_run_that_would_simulate_it_is_refused_with_what_to_do(recorded: Path) -> None:
    with pytest.raises(ConfigError, match="'cubes': nobody demonstrates it") as refused:
        build_graph(Invocation.of(task="cubes", preset="micro").config())
    assert "--collect none --demos DIR" in refused.value.hint


def test_an_edited_file_is_a_change_of_the_steps_that_read_it_and_explain_names_the_field(recorded: Path) -> None:
    def keys() -> dict[str, str]:
        nodes = [node for node in build_graph(_offline(recorded)).order() if not node.is_constant]
        return {node.name: key_of(key_facts(node.spec, node.config, {}, facts=node.facts)) for node in nodes}

    workspace, before = Workspace.open(recorded), keys()
    graph = build_graph(replace(_offline(recorded), iterations=0, rollouts_from=""))
    for name in [name for name in graph._nodes if name not in ("0/source", "0/cubes/record")]:
        del graph._nodes[name]  # the take-over alone: nothing has to be trained for this
    Runner(workspace, lambda: EXECUTORS.get("local")(ExecutorSettings())).run(graph, "r")
    plan = {node.node: node for node in explain(workspace, build_graph(_offline(recorded)), "r")}
    assert plan["0/cubes/record"].state == "cached"

    path = recorded / "tasks" / "cubes.yaml"
    path.write_text(path.read_text().replace("max_steps: 6", "max_steps: 60"))
    assert TASKS.get("cubes").spec.max_steps == 60
    after = keys()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        "0/checkpoint_selection",
        *(f"1/{name}/{stage}" for name in ("viva", "clock", "state_only") for stage in ("value_train", "value_label")),
        "1/judge",
        "1/advantage",
        "1/checkpoint_selection",
    }
    spec = TASKS.get("cubes").spec
    path.write_text(path.read_text().replace(f"rate_hz: {spec.rate_hz!r}", "rate_hz: 7.5"))
    plan = {node.node: node for node in explain(workspace, build_graph(_offline(recorded)), "r")}
    assert (plan["0/cubes/record"].state, plan["0/cubes/record"].why) == (
        "run",
        f"tasks.cubes.rate_hz: {spec.rate_hz} -> 7.5",
    )


def test_a_file_of_someone_describes_the_task_and_is_kept_when_asked(recorded: Path, tmp_path: Path) -> None:
    there, root = recorded / "tasks" / "cubes.yaml", tmp_path / "other"
    (recorded / "tasks" / "else.yaml").write_text("id: else\n")
    os.environ["RECAP_TASKS"] = ""  # importing has offered the folder
    name_task_file(root, there, task="cubes")
    assert TASKS.get("cubes").spec.max_steps == 6
    assert "else" not in TASKS.names(), "of its folder nothing else is found"
    assert not root.exists()
    kept = keep_task_file(root, there)
    assert kept == root / "tasks" / "cubes.yaml"
    assert kept.read_bytes() == there.read_bytes()
    name_task_file(root, there, task="cubes")
    assert keep_task_file(root, there) == kept
    there.write_text(there.read_text().replace("max_steps: 6", "max_steps: 60"))
    with pytest.raises(ConfigError, match="describes 'cubes' otherwise"):
        name_task_file(root, there, task="cubes")
    with pytest.raises(ConfigError, match="describes 'cubes', expected 'balls'"):
        name_task_file(root, there, task="balls")
