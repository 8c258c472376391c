"""An import or an export dies anywhere: what was finished stays, nothing half-made looks whole, and it goes on."""

import json
import os
import signal
import subprocess
import sys

import pytest
from tests.support.synthetic_lerobot import synthetic_dataset

from data.episodes import EpisodeStore
from data.verify import repair, verify
from recap.errors import ConfigError

LENGTHS = (6, 4, 5, 3)
OUTCOMES = {"next.success": [True, False, True, False]}


def _recap(*arguments, workspace, fault=""):
    return subprocess.run(
        [sys.executable, "-m", "cli", "data", *map(str, arguments), "--workspace", str(workspace)],
        env={**os.environ, "RECAP_FAULT": fault, "RECAP_TASKS": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def _import(dataset, workspace, fault=""):
    arguments = ("import", dataset, "--task", "cubes", "--outcome-column", "next.success", "--json")
    done = _recap(*arguments, workspace=workspace, fault=fault)
    assert done.returncode == (-signal.SIGKILL if fault else 0), done.stderr
    return None if fault else json.loads(done.stdout)


def _files(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.zip"))}


@pytest.mark.slow
def test_killed_while_it_takes_episodes_over_it_goes_on_with_the_next(tmp_path):
    dataset = synthetic_dataset(tmp_path / "d", lengths=LENGTHS, episode_columns=OUTCOMES)
    whole = _import(dataset, tmp_path / "whole")
    assert whole["imported"] == 4
    workspace = tmp_path / "w"
    store, kept = EpisodeStore(workspace / "episodes"), 0
    for fault, durable in (
        ("episodes.before_fsync:1", 0),
        ("episodes.before_rename:2", 1),
        ("episodes.after_rename:1", 2),
        ("import.after_commit:1", 2),
        ("ledger.after_append:2", 3),
        ("import.after_outcomes:1", 4),
    ):
        _import(dataset, workspace, fault=f"{fault}:kill")
        assert len(store.ids()) >= max(durable, kept), f"{fault}: a finished episode was lost"
        kept = len(store.ids())
    last = _import(dataset, workspace)
    assert (last["imported"], last["known"]) == (0, 4)
    assert last["outcomes"] == whole["outcomes"] == {"failure": 2, "success": 2, "none": 0}
    assert _files(store.root) == _files(tmp_path / "whole" / "episodes")
    repair(store)
    assert list(verify(store)) == []


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    root = tmp_path_factory.mktemp("exported")
    dataset = synthetic_dataset(root / "d", episode_columns={"next.success": [True, False, True]})
    _import(dataset, root / "w")
    return root / "w"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["export.after_episode:2", "export.before_rename:1"])
def test_a_killed_export_leaves_nothing_that_looks_whole_and_is_made_again(tmp_path, workspace, fault):
    from data.lerobot_io.folder import open_folder

    to = tmp_path / "out"
    killed = _recap("export", "--to", to, "--images", workspace=workspace, fault=f"{fault}:kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not to.exists()
    assert all(path.name.startswith(".") for path in tmp_path.iterdir())
    with pytest.raises(ConfigError, match="does not exist"):
        open_folder(to)
    again = _recap("export", "--to", to, "--images", workspace=workspace)
    assert again.returncode == 0, again.stderr
    assert sorted(entry.length for entry in open_folder(to).episodes) == [4, 5, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_is_there_is_not_written_over(tmp_path, workspace):
    (tmp_path / "out").mkdir()
    refused = _recap("export", "--to", tmp_path / "out", workspace=workspace)
    assert refused.returncode == 2
    assert "out exists: an export makes a new folder" in refused.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_two_exports_side_by_side_do_not_mix(tmp_path, workspace):
    import fcntl

    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        refused = _recap("export", "--to", tmp_path / "out", workspace=workspace)
    finally:
        os.close(handle)
    assert refused.returncode == 2
    assert "another export is writing into" in refused.stderr
