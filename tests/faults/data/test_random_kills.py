"""Twenty kills at random moments of an import and of an export: at most the episode in flight is lost."""

import os
import random
import subprocess
import sys
import time

import pytest
from tests.support.synthetic_lerobot import synthetic_dataset

from data.episodes import EpisodeStore
from data.lerobot_io.folder import open_folder
from data.verify import Kind, repair, verify

KILLS = 20
LENGTHS = tuple(4 + index % 5 for index in range(40))
_LEFT_BY_THE_DEAD = {Kind.ORPHAN_TMP, Kind.ORPHAN_TRUTH}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def _start(*arguments, workspace):
    environment = {name: value for name, value in os.environ.items() if name != "RECAP_FAULT"}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "data", *map(str, arguments), "--workspace", str(workspace)],
        env=environment | {"RECAP_TASKS": "", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _finish(process):
    _, err = process.communicate(timeout=280)
    assert process.returncode == 0, err


def _files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _stored(root):
    return {name: content for name, content in _files(root).items() if name.endswith(".zip")}


def test_twenty_kills_of_an_import_lose_no_finished_episode(tmp_path):
    rng = random.Random(7)
    dataset = synthetic_dataset(tmp_path / "d", lengths=LENGTHS)
    arguments = ("import", dataset, "--task", "cubes")
    _finish(_start(*arguments, workspace=tmp_path / "whole"))
    whole = _stored(tmp_path / "whole" / "episodes")
    workspace = tmp_path / "w"
    store = EpisodeStore(workspace / "episodes")
    hits = 0
    for kill in range(KILLS):
        process = _start(*arguments, workspace=workspace)
        before = set(store.ids())
        # Half of them once it has come one to three episodes further, the others at any time after it was started.
        wanted = len(before) + rng.randint(1, 3) if kill % 2 else None
        deadline = time.monotonic() + (60 if wanted else rng.uniform(0, 4))
        while process.poll() is None and time.monotonic() < deadline:
            if wanted and len(store.ids()) >= min(wanted, len(LENGTHS)):
                break
            time.sleep(0.002)
        seen = set(store.ids())  # of a running import: committed and therefore there for good
        process.kill()
        process.communicate(timeout=60)
        after = set(store.ids())
        hits += before < after
        assert before <= seen <= after, "a finished episode was lost"
        assert {finding.kind for finding in verify(store)} <= _LEFT_BY_THE_DEAD
        if len(after) == len(LENGTHS):  # all in: the next kills begin anew
            assert _stored(store.root) == whole
            workspace = tmp_path / f"w{kill}"
            store = EpisodeStore(workspace / "episodes")
    assert hits >= KILLS // 4, "kills that hit nothing prove nothing"
    _finish(_start(*arguments, workspace=workspace))
    assert _stored(store.root) == whole
    repair(store)
    assert list(verify(store)) == []


def test_twenty_kills_of_an_export_leave_a_whole_folder_or_none(tmp_path):
    rng = random.Random(8)
    workspace = tmp_path / "w"
    dataset = synthetic_dataset(tmp_path / "d", lengths=LENGTHS[:12])
    _finish(_start("import", dataset, "--task", "cubes", workspace=workspace))
    stored = _files(workspace / "episodes")
    began = time.monotonic()
    _finish(_start("export", "--to", tmp_path / "whole", "--images", workspace=workspace))
    seconds = time.monotonic() - began
    lengths = sorted(entry.length for entry in open_folder(tmp_path / "whole").episodes)
    target = tmp_path / "exports" / "out"
    target.parent.mkdir()
    killed = 0
    for _ in range(KILLS):
        process = _start("export", "--to", target, "--images", workspace=workspace)
        time.sleep(rng.uniform(0.3, 1.0) * seconds)
        process.kill()
        process.communicate(timeout=60)
        killed += process.returncode != 0
        if target.exists():
            assert sorted(entry.length for entry in open_folder(target).episodes) == lengths
            target.rename(tmp_path / "exports" / f"done-{killed}-{rng.random()}")
        assert _files(workspace / "episodes") == stored, "an export only reads"
    assert killed >= KILLS // 2, "kills that came too late prove nothing"
    _finish(_start("export", "--to", target, "--images", workspace=workspace))
    assert sorted(entry.length for entry in open_folder(target).episodes) == lengths
    assert not [path.name for path in target.parent.iterdir() if path.name.startswith(".")], "what the dead left"
