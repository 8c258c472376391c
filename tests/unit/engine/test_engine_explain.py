"""Explain: what would run, and the very field, input, version or library that says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.faults import damage
from toy_steps import NumbersConfig, toy_graph

from recap import step as step_module
from recap.config import setting
from recap.contents import Contents
from recap.errors import ConfigError, StepFailed
from recap.explain import NodePlan, explain
from recap.graph import Graph
from recap.registry import Registry
from recap.runner import Runner
from recap.step import JsonOutput, StepSpec, step
from recap.store import Store
from recap.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def runner(workspace: Workspace) -> Runner:
    return Runner(workspace, lambda: pytest.fail("nothing asked for an executor"))


def plans(workspace: Workspace, graph: Graph, run: str = "r") -> dict[str, NodePlan]:
    return {plan.node: plan for plan in explain(workspace, graph, run)}


def single(*, version: int = 1, libraries: tuple[str, ...] = (), fail: bool = False) -> Graph:
    registry: Registry[StepSpec] = Registry("none")

    def function(ctx: Any, config: Any, inputs: Any) -> Any:
        if fail:
            raise RuntimeError("broken\nin two lines")
        return {"x": JsonOutput(1)}

    step(name="s", version=version, config=NumbersConfig, outputs=("x",), libraries=libraries, registry=registry)(
        function
    )
    graph = Graph(steps=registry)
    graph.add("n", "s", NumbersConfig())
    return graph


def test_before_the_first_run_nothing_is_known(workspace: Workspace) -> None:
    found = plans(workspace, toy_graph())
    assert found["0/numbers"].why == "never ran in run 'r'"
    assert found["0/numbers"].state == "run"
    assert found["0/scale"].state == "unknown"
    assert found["0/scale"].why == "input from 0/numbers will be recomputed"
    assert "limit" not in found


def test_after_it_everything_is_cached(workspace: Workspace) -> None:
    runner(workspace).run(toy_graph(), "r")
    assert {plan.state for plan in explain(workspace, toy_graph(), "r")} == {"cached"}


def test_the_changed_setting_is_named_with_both_values(workspace: Workspace) -> None:
    runner(workspace).run(toy_graph(), "r")
    found = plans(workspace, toy_graph(factor=3.0))
    assert (found["0/scale"].state, found["0/scale"].why) == ("run", "config factor: 2.0 -> 3.0")
    assert found["0/numbers"].state == "cached"
    assert found["0/report"].state == "unknown"


def test_the_changed_input_is_named_with_its_source(workspace: Workspace) -> None:
    runner(workspace).run(toy_graph(seed=0), "r")
    runner(workspace).run(toy_graph(seed=1), "other")
    assert plans(workspace, toy_graph(seed=1))["0/numbers"].state == "cached"
    # The new input is known from the other run; the step itself ran there too, so hide that result.
    for entry in Store(workspace).entries():
        if entry.startswith("scale-"):
            Store(workspace).quarantine_entry(entry, "hidden")
    assert plans(workspace, toy_graph(seed=1))["0/scale"].why == "input numbers changed (from 0/numbers:numbers)"


def test_the_changed_version_and_library_are_named(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    runner(workspace).run(single(libraries=("numpy",)), "r")
    assert plans(workspace, single(version=2, libraries=("numpy",)))["n"].why == "version of step s: 1 -> 2"
    now = step_module.library_version("numpy")
    monkeypatch.setattr(step_module, "library_version", lambda library: "99.1")
    assert plans(workspace, single(libraries=("numpy",)))["n"].why == f"library numpy: {now} -> 99.1"


def test_a_failed_attempt_is_quoted(workspace: Workspace) -> None:
    with pytest.raises(StepFailed):
        runner(workspace).run(single(fail=True), "r")
    assert plans(workspace, single())["n"].why == "the last attempt ended failed: broken"


def test_corrupt_quarantined_and_gone_are_told_apart(workspace: Workspace) -> None:
    summary = runner(workspace).run(single(), "r")
    store, path = Store(workspace), summary.outputs["n"]["x"].path
    damage(path, "empty")
    assert "output is corrupt and will be quarantined" in plans(workspace, single())["n"].why
    assert path.exists(), "explain only reads"
    store.quarantine_entry(path.parent.name, "x.json is empty")
    assert plans(workspace, single())["n"].why == "output quarantined: x.json is empty"
    runner(workspace).run(single(), "r")
    for file in (*path.parent.iterdir(), path.parent):
        file.rmdir() if file.is_dir() else file.unlink()
    for place in workspace.quarantine.iterdir():
        place.rename(workspace.root / "elsewhere")
    assert plans(workspace, single())["n"].why == "its output is gone from the workspace"


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsConfig:
    """Points at a file."""

    weights: str = setting("", content=True)


def pointing(weights: Path, *, limit: int = 5) -> Graph:
    registry: Registry[StepSpec] = Registry("none")

    def function(ctx: Any, config: Any, inputs: Any) -> Any:
        return {"x": JsonOutput(Path(config.weights).read_text() if config.weights else "none")}

    step(
        name="s",
        version=1,
        config=WeightsConfig,
        outputs=("x",),
        context=lambda config: {"task": {"limit": limit, "channels": ("x", "y")}},
        registry=registry,
    )(function)
    graph = Graph(steps=registry)
    graph.add("n", "s", WeightsConfig(weights=str(weights)))
    return graph


def test_a_file_counts_by_its_content_and_not_by_its_place(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    assert runner(workspace).run(pointing(tmp_path / "a"), "r").executed == ["n"]
    (tmp_path / "b").write_text("one")
    assert runner(workspace).run(pointing(tmp_path / "b"), "r").executed == []
    (tmp_path / "b").write_text("two")
    assert plans(workspace, pointing(tmp_path / "b"))["n"].why == "content of weights changed"
    done = runner(workspace).run(pointing(tmp_path / "b"), "r")
    assert done.outputs["n"]["x"].json() == "two"
    with pytest.raises(ConfigError, match=r"setting weights: no file at .*/c"):
        runner(workspace).run(pointing(tmp_path / "c"), "r")


def test_a_file_that_did_not_change_is_read_once(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "blob").write_text("weights")
    (folder / "w.safetensors").symlink_to(tmp_path / "blob")
    first = Contents(workspace).identity(folder, setting="weights")
    monkeypatch.setattr("recap.contents.file_sha256", lambda path: pytest.fail("read again"))
    assert Contents(workspace).identity(folder, setting="weights") == first
    monkeypatch.undo()
    (workspace.cache / "contents.json").write_text("torn {")
    assert Contents(workspace, remember=False).identity(folder, setting="weights") == first
    assert (workspace.cache / "contents.json").read_text() == "torn {"
    (tmp_path / "blob").write_text("WEIGHTS")
    assert Contents(workspace).identity(folder, setting="weights") != first


def test_what_the_world_says_is_part_of_the_key(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    runner(workspace).run(pointing(tmp_path / "a"), "r")
    changed = pointing(tmp_path / "a", limit=6)
    assert plans(workspace, changed)["n"].why == "task.limit: 5 -> 6"
    assert runner(workspace).run(changed, "r").executed == ["n"]


def test_an_attempt_whose_file_a_power_cut_tore_tells_of_nothing(workspace: Workspace) -> None:
    runner(workspace).run(toy_graph(), "r")
    torn = [path for path in workspace.attempts.glob("*/*.json") if path.parent.name.startswith("scale")]
    assert torn
    for path in torn:
        path.write_bytes(b"")
    assert plans(workspace, toy_graph())["0/scale"].state == "cached"
    assert plans(workspace, toy_graph(factor=3.0))["0/scale"].state == "run"
