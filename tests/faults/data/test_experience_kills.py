"""Processes die in the middle of a write: nothing half-written is ever believed, nothing finished is ever lost."""

import fcntl
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.episodes import EpisodeStore
from data.framecache import FrameCache
from data.verify import Kind, repair, verify

COMMIT = """
import sys
from data.episodes import EpisodeStore
from tests.support.synthetic import synthetic_draft, synthetic_truth
store = EpisodeStore(sys.argv[1])
for seed in range(int(sys.argv[2]), int(sys.argv[3])):
    draft = synthetic_draft(seed)
    print(store.commit(draft, synthetic_truth(draft)), flush=True)
"""
BUILD = """
import os, sys
import data.shards
from data.episodes import EpisodeStore
from data.framecache import FrameCache
store = EpisodeStore(sys.argv[1])
data.shards.COMMIT_SECONDS = float(os.environ["COMMIT_SECONDS"])
print("go", flush=True)
print(FrameCache(sys.argv[2]).view(store, store.ids()).num_frames)
"""


def _start(code, *args, fault=None):
    environment = {k: v for k, v in os.environ.items() if k != "RECAP_FAULT"} | (
        {"RECAP_FAULT": fault} if fault else {}
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _run(code, *args, fault=None):
    process = _start(code, *args, fault=fault)
    out, err = process.communicate(timeout=120)
    assert process.returncode == (-signal.SIGKILL if fault else 0), err
    return out.split()


def _expected(seeds):
    from data.episode_file import header_of

    return tuple(sorted(header_of(synthetic_draft(seed)).id for seed in seeds))


def _assert_good(store, seeds):
    """Exactly these episodes, each whole, with its truth."""
    assert store.ids() == _expected(seeds)
    assert [row.id for row in store.rows()] == list(store.ids())
    for episode_id in store.ids():
        episode = store.load(episode_id)
        draft = synthetic_draft(episode.start_seed)
        for camera in draft.frames:
            np.testing.assert_array_equal(episode.frames[camera], draft.frames[camera])
        assert store.truth(episode_id).metrics["error_m"] == synthetic_truth(draft).metrics["error_m"]


@pytest.mark.parametrize(
    ("point", "kept", "leftovers"),
    [
        ("before_fsync", 2, {Kind.ORPHAN_TMP, Kind.ORPHAN_TRUTH}),
        pytest.param("before_rename", 2, {Kind.ORPHAN_TMP, Kind.ORPHAN_TRUTH}, marks=pytest.mark.slow),
        ("after_rename", 3, set()),
    ],
)
def test_kill_in_a_commit(tmp_path, point, kept, leftovers):
    store = EpisodeStore(tmp_path)
    printed = _run(COMMIT, tmp_path, 0, 5, fault=f"episodes.{point}:3:kill")
    assert len(printed) == 2
    _assert_good(store, range(kept))
    assert {finding.kind for finding in verify(store)} == leftovers
    # The same command again goes on where it was, before any repair...
    _run(COMMIT, tmp_path, 0, 5)
    _assert_good(store, range(5))
    # ...and a repair removes only what the dead process left.
    repair(store)
    assert list(verify(store)) == []
    _assert_good(store, range(5))


def test_kill_at_any_moment(tmp_path):
    """Kills without a fault point, wherever the process happens to be."""
    store = EpisodeStore(tmp_path)
    done = set()
    for attempt in range(4):
        process = _start(COMMIT, tmp_path, 0, 200)
        printed = [process.stdout.readline().strip() for _ in range(attempt * 3 + 1)]
        time.sleep(0.003 * attempt)
        process.kill()
        rest, _ = process.communicate(timeout=60)
        done |= {line for line in (*printed, *rest.split()) if len(line) == 64}
        assert done <= set(store.ids())
        assert {f.kind for f in verify(store)} <= {Kind.ORPHAN_TMP, Kind.ORPHAN_TRUTH}
    _assert_good(store, range(len(store.ids())))


def test_two_processes_commit_the_same_and_other_episodes_at_once(tmp_path):
    processes = [_start(COMMIT, tmp_path, 0, 12), _start(COMMIT, tmp_path, 6, 18)]
    store = EpisodeStore(tmp_path)
    while any(process.poll() is None for process in processes):
        # Reading, verifying and repairing beside them neither fails nor harms what is being written.
        store.rows()
        repair(store)
        time.sleep(0.01)
    for process in processes:
        _, err = process.communicate()
        assert process.returncode == 0, err
    _assert_good(store, range(18))
    assert list(verify(store)) == []
    assert not store.quarantine.exists()


def test_a_file_taken_for_abandoned_before_its_lock_is_made_again(tmp_path, monkeypatch):
    """A repair that comes between the making of a temporary file and its lock loses nobody's commit."""
    store = EpisodeStore(tmp_path)
    draft = synthetic_draft(0)
    lock, repaired = fcntl.flock, []

    def beside(handle, how):
        if how == fcntl.LOCK_EX and not repaired:
            repaired.extend(repair(store))
        lock(handle, how)

    monkeypatch.setattr("recap.files.fcntl.flock", beside)
    store.commit(draft, synthetic_truth(draft))
    assert [one.action for one in repaired] == ["removed: it was empty"]
    _assert_good(store, [0])
    assert not store.quarantine.exists()


def test_repair_leaves_a_commit_in_flight_alone(tmp_path, monkeypatch):
    store = EpisodeStore(tmp_path)
    draft = synthetic_draft(0)
    seen = []

    def halfway(name):
        if name == "episodes.before_rename":
            seen.append([*verify(store), *repair(store)])

    monkeypatch.setattr("recap.faults.point", halfway)
    store.commit(draft, synthetic_truth(draft))
    assert seen == [[]]
    _assert_good(store, [0])


def _assert_view(view, store):
    """The view holds what the store holds, byte by byte."""
    assert view.verify() == []
    for episode_id in view.episode_ids:
        episode, rows = store.load(episode_id), view.rows_of(episode_id)
        for c, camera in enumerate(view.cameras):
            np.testing.assert_array_equal(view.images[rows][:, c], episode.frames[camera])
        np.testing.assert_array_equal(view.action[rows], episode.action)


def test_kill_in_a_cache_build(tmp_path, monkeypatch):
    store = EpisodeStore(tmp_path / "episodes")
    for seed in range(3):
        store.commit(synthetic_draft(seed))
    monkeypatch.setenv("COMMIT_SECONDS", "0")
    cache = tmp_path / "cache"
    # One commit per episode: the second dies with its bytes written and no line that says so.
    _run(BUILD, store.root, cache, fault="framecache.before_commit:2:kill")
    built = []
    view = FrameCache(cache).view(store, store.ids(), progress=lambda *done: built.append(done))
    assert built == [(1, 2), (2, 2)]
    _assert_view(view, store)


def test_kill_a_cache_build_at_any_moment(tmp_path, monkeypatch):
    store = EpisodeStore(tmp_path / "episodes")
    for seed in range(30):
        store.commit(synthetic_draft(seed))
    monkeypatch.setenv("COMMIT_SECONDS", "0.01")
    for attempt in range(4):
        process = _start(BUILD, store.root, tmp_path / "cache")
        process.stdout.readline()
        time.sleep(0.03 * attempt)
        process.kill()
        process.communicate(timeout=60)
        some = store.ids()[attempt::5]
        _assert_view(FrameCache(tmp_path / "cache").view(store, some), store)
    _assert_view(FrameCache(tmp_path / "cache").view(store, store.ids()), store)


def test_processes_that_build_the_same_share_the_work(tmp_path, monkeypatch):
    store = EpisodeStore(tmp_path / "episodes")
    for seed in range(40):
        store.commit(synthetic_draft(seed))
    monkeypatch.setenv("COMMIT_SECONDS", "0.01")
    processes = [_start(BUILD, store.root, tmp_path / "cache") for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out.split() == ["go", "480"]
    view = FrameCache(tmp_path / "cache").view(store, store.ids(), progress=lambda *done: pytest.fail("built again"))
    _assert_view(view, store)
    # Every shard was made once: the files hold nothing else.
    (images,) = (tmp_path / "cache").glob("*/*.images")
    assert images.stat().st_size == np.prod(view.images.shape)


def test_a_failed_build_leaves_no_shard(tmp_path, monkeypatch):
    store = EpisodeStore(tmp_path / "episodes")
    store.commit(synthetic_draft(0))
    monkeypatch.setenv("RECAP_FAULT", "framecache.before_commit:1:raise")
    monkeypatch.setattr("recap.faults._seen", {})
    with pytest.raises(RuntimeError, match="fault injected"):
        FrameCache(tmp_path / "cache").view(store, store.ids())
    assert not list((tmp_path / "cache").glob("*/*.index"))
    _assert_view(FrameCache(tmp_path / "cache").view(store, store.ids()), store)


def test_a_failed_commit_leaves_no_leftover(tmp_path, monkeypatch):
    store = EpisodeStore(tmp_path)
    monkeypatch.setenv("RECAP_FAULT", "episodes.before_rename:1:raise")
    monkeypatch.setattr("recap.faults._seen", {})
    with pytest.raises(RuntimeError, match="fault injected"):
        store.commit(synthetic_draft(0))
    assert list(verify(store)) == []
    store.commit(synthetic_draft(0), synthetic_truth(synthetic_draft(0)))
    _assert_good(store, [0])
