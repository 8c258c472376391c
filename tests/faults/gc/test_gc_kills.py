"""kill -9 in the middle of `recap gc --delete` and of naming a champion: whole or gone, the old one or the new one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.fakes import InlineExecutor
from tests.support.faults import disk_full, run_python, write_fails
from toy_steps import toy_graph

from recap.champion import Champion, champion_artifact, champion_path, read_champion, write_champion
from recap.files import TMP_PREFIX
from recap.gc import find_garbage, remove_garbage
from recap.provenance import read_run
from recap.runner import Runner
from recap.store import Store
from recap.workspace import Workspace

GC = """
import sys
from recap.gc import remove_garbage
from recap.workspace import Workspace
remove_garbage(Workspace.open(sys.argv[1]), keep=0)
"""
# Dies at a number of deletions inside one tree: rmtree is not atomic, which is what the trash is for.
GC_HALF = """
import os, signal, sys
from recap.gc import remove_garbage
from recap.workspace import Workspace
left, real = int(sys.argv[2]), os.unlink
def unlink(*args, **kwargs):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*args, **kwargs)
os.unlink = unlink
remove_garbage(Workspace.open(sys.argv[1]), keep=0)
"""
NAME = """
import json, sys
from recap.champion import Champion, write_champion
from recap.workspace import Workspace
write_champion(Workspace.open(sys.argv[1]), Champion(**json.loads(sys.argv[2])))
"""


def littered(root: Path) -> tuple[Workspace, set[str]]:
    """A workspace whose run replaced results, with scratch, caches and quarantine; and what it still needs."""
    workspace = Workspace.open(root)
    for factor in (2.0, 3.0, 5.0):
        Runner(workspace, InlineExecutor).run(toy_graph(factor=factor), "r")
    for folder in (workspace.scratch / f"scale-{'0' * 16}", *(workspace.cache / name for name in "abc")):
        folder.mkdir()
        for name in ("one", "two"):
            (folder / name).write_bytes(b"x" * 100)
    record = read_run(workspace, "r")
    assert record is not None
    needed = {f"{entry['step']}-{entry['key'][:16]}" for entry in record["nodes"].values()}
    return workspace, needed


def check_whole(workspace: Workspace, needed: set[str]) -> None:
    """Whatever is there is whole, what is needed is there, and the run executes nothing."""
    store = Store(workspace)
    assert needed <= set(store.entries())
    assert store.verify() == []


@pytest.mark.parametrize("point", ["gc.before_rename", "gc.after_rename", "gc.after_remove"])
@pytest.mark.parametrize("passing", [1, 3])
def test_a_killed_removal_leaves_things_whole_or_gone(tmp_path: Path, point: str, passing: int) -> None:
    workspace, needed = littered(tmp_path / "w")
    listed = {item.path for item in find_garbage(workspace, keep=0).items}
    assert len(listed) >= 6
    assert run_python(GC, str(workspace.root), fault=f"{point}:{passing}:kill") == -9
    check_whole(workspace, needed)
    left = find_garbage(workspace, keep=0)
    in_place = {item.path for item in left.items if item.kind != "trash"}
    assert in_place < listed or (point, passing) == ("gc.before_rename", 1)
    assert len(in_place) == len(listed) - (passing - 1 if point == "gc.before_rename" else passing)
    assert len([item for item in left.items if item.kind == "trash"]) == (point == "gc.after_rename")
    remove_garbage(workspace, keep=0)
    assert find_garbage(workspace, keep=0).items == ()
    assert set(Store(workspace).entries()) == needed
    assert Runner(workspace, InlineExecutor).run(toy_graph(factor=5.0), "r").executed == []


@pytest.mark.parametrize("files", [0, 1, 3, 6])
def test_a_kill_between_two_files_of_one_thing_never_leaves_half_of_it_in_place(tmp_path: Path, files: int) -> None:
    workspace, needed = littered(tmp_path / "w")
    assert run_python(GC_HALF, str(workspace.root), str(files), fault="none:1:kill") == -9
    check_whole(workspace, needed)
    for folder in (workspace.cache, workspace.scratch):
        assert all(len(list(path.iterdir())) == 2 for path in folder.iterdir() if path.name[0] != ".")
    assert any(item.kind == "trash" for item in find_garbage(workspace, keep=0).items)
    remove_garbage(workspace, keep=0)
    assert find_garbage(workspace, keep=0).items == ()
    check_whole(workspace, needed)


def two_champions(workspace: Workspace) -> tuple[Champion, Champion]:
    found = []
    for number, factor in enumerate((2.0, 3.0)):
        model = Runner(workspace, InlineExecutor).run(toy_graph(factor=factor), "r").outputs["0/scale"]["model"]
        record = read_run(workspace, "r")
        assert record is not None
        found.append(
            Champion(
                run="r",
                node=f"{number}/promote",
                step="scale",
                key=record["nodes"]["0/scale"]["key"],
                output="model",
                identity=model.identity,
                policy_id=f"p{number}",
                since=float(number),
                verdict="promoted",
                reason="in a test",
            )
        )
    return found[0], found[1]


@pytest.mark.parametrize(("point", "new"), [("champion.before_write", False), ("champion.before_sync", True)])
def test_a_kill_while_naming_a_champion_leaves_the_old_or_the_new(tmp_path: Path, point: str, new: bool) -> None:
    import json
    from dataclasses import asdict

    workspace = Workspace.open(tmp_path / "w")
    first, second = two_champions(workspace)
    write_champion(workspace, first)
    assert run_python(NAME, str(workspace.root), json.dumps(asdict(second)), fault=f"{point}:1:kill") == -9
    found = read_champion(workspace, "r")
    assert found == (second if new else first)
    champion_artifact(workspace, found)
    assert write_champion(workspace, second) == second
    assert read_champion(workspace, "r") == second


def test_a_disk_that_refuses_leaves_the_old_champion(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    first, second = two_champions(workspace)
    write_champion(workspace, first)
    folder = champion_path(workspace, "r").parent
    with disk_full(after=0, under=folder), pytest.raises(OSError, match="No space"):
        write_champion(workspace, second)
    assert read_champion(workspace, "r") == first
    with write_fails(name_contains=TMP_PREFIX), pytest.raises(OSError, match="No space"):
        write_champion(workspace, second)
    assert read_champion(workspace, "r") == first
    # The history may hold the champion of today already; whoever reads it leaves that out.
    assert sorted(path.name for path in folder.iterdir()) == ["r.json", "r.jsonl"]
