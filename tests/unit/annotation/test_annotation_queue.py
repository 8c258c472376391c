"""Which episodes wait: those of the run that stopped, less those that have a label by now."""

import os

import pytest
from tests.support.synthetic import synthetic_draft

from data.annotation import write_waiting
from data.episodes import EpisodeStore
from pipelines.annotation_server.queue import find_queue, label_book
from recap.errors import ConfigError, UnknownName
from recap.types import Annotation, Outcome
from recap.workspace import Workspace


@pytest.fixture
def made(tmp_path):
    """A workspace of four episodes."""
    workspace = Workspace.open(tmp_path / "w")
    store = EpisodeStore(workspace.episodes)
    drafts = [synthetic_draft(seed, length=3, cameras=("cam_high",), height=8, width=8) for seed in range(4)]
    return workspace, [store.commit(draft) for draft in drafts]


def judge(workspace, episode_id, origin="human"):
    annotation = Annotation(episode_id=episode_id, outcome=Outcome.SUCCESS)
    label_book(workspace).record(annotation, by="ada", origin=origin)


def test_a_run_waits_for_what_it_named_and_nobody_judged(made):
    workspace, ids = made
    write_waiting(workspace.run_dir("night"), [ids[2], ids[0], ids[1]], node="1/annotate")
    queue = find_queue(workspace, "night")
    assert (queue.episodes, queue.run, queue.node) == ((ids[2], ids[0], ids[1]), "night", "1/annotate")
    assert queue.next_command == f"recap resume night --workspace {workspace.root}"
    judge(workspace, ids[2])
    judge(workspace, ids[0], origin="imported")
    assert find_queue(workspace, "night").episodes == (ids[1],)
    assert find_queue(workspace, None).run == "night"


def test_the_latest_waiting_run_is_the_default(made):
    workspace, ids = made
    for age, run in enumerate(("new", "old")):
        path = write_waiting(workspace.run_dir(run), ids[:1], node="1/annotate")
        os.utime(path, (1e9 - age, 1e9 - age))
    assert find_queue(workspace, None).run == "new"
    workspace.run_dir("done").mkdir()
    assert find_queue(workspace, "done").episodes == (), "a run without a note waits for nothing"


def test_all_means_every_episode_that_no_person_judged(made):
    workspace, ids = made
    judge(workspace, ids[0])
    judge(workspace, ids[1], origin="imported")
    queue = find_queue(workspace, None, everything=True)
    assert (queue.episodes, queue.run) == (tuple(sorted(ids[1:])), None)
    assert find_queue(workspace, None, everything=True, limit=2).episodes == tuple(sorted(ids[1:]))[:2]


def test_wrong_requests_are_refused_with_the_next_command(made):
    workspace, _ = made
    with pytest.raises(ConfigError, match=r"no run in .* waits for labels\n.*recap annotate --all"):
        find_queue(workspace, None)
    write_waiting(workspace.run_dir("night"), ["0" * 64], node="1/annotate")
    with pytest.raises(UnknownName, match="did you mean 'night'"):
        find_queue(workspace, "nigth")
    with pytest.raises(UnknownName, match="waits for episode 000000000000, which is not in the store"):
        find_queue(workspace, "night")
    with pytest.raises(ConfigError, match="expected one of them"):
        find_queue(workspace, "night", everything=True)
    with pytest.raises(ConfigError, match="--limit 0"):
        find_queue(workspace, None, everything=True, limit=0)
