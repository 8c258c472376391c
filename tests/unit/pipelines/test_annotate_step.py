"""The annotate step: it waits for labels, takes answers of people, and an answer that changes nothing costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.fakes import InlineExecutor
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.annotation import LabelBook, read_waiting
from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from pipelines.steps.annotate.step import AnnotateConfig
from recap.errors import WaitingForLabels
from recap.graph import Graph
from recap.runner import Runner, RunSummary
from recap.types import Annotation, Outcome
from recap.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


def _episodes(workspace: Workspace, *, truths: int, count: int = 3) -> list[str]:
    store = EpisodeStore(workspace.episodes)
    made = []
    for seed in range(count):
        draft = synthetic_draft(seed, length=12)
        made.append(store.commit(draft, synthetic_truth(draft) if seed < truths else None))
    return made


def _run(workspace: Workspace, ids: list[str], **settings: object) -> RunSummary:
    graph = Graph()
    experience = graph.constant("experience", EpisodeSet.of(ids).to_json())
    graph.add("1/annotate", "annotate", AnnotateConfig(**settings), experience=experience)  # type: ignore[arg-type]
    return Runner(workspace, InlineExecutor).run(graph, "r")


def test_missing_labels_stop_the_run_and_name_the_command(workspace: Workspace) -> None:
    ids = _episodes(workspace, truths=2)
    with pytest.raises(WaitingForLabels, match="1 of 3 episodes have no label") as stopped:
        _run(workspace, ids)
    assert "recap annotate" in stopped.value.hint
    waiting = read_waiting(workspace.run_dir("r"))
    assert waiting is not None
    assert waiting.episodes == (ids[2],)

    book = LabelBook(workspace.root / "labels")
    book.record(Annotation(episode_id=ids[2], outcome=Outcome.FAILURE), by="me")
    done = _run(workspace, ids)
    said = done.outputs["1/annotate"]["annotations"].json()
    assert said["annotations"][ids[2]]["outcome"] == "failure"
    assert read_waiting(workspace.run_dir("r")) is None


def test_unlabelled_episodes_can_be_left_out_and_are_named(workspace: Workspace) -> None:
    ids = _episodes(workspace, truths=1)
    said = _run(workspace, ids, unlabelled="skip").outputs["1/annotate"]["annotations"].json()
    assert sorted(said["skipped"]) == sorted(ids[1:])
    assert list(said["annotations"]) == [ids[0]]


def test_a_person_who_agrees_changes_nothing_and_one_who_does_not_is_heard(workspace: Workspace) -> None:
    ids = _episodes(workspace, truths=3)
    first = _run(workspace, ids)
    before = first.outputs["1/annotate"]["annotations"]
    assert _run(workspace, ids).executed == []

    book = LabelBook(workspace.root / "labels")
    store = EpisodeStore(workspace.episodes)
    truth = store.truth(ids[0])
    kept = before.json()["annotations"][ids[0]]
    agrees = Annotation(
        episode_id=ids[0],
        outcome=truth.outcome,
        key_frames=tuple(_key_frame(*mark) for mark in kept["key_frames"]),
    )
    book.record(agrees, by="me")
    assert _run(workspace, ids).outputs["1/annotate"]["annotations"].identity == before.identity

    # One key, no marks: the detector's marks of the same verdict stand.
    book.record(Annotation(episode_id=ids[1], outcome=store.truth(ids[1]).outcome), by="me")
    again = _run(workspace, ids)
    assert again.executed == ["1/annotate"]
    assert again.outputs["1/annotate"]["annotations"].identity == before.identity
    assert _run(workspace, ids).executed == []

    other = Outcome.FAILURE if truth.outcome is Outcome.SUCCESS else Outcome.SUCCESS
    choice = book.record(Annotation(episode_id=ids[0], outcome=other), by="me")
    changed = _run(workspace, ids)
    assert changed.executed == ["1/annotate"]
    after = changed.outputs["1/annotate"]["annotations"]
    assert after.json()["annotations"][ids[0]]["outcome"] == other.value
    book.undo(choice, by="me")
    assert _run(workspace, ids).outputs["1/annotate"]["annotations"].identity == before.identity


def _key_frame(t: int, kind: int, text: str = ""):  # type: ignore[no-untyped-def]
    from recap.types import KeyFrame

    return KeyFrame(t=t, kind=kind, text=text)
