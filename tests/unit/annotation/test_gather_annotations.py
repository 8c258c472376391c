"""One annotation per episode from the first source that has one; absent stays absent."""

from pathlib import Path

import pytest
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.annotation import (
    Annotations,
    LabelBook,
    Waiting,
    annotate_command,
    clear_waiting,
    detector_annotations,
    gather_annotations,
    read_waiting,
    write_waiting,
)
from data.episodes import EpisodeStore
from recap.errors import ConfigError, UnknownName
from recap.types import Annotation, KeyFrame, Outcome


@pytest.fixture
def made(tmp_path):
    """A store of four episodes, the last two without truth, and a book."""
    store = EpisodeStore(tmp_path / "episodes")
    ids = []
    for seed, outcome in enumerate((Outcome.SUCCESS, Outcome.FAILURE, None, None)):
        draft = synthetic_draft(seed, length=8, cameras=("cam_high",), height=8, width=8)
        ids.append(store.commit(draft, synthetic_truth(draft, outcome) if outcome else None))
    return store, ids, LabelBook(tmp_path / "labels")


def test_the_detector_gives_its_verdict_and_its_milestones_and_errors(made):
    store, ids, _ = made
    found = detector_annotations(store, ids)
    # The synthetic truth has a neutral event at step 0: no key frame.
    assert found == {
        ids[0]: Annotation(episode_id=ids[0], outcome=Outcome.SUCCESS, key_frames=(KeyFrame(t=7, kind=1, text="end"),)),
        ids[1]: Annotation(episode_id=ids[1], outcome=Outcome.FAILURE, key_frames=(KeyFrame(t=7, kind=1, text="end"),)),
    }


def test_precedence_is_the_order_of_sources(made):
    store, ids, book = made
    book.record(Annotation(episode_id=ids[0], outcome=Outcome.ABORTED), by="ada")
    imported = {i: Annotation(episode_id=i, outcome=Outcome.FAILURE, note="file") for i in (ids[0], ids[2])}
    usual = gather_annotations(store, ids, label_book=book, imported=imported)
    assert usual.counts == {"human": 1, "imported": 1, "detector": 1}
    assert usual.missing == (ids[3],)
    assert [usual.outcome_of(i).value for i in ids[:3]] == ["aborted", "failure", "failure"]
    assert usual.by_id[ids[0]].key_frames == (), "the marks of another verdict are not taken over"
    other = gather_annotations(store, ids, sources=("detector", "human"), label_book=book)
    assert other.counts == {"human": 0, "imported": 0, "detector": 2}
    assert other.outcome_of(ids[0]) is Outcome.SUCCESS
    assert other.missing == tuple(sorted(ids[2:]))


def test_a_verdict_without_marks_takes_those_of_a_later_source_that_agrees(made):
    store, ids, book = made
    marked = Annotation(episode_id=ids[1], outcome=Outcome.FAILURE, key_frames=(KeyFrame(t=2, kind=-1, text="slip"),))
    book.record_all([Annotation(episode_id=ids[0], outcome=Outcome.SUCCESS, note="seen"), marked], by="ada")
    found = gather_annotations(store, ids, label_book=book)
    assert found.by_id[ids[0]] == Annotation(
        episode_id=ids[0], outcome=Outcome.SUCCESS, key_frames=(KeyFrame(t=7, kind=1, text="end"),), note="seen"
    )
    assert found.by_id[ids[1]] == marked, "marks that a person gave are not added to"
    assert found.counts == {"human": 2, "imported": 0, "detector": 0}


def test_an_explicit_import_comes_before_one_in_the_book(made):
    store, ids, book = made
    book.record_all([Annotation(episode_id=i, outcome=Outcome.SUCCESS) for i in ids[2:]], by="ada", origin="imported")
    imported = {ids[2]: Annotation(episode_id=ids[2], outcome=Outcome.FAILURE)}
    found = gather_annotations(store, ids[2:], sources=("imported",), label_book=book, imported=imported)
    assert [found.outcome_of(i).value for i in ids[2:]] == ["failure", "success"]


