"""What `recap gc` lists and what it never lists, in workspaces made by real runs of toy steps."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.fakes import InlineExecutor
from toy_steps import TOY_STEPS, NumbersConfig, ScaleConfig, toy_graph

from recap.champion import Champion, champion_path, write_champion
from recap.errors import ArtifactCorrupt, ConfigError, WorkspaceLocked
from recap.gc import Garbage, find_garbage, remove_garbage
from recap.graph import Graph
from recap.hashing import sha256_hex
from recap.provenance import read_run
from recap.registry import Registry
from recap.runner import Runner, RunSummary
from recap.step import Artifact, DirOutput, JsonOutput, StepContext, StepSpec, step
from recap.store import Store, entry_name
from recap.workspace import Workspace

KEY = sha256_hex(b"another key")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def run(workspace: Workspace, name: str = "r", graph: Graph | None = None, **settings: Any) -> RunSummary:
    return Runner(workspace, InlineExecutor).run(graph or toy_graph(**settings), name)


def iterations(*factors: float) -> Graph:
    """One `numbers` and one `scale` per iteration."""
    graph = Graph(steps=TOY_STEPS)
    for k, factor in enumerate(factors):
        made = graph.add(f"{k}/numbers", "numbers", NumbersConfig(seed=k))
        graph.add(f"{k}/scale", "scale", ScaleConfig(factor=factor), numbers=made["numbers"])
    return graph


def paths(found: Garbage, kind: str = "artifact") -> list[str]:
    return [item.path for item in found.items if item.kind == kind]


def key_of_node(workspace: Workspace, name: str, node: str) -> str:
    record = read_run(workspace, name)
    assert record is not None
    return str({**record["retired"], **record["nodes"]}[node]["key"])


def commit(workspace: Workspace, content: bytes, *, key: str = KEY, facts: dict[str, Any] | None = None) -> Path:
    """An artifact that no run made, with one file."""
    store = Store(workspace)
    draft = store.begin("loose", key)
    (draft.out / "d").mkdir()
    (draft.out / "d" / "f").write_bytes(content)
    store.commit(draft, {"d": DirOutput(draft.out / "d")}, facts or {"step": "loose"})
    return store.path("loose", key)


def test_nothing_of_a_finished_run_can_go(workspace: Workspace) -> None:
    run(workspace)
    found = find_garbage(workspace, keep=0)
    assert found.items == ()
    assert found.frees == 0
    assert found.kept["artifact"] == 5
    assert not found.deleted


def test_replaced_results_go_and_a_reissued_run_executes_nothing(workspace: Workspace) -> None:
    run(workspace, factor=2.0)
    run(workspace, factor=3.0)
    run(workspace, factor=5.0)
    # The latest result of every node and the one before it stay.
    before = set(Store(workspace).entries())
    found = find_garbage(workspace, keep=2)
    removed = remove_garbage(workspace, keep=2)
    assert removed.deleted
    assert removed.items == found.items
    gone = {Path(path).name for path in paths(found)}
    assert gone
    assert set(Store(workspace).entries()) == before - gone
    assert find_garbage(workspace, keep=2).items == ()
    assert run(workspace, factor=5.0).executed == []
    assert Store(workspace).verify() == []


def test_replaced_results_of_the_last_iterations_stay(workspace: Workspace) -> None:
    run(workspace, graph=iterations(2.0, 2.0, 2.0))
    old = [key_of_node(workspace, "r", f"{k}/scale") for k in range(3)]
    run(workspace, graph=iterations(3.0, 3.0, 3.0))
    entries = [f"artifacts/{entry_name('scale', key)}" for key in old]
    assert paths(find_garbage(workspace, keep=3)) == []
    assert paths(find_garbage(workspace, keep=2)) == [entries[0]]
    assert sorted(paths(find_garbage(workspace, keep=1))) == sorted(entries[:2])
    assert sorted(paths(find_garbage(workspace, keep=0))) == sorted(entries)


def test_the_furthest_result_of_every_step_stays_though_its_node_was_dropped(workspace: Workspace) -> None:
    run(workspace, graph=iterations(2.0, 3.0, 5.0))
    dropped = {k: key_of_node(workspace, "r", f"{k}/scale") for k in (1, 2)}
    run(workspace, graph=iterations(2.0))
    listed = paths(find_garbage(workspace, keep=0))
    assert f"artifacts/{entry_name('scale', dropped[1])}" in listed
    assert f"artifacts/{entry_name('scale', dropped[2])}" not in listed


def test_a_run_stopped_half_way_keeps_what_it_will_find_again(workspace: Workspace) -> None:
    run(workspace)
    whole = set(Store(workspace).entries())

    class Stopped(Exception):
        pass

    class Stop:
        def on_event(self, event: Any) -> None:
            if event.get("node") == "0/numbers":
                raise Stopped

    with pytest.raises(Stopped):
        Runner(workspace, InlineExecutor, [Stop()]).run(toy_graph(), "r")
    record = read_run(workspace, "r")
    assert record is not None
    assert record["nodes"]["0/report"]["key"] is None
    assert find_garbage(workspace, keep=0).items == ()
    assert set(Store(workspace).entries()) == whole


def test_what_one_of_two_runs_needs_stays(workspace: Workspace) -> None:
    run(workspace, "a", factor=2.0)
    run(workspace, "b", factor=2.0)
    run(workspace, "a", factor=3.0)
    assert find_garbage(workspace, keep=0).items == ()
    run(workspace, "b", factor=3.0)
    assert len(paths(find_garbage(workspace, keep=0))) >= 2


def test_a_champion_stays_though_no_run_names_it(workspace: Workspace) -> None:
    old = run(workspace, factor=2.0).outputs["0/scale"]["model"]
    key = key_of_node(workspace, "r", "0/scale")
    write_champion(
        workspace,
        Champion(
            run="r",
            node="0/scale",
            step="scale",
            key=key,
            output="model",
            identity=old.identity,
            policy_id="p",
            since=1.0,
            verdict="promoted",
            reason="",
        ),
    )
    run(workspace, factor=3.0)
    run(workspace, factor=5.0)
    removed = remove_garbage(workspace, keep=0)
    assert f"artifacts/{entry_name('scale', key)}" not in paths(removed)
    assert Store(workspace).load("scale", key) is not None
    assert paths(removed)
    champion_path(workspace, "r").unlink()
    assert f"artifacts/{entry_name('scale', key)}" in paths(find_garbage(workspace, keep=0))


def test_what_was_recorded_from_the_outside_world_stays(workspace: Workspace) -> None:
    commit(workspace, b"robot", facts={"step": "loose", "recorded": ["r", "0/collect"]})
    loose = commit(workspace, b"model", key=sha256_hex(b"2"))
    assert paths(find_garbage(workspace, keep=0)) == [f"artifacts/{loose.name}"]


def test_an_artifact_without_a_readable_manifest_is_left_for_verify(workspace: Workspace) -> None:
    folder = commit(workspace, b"x")
    (folder / "manifest.json").write_bytes(b"{")
    found = remove_garbage(workspace, keep=0)
    assert found.items == ()
    assert len(found.notes) == 1
    assert "recap verify" in found.notes[0]
    assert folder.exists()


def test_an_unreadable_run_record_stops_everything(workspace: Workspace) -> None:
    run(workspace)
    loose = commit(workspace, b"x")
    (workspace.run_dir("r") / "run.json").write_bytes(b"{")
    with pytest.raises(ConfigError, match="not a run record"):
        remove_garbage(workspace, keep=0)
    assert loose.exists()


def test_an_unreadable_champion_stops_everything(workspace: Workspace) -> None:
    loose = commit(workspace, b"x")
    (workspace.root / "champions").mkdir()
    (workspace.root / "champions" / "r.json").write_bytes(b"{")
    with pytest.raises(ArtifactCorrupt, match="not a champion"):
        remove_garbage(workspace, keep=0)
    assert loose.exists()


def test_scratch_stays_while_a_run_can_go_on_with_it(workspace: Workspace) -> None:
    registry: Registry[StepSpec] = Registry("step")

    @step(name="train", version=1, outputs=("loss",), registry=registry)
    def train(ctx: StepContext, config: None, inputs: dict[str, Artifact]) -> dict[str, JsonOutput]:
        (ctx.scratch / "checkpoint").write_bytes(b"x" * 100)
        raise OSError("no more")

    graph = Graph(steps=registry)
    graph.add("0/train", "train", None)
    with pytest.raises(Exception, match="no more"):
        run(workspace, graph=graph)
    assert find_garbage(workspace, keep=0).kept["scratch"] == 1
    assert find_garbage(workspace, keep=0).items == ()
    # A scratch of no run, and one whose step is done (killed between its commit and the clean-up).
    run(workspace, "other")
    done = workspace.scratch / entry_name("scale", key_of_node(workspace, "other", "0/scale"))
    for folder in (done, workspace.scratch / entry_name("scale", KEY)):
        folder.mkdir()
        (folder / "part").write_bytes(b"abc")
    found = remove_garbage(workspace, keep=0)
    assert {(item.path, item.bytes) for item in found.items} == {
        (f"scratch/{done.name}", 3),
        (f"scratch/{entry_name('scale', KEY)}", 3),
    }
    assert len([path for path in workspace.scratch.iterdir() if path.name[0] != "."]) == 1


def test_the_caches_used_last_stay(workspace: Workspace) -> None:
    for age, name in enumerate(("new", "older", "oldest")):
        folder = workspace.cache / name
        folder.mkdir()
        (folder / "images.npy").write_bytes(b"x" * 10)
        os.utime(folder, (time.time() - 86_400 * age,) * 2)
    half, living = workspace.cache / ".tmp-old.1.a", workspace.cache / ".tmp-new.1.b"
    half.mkdir()
    living.mkdir()
    os.utime(half, (time.time() - 3 * 86_400,) * 2)
    found = remove_garbage(workspace, keep=2)
    assert paths(found, "cache") == ["cache/oldest", "cache/.tmp-old.1.a"]
    assert "last used 2.0 days ago" in found.items[0].why
    assert living.exists()
    assert (workspace.cache / "older").exists()


def test_quarantined_artifacts_are_listed_with_their_reason(workspace: Workspace) -> None:
    folder = commit(workspace, b"x")
    Store(workspace).quarantine_entry(folder.name, "torn in a test")
    (workspace.quarantine / "somebody-elses").mkdir()
    found = remove_garbage(workspace)
    (item,) = found.items
    assert (item.kind, item.why) == ("quarantine", "torn in a test")
    assert "somebody-elses" in found.notes[0]
    assert [path.name for path in workspace.quarantine.iterdir() if path.name[0] != "."] == ["somebody-elses"]


def test_episodes_labels_and_records_are_never_touched(workspace: Workspace) -> None:
    run(workspace)
    run(workspace, factor=7.0)
    kept = [
        workspace.episodes / "shirt" / "e.zip",
        workspace.episodes / "quarantine" / "torn.zip",
        workspace.root / "labels" / "l.json",
        workspace.root / "collections" / f"{KEY}.jsonl",
        workspace.runs / "r" / "journal.jsonl",
    ]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"precious")
    attempts = sorted(workspace.attempts.rglob("*.json"))
    assert remove_garbage(workspace, keep=0).items
    assert all(path.read_bytes() == b"precious" for path in kept)
    assert sorted(workspace.attempts.rglob("*.json")) == attempts


def test_a_dry_run_changes_nothing(workspace: Workspace) -> None:
    run(workspace)
    run(workspace, factor=7.0)
    before = sorted((path, path.lstat().st_mtime_ns) for path in workspace.root.rglob("*"))
    assert find_garbage(workspace, keep=0).items
    assert sorted((path, path.lstat().st_mtime_ns) for path in workspace.root.rglob("*")) == before


def test_bytes_that_something_kept_links_to_are_not_given_back(workspace: Workspace) -> None:
    folder = commit(workspace, b"x" * 1000)
    own = find_garbage(workspace, keep=0)
    os.link(folder / "d" / "f", workspace.root / "a-kept-link")
    shared = find_garbage(workspace, keep=0)
    assert own.items == shared.items
    assert own.frees - shared.frees == 1000


def test_a_live_run_is_not_swept_under(workspace: Workspace) -> None:
    loose = commit(workspace, b"x")
    with workspace.lock("run r"):
        with pytest.raises(WorkspaceLocked):
            remove_garbage(Workspace.open(workspace.root))
        assert find_garbage(Workspace.open(workspace.root)).items
    assert loose.exists()


def test_a_negative_keep_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match="keep -1"):
        find_garbage(workspace, keep=-1)


def test_the_reason_names_who_made_it(workspace: Workspace) -> None:
    run(workspace)
    run(workspace, factor=7.0)
    item = next(item for item in find_garbage(workspace, keep=0).items if "scale" in item.path)
    assert item.why == "no run names it; made for 0/scale of run r"
    assert json.loads(json.dumps(item.bytes)) > 0


def test_a_run_whose_folder_was_removed_gives_everything_back(workspace: Workspace) -> None:
    run(workspace, "a", factor=2.0)
    run(workspace, "b", factor=3.0)
    needed = set(Store(workspace).entries())
    shutil.rmtree(workspace.run_dir("a"))
    removed = remove_garbage(workspace, keep=2)
    assert {Path(path).name for path in paths(removed)} == needed - set(Store(workspace).entries())
    assert any("scale" in path for path in paths(removed))
    assert run(workspace, "b", factor=3.0).executed == []
