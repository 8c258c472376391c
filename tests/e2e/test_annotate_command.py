"""`recap annotate` as typed: keys through the page's own requests, a kill in between, an import, a list."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import pytest
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.annotation import LabelBook, gather_annotations, write_waiting
from data.episodes import EpisodeStore
from recap.types import KeyFrame, Outcome
from recap.workspace import Workspace

RECAP = [sys.executable, "-c", "from cli.main import main; main()", "annotate"]


@pytest.fixture
def waiting(tmp_path):
    """A workspace of three episodes that the run `night` waits for."""
    workspace = Workspace.open(tmp_path / "w")
    store = EpisodeStore(workspace.episodes)
    drafts = [synthetic_draft(seed, length=20) for seed in range(3)]
    ids = [store.commit(draft, synthetic_truth(draft, Outcome.SUCCESS)) for draft in drafts]
    write_waiting(workspace.run_dir("night"), ids, node="1/annotate")
    return workspace, store, ids


def typed(workspace, *arguments, expect=0):
    done = subprocess.run(
        [*RECAP, *arguments, "--workspace", str(workspace.root)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return done


@contextmanager
def page(workspace, *arguments, fault=None):
    """The running command and the address that it printed."""
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(
        [*RECAP, *arguments, "--workspace", str(workspace.root), "--no-browser", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment | ({"RECAP_FAULT": fault} if fault else {}),
        # A shell that runs the tests in the background has them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        address = None
        while address is None:
            line = process.stderr.readline()
            assert line, "the command ended before it printed an address"
            address = re.search(r"http://127\.0\.0\.1:\d+/\S+/", line)
        yield process, address[0]
    finally:
        process.kill()
        process.communicate()


def ask(url, path, body=None):
    request = urllib.request.Request(url + path, headers={"Content-Type": "application/json"})
    if body is not None:
        request.data = json.dumps(body).encode()
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.loads(reply.read())


def answer(url, episode_id, outcome, key_frames=()):
    body = {"episode": episode_id, "outcome": outcome, "key_frames": list(key_frames), "note": ""}
    return ask(url, "api/label", body)


def test_three_episodes_are_judged_and_the_command_ends_by_itself(waiting):
    workspace, store, ids = waiting
    with page(workspace, "night") as (process, url):
        state = ask(url, "api/state")
        assert (state["total"], state["current"], state["next"]) == (3, ids[0], ids[1])
        for episode_id in ids:
            about = ask(url, f"api/episode/{episode_id}")
            with urllib.request.urlopen(f"{url}api/film/{episode_id}/0.jpg", timeout=20) as film:
                assert len(film.read()) > 1000
            assert about["prompt"] == "fold the shirt"
        answer(url, ids[0], "failure")
        assert ask(url, "api/undo", {})["current"] == ids[0]
        answer(url, ids[0], "success", [[3, 1, ""], [9, -1, ""]])
        answer(url, ids[1], "failure")
        ask(url, "api/skip", {"episode": ids[2]})
        ask(url, "api/undo", {})
        state = answer(url, ids[2], "aborted")
        assert (state["current"], state["next_command"]) == (None, f"recap resume night --workspace {workspace.root}")
        ask(url, "api/finish", {})
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    summary = json.loads(out)
    assert (summary["labelled"], summary["success"], summary["failure"], summary["aborted"]) == (3, 1, 1, 1)
    found = gather_annotations(store, ids, label_book=LabelBook(workspace.root / "labels"))
    assert [found.outcome_of(i).value for i in ids] == ["success", "failure", "aborted"]
    assert found.by_id[ids[0]].key_frames == (KeyFrame(t=3, kind=1), KeyFrame(t=9, kind=-1))
    assert found.counts["human"] == 3
    assert "waits for no label" in typed(workspace, "night", "--no-browser").stdout


def test_a_killed_sitting_loses_nothing_that_was_acknowledged(waiting):
    workspace, _, ids = waiting
    with page(workspace, fault="labels.before_fsync:2:kill") as (process, url):
        answer(url, ids[0], "success")
        with pytest.raises(OSError, match=r"closed|reset|refused"):
            answer(url, ids[1], "failure")
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
    kept = LabelBook(workspace.root / "labels").annotations()
    assert kept[ids[0]].outcome is Outcome.SUCCESS
    assert set(kept) <= {ids[0], ids[1]}, "the second was not acknowledged: there whole, or not at all"
    listed = json.loads(typed(workspace, "--list", "--json").stdout)
    assert listed["episodes"] == [i for i in ids if i not in kept]
    with page(workspace) as (process, url):
        assert ask(url, "api/state")["current"] == listed["episodes"][0]


def test_ctrl_c_keeps_the_answers(waiting):
    workspace, _, ids = waiting
    with page(workspace) as (process, url):
        answer(url, ids[0], "success")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "nothing finished is lost. To go on:" in err
    assert "annotate --workspace" in err
    assert set(LabelBook(workspace.root / "labels").annotations()) == {ids[0]}


def test_outcomes_are_imported_whole_or_not_at_all(waiting, tmp_path):
    workspace, store, ids = waiting
    path = tmp_path / "outcomes.csv"
    path.write_text(f"episode_id,outcome\n{ids[0]},failure\n{ids[1][:12]},success\nzz,success\n")
    refused = typed(workspace, "--from", str(path), expect=2)
    assert "line 4: no episode begins with 'zz'" in refused.stderr
    assert not (workspace.root / "labels").exists()
    path.write_text(f"episode_id,outcome\n{ids[0]},failure\n{ids[1][:12]},success\n")
    assert "2 imported, 0 known already" in typed(workspace, "--from", str(path)).stdout
    assert json.loads(typed(workspace, "--from", str(path), "--json").stdout)["known"] == 2
    assert len(LabelBook(workspace.root / "labels").entries()) == 1, "the same file twice is imported once"
    found = gather_annotations(store, ids, label_book=LabelBook(workspace.root / "labels"))
    assert found.counts == {"human": 0, "imported": 2, "detector": 1}
    listing = typed(workspace, "--list").stdout
    assert ids[2] in listing
    assert "1 episodes wait (run 'night')" in listing
    assert typed(workspace, "--from", str(path), "--all", expect=2).stderr.startswith("error: --from goes alone")