def test_only_asked_episodes_count(made):
    store, ids, book = made
    book.record(Annotation(episode_id="f" * 64, outcome=Outcome.SUCCESS), by="ada")
    found = gather_annotations(store, ids[2:], label_book=book)
    assert (dict(found.by_id), found.missing) == ({}, tuple(sorted(ids[2:])))


def test_re_annotating_with_the_same_answers_gives_equal_json(made):
    store, ids, book = made
    for person in ("ada", "bob"):
        for i in ids:
            book.record(Annotation(episode_id=i, outcome=Outcome.SUCCESS), by=person)
        if person == "ada":
            before = gather_annotations(store, ids, label_book=book).to_json()
    assert gather_annotations(store, reversed(ids), label_book=book).to_json() == before
    assert "ada" not in str(before)


def test_bad_requests_are_refused(made):
    store, ids, book = made
    with pytest.raises(UnknownName, match="unknown label source 'humans': did you mean 'human'"):
        gather_annotations(store, ids, sources=("humans",), label_book=book)
    with pytest.raises(ConfigError, match="each once"):
        gather_annotations(store, ids, sources=("human", "human"), label_book=book)
    with pytest.raises(ConfigError, match="needs a label book"):
        gather_annotations(store, ids, sources=("human",))
    with pytest.raises(UnknownName, match="unknown episode"):
        gather_annotations(store, ["0" * 64], label_book=book)
    book.record(Annotation(episode_id=ids[0], outcome=Outcome.SUCCESS, key_frames=(KeyFrame(t=8, kind=1),)), by="ada")
    with pytest.raises(ConfigError, match=r"key frame at step 8, the episode has steps 0\.\.7"):
        gather_annotations(store, ids, label_book=book)


def test_json_that_does_not_add_up_is_refused():
    a = Annotation(episode_id="a" * 64, outcome=Outcome.SUCCESS)
    good = Annotations(by_id={a.episode_id: a}, missing=("b" * 64,), counts={"human": 1}).to_json()
    assert good["sources"] == {"human": 1, "imported": 0, "detector": 0}
    one = {"outcome": "success", "key_frames": [], "note": ""}
    for wrong in (
        {**good, "format": 2},
        {**good, "extra": 1},
        {key: value for key, value in good.items() if key != "skipped"},
        {**good, "sources": {"human": 2}},
        {**good, "sources": {"guess": 1}},
        {**good, "skipped": ["a" * 64]},
        {**good, "skipped": ["b" * 64, "b" * 64]},
        {**good, "annotations": {"a" * 64: {**one, "outcome": "timeout"}}},
        {**good, "annotations": {"a" * 64: {**one, "who": "ada"}}},
        {**good, "annotations": {"a" * 64: {**one, "key_frames": [[True, 1, ""]]}}},
        {**good, "annotations": {"a" * 64: {**one, "key_frames": [[1, 2, ""]]}}},
        {**good, "annotations": {"a" * 64: {**one, "note": None}}},
    ):
        with pytest.raises(ConfigError):
            Annotations.from_json(wrong)


def test_outcome_of_an_episode_without_label_is_an_error():
    with pytest.raises(UnknownName, match="has no annotation"):
        Annotations(by_id={}, missing=("b" * 64,), counts={}).outcome_of("b" * 64)


def test_the_waiting_note_round_trips_and_goes_away(tmp_path):
    run = tmp_path / "runs" / "night"
    assert read_waiting(run) is None
    write_waiting(run, ["b" * 64, "a" * 64, "b" * 64], node="1/annotate")
    assert read_waiting(run) == Waiting(episodes=("b" * 64, "a" * 64), node="1/annotate")
    clear_waiting(run)
    assert read_waiting(run) is None
    clear_waiting(run)
    with pytest.raises(ConfigError, match="no episode id"):
        write_waiting(run, ["../x"], node="1/annotate")
    (run / "waiting.json").write_text('{"episodes": ["nonsense"], "node": "n"}')
    with pytest.raises(ConfigError, match="not a list of waiting episodes"):
        read_waiting(run)
    assert annotate_command("night", tmp_path) == f"recap annotate night --workspace {tmp_path}"
    assert annotate_command("night", Path("runs").absolute()) == "recap annotate night"
