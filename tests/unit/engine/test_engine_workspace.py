"""The workspace: made once, refused when foreign or newer, written by one process at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recap.errors import ConfigError, WorkspaceLocked
from recap.files import write_atomic
from recap.workspace import Workspace, check_name

HOLD = """
import sys, time
from recap.workspace import Workspace
with Workspace.open(sys.argv[1], create=False).lock("run nightly"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_open_makes_the_workspace_once(tmp_path: Path) -> None:
    first = Workspace.open(tmp_path / "runs")
    assert json.loads((first.root / "workspace.json").read_bytes()) == {"format": 1}
    assert Workspace.open(tmp_path / "runs", create=False).root == first.root
    for folder in (first.artifacts, first.scratch, first.episodes, first.cache, first.runs, first.quarantine):
        assert folder.is_dir()


def test_open_refuses_what_is_no_workspace(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no workspace at"):
        Workspace.open(tmp_path / "none", create=False)
    assert not (tmp_path / "none").exists()
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ConfigError, match="holds files and is not a workspace"):
        Workspace.open(tmp_path)


def test_a_workspace_is_made_around_task_files_and_around_nothing_else(tmp_path: Path) -> None:
    for name in ("desk.yaml", "shirt.json", ".desk.yaml.swp"):
        (tmp_path / "tasks").mkdir(exist_ok=True)
        (tmp_path / "tasks" / name).write_text("id: desk")
    opened = Workspace.open(tmp_path)
    assert (opened.root / "tasks" / "desk.yaml").read_text() == "id: desk"
    assert opened.episodes.is_dir()
    for number, other in enumerate(("tasks/celery.py", "tasks/more/desk.yaml", "desk.yaml", "tasks")):
        root = tmp_path / "others" / str(number)
        (root / other).parent.mkdir(parents=True)
        (root / other).write_text("")
        before = sorted(root.rglob("*"))
        with pytest.raises(ConfigError, match=rf"not a workspace \({other.removesuffix('/desk.yaml')}\)") as caught:
            Workspace.open(root)
        assert "one with nothing but tasks/NAME.yaml" in caught.value.message
        assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    ("marker", "expected"), [('{"format": 2}', "format 2, this recap knows"), ("{", "not readable")]
)
def test_open_refuses_a_newer_or_torn_marker(tmp_path: Path, marker: str, expected: str) -> None:
    (tmp_path / "workspace.json").write_text(marker)
    with pytest.raises(ConfigError, match=expected):
        Workspace.open(tmp_path)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "a\\b", "", ".hidden", "a..b", "-x", "a b", "a\n", "x" * 101, "\u00e9"]
)
def test_names_that_could_leave_the_workspace_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="run name"):
        Workspace.open(tmp_path / "w").run_dir(name)


def test_plain_names_are_kept() -> None:
    assert check_name("run", "night-2026.11_a") == "night-2026.11_a"


def test_the_lock_is_one_writer_and_names_the_holder(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(workspace.root)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WorkspaceLocked) as raised, workspace.lock("x"):
            pytest.fail("two writers at once")
        assert f"process {holder.pid} of" in raised.value.message
        assert "run nightly" in raised.value.message
        assert "recap status" in raised.value.hint
    finally:
        holder.kill()
        holder.communicate()
    with workspace.lock("after the kill"):
        pass


def test_the_lock_may_be_nested_on_one_object_only(tmp_path: Path) -> None:
    workspace, other = Workspace.open(tmp_path / "w"), Workspace.open(tmp_path / "w")
    with workspace.lock("outer"):
        with workspace.lock("inner"):
            pass
        with pytest.raises(WorkspaceLocked, match=f"process {os.getpid()} "), other.lock("second"):
            pytest.fail("two writers at once")
    with other.lock("now free"):
        pass


def test_a_lock_kept_by_a_child_of_a_dead_process_says_so(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    code = """
import os, sys, time
from recap.workspace import Workspace
with Workspace.open(sys.argv[1]).lock("run"):
    child = os.fork()
    if child == 0:
        time.sleep(60)
    print(child, flush=True)
    os._exit(0)
"""
    made = subprocess.Popen([sys.executable, "-c", code, str(workspace.root)], stdout=subprocess.PIPE, text=True)
    assert made.stdout is not None
    child = int(made.stdout.readline())
    try:
        made.wait(timeout=10)
        with (
            pytest.raises(WorkspaceLocked, match="that process has ended, but one that it started"),
            workspace.lock("x"),
        ):
            pytest.fail("two writers at once")
    finally:
        os.kill(child, 9)
        made.stdout.close()
    for _ in range(100):
        try:
            with workspace.lock("x"):
                return
        except WorkspaceLocked:
            time.sleep(0.05)
    pytest.fail("the lock outlived every process")


def test_write_atomic_leaves_old_content_and_no_litter_on_failure(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    write_atomic(path, b"old")
    with pytest.raises(TypeError):
        write_atomic(path, "text, not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["f.json"]
