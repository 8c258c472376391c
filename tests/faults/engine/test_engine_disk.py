"""A full disk and torn files: nothing is half committed, nothing corrupt is used, nothing is deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.fakes import InlineExecutor, RecordingObserver
from tests.support.faults import DAMAGES, damage, disk_full, write_fails
from toy_steps import toy_graph

from recap.errors import StepFailed, WorkspaceLocked
from recap.runner import Runner
from recap.store import Store
from recap.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def run(workspace: Workspace, observer: RecordingObserver | None = None) -> list[str]:
    observers = [] if observer is None else [observer]
    return Runner(workspace, InlineExecutor, observers).run(toy_graph(), "r").executed


@pytest.mark.parametrize("after", range(0, 26, 2))
def test_a_full_disk_commits_nothing_by_halves(workspace: Workspace, after: int) -> None:
    with disk_full(after=after, under=workspace.artifacts), pytest.raises((StepFailed, OSError)) as raised:
        run(workspace)
    assert "No space left on device" in str(raised.value)
    store = Store(workspace)
    assert store.verify() == []
    drafts = workspace.artifacts / ".tmp"
    assert list(drafts.iterdir()) == []
    # With space again the same command goes on, and keeps what was finished.
    finished = {entry.rsplit("-", 1)[0] for entry in store.entries()}
    executed = run(workspace)
    assert not finished & {node.split("/")[1] for node in executed}
    assert run(workspace) == []


@pytest.mark.parametrize("name", ["sum.json", "manifest.json", "moves.json", "run.json", "numbers.json"])
def test_a_file_that_cannot_be_written_fails_the_run_by_name(workspace: Workspace, name: str) -> None:
    with write_fails(name_contains=name), pytest.raises((StepFailed, OSError), match="No space left on device"):
        run(workspace)
    assert Store(workspace).verify() == []
    run(workspace)
    assert run(workspace) == []


def test_an_attempt_that_cannot_be_recorded_still_shows_the_error_of_the_step(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disk_full(after=0, under=workspace.root), pytest.raises((StepFailed, OSError)) as raised:
        run(workspace)
    notes = [note for error in (raised.value, raised.value.__cause__) for note in getattr(error, "__notes__", [])]
    assert "No space left on device" in str(raised.value)
    assert all("could not be recorded either" in note for note in notes)


@pytest.mark.parametrize("how", DAMAGES)
def test_every_file_torn_in_turn_is_quarantined_and_recomputed(workspace: Workspace, how: str) -> None:
    run(workspace)
    store = Store(workspace)
    plain = Runner(workspace, InlineExecutor).run(toy_graph(), "r").outputs
    count = 0
    for path in sorted(workspace.artifacts.rglob("*.*")):
        if not path.is_file():
            continue
        content = path.read_bytes()
        damage(path, how, at=len(content) // 2)
        if path.exists() and path.read_bytes() == content:
            continue
        findings = store.verify()
        assert {finding.entry for finding in findings} == {path.relative_to(workspace.artifacts).parts[0]}
        if how == "flip" and path.name != "manifest.json":
            # A flipped byte keeps the size: only the full hashing of verify sees it, which then has it moved away.
            store.quarantine_entry(findings[0].entry, findings[0].problem)
        observer = RecordingObserver()
        outputs = Runner(workspace, InlineExecutor, [observer]).run(toy_graph(), "r").outputs
        assert {n: {k: a.identity for k, a in o.items()} for n, o in outputs.items()} == {
            n: {k: a.identity for k, a in o.items()} for n, o in plain.items()
        }
        assert path.read_bytes() == content
        assert store.verify() == []
        count += 1
        assert len(list(workspace.quarantine.iterdir())) == count
    assert count >= 10


def test_two_runners_on_one_workspace_are_told_apart(workspace: Workspace) -> None:
    other = Workspace.open(workspace.root)
    with other.lock("run night"), pytest.raises(WorkspaceLocked, match="run night"):
        run(workspace)
    assert not (workspace.runs / "r").exists()
    assert len(run(workspace)) == 4
