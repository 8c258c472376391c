"""A sitting: one answer per episode, the way back, and where it stands."""

import threading

import pytest
from tests.support.faults import disk_full

from data.annotation import LabelBook
from pipelines.annotation_server.session import AnnotationSession, Conflict
from recap.errors import UnknownName
from recap.types import Annotation, KeyFrame, Outcome

A, B, C = "a" * 64, "b" * 64, "c" * 64


def says(episode_id, outcome=Outcome.SUCCESS, **more):
    return Annotation(episode_id=episode_id, outcome=outcome, **more)


@pytest.fixture
def book(tmp_path):
    return LabelBook(tmp_path / "labels")


@pytest.fixture
def session(book):
    return AnnotationSession(book, (C, A, B), by="ada")


def test_episodes_come_in_the_order_of_the_queue(session, book):
    assert (session.current(), session.state()["next"]) == (C, A)
    session.choose(says(C))
    session.skip(A)
    assert session.current() == B
    session.choose(says(B, Outcome.ABORTED, key_frames=(KeyFrame(t=1, kind=1),)))
    assert session.finished
    assert session.state() == {
        "total": 3,
        "labelled": 2,
        "skipped": 1,
        "outcomes": {"success": 1, "failure": 0, "aborted": 1},
        "key_frames": 1,
        "current": None,
        "next": None,
        "can_undo": True,
    }
    assert set(book.annotations()) == {B, C}


def test_undo_walks_back_through_answers_and_skips(session, book):
    keys = (KeyFrame(t=2, kind=-1),)
    session.choose(says(C, Outcome.FAILURE, key_frames=keys, note="n"))
    session.skip(A)
    assert session.undo() == (A, None)
    assert session.undo() == (C, says(C, Outcome.FAILURE, key_frames=keys, note="n"))
    assert session.current() == C
    assert book.annotations() == {}
    with pytest.raises(Conflict, match="nothing to undo"):
        session.undo()


def test_the_same_answer_twice_is_one_choice_and_another_is_refused(session, book):
    session.choose(says(C))
    session.choose(says(C))
    assert len(book.entries()) == 1
    with pytest.raises(Conflict, match="was judged success in this sitting"):
        session.choose(says(C, Outcome.FAILURE))
    with pytest.raises(Conflict):
        session.skip(C)
    assert book.annotations() == {C: says(C)}


def test_strangers_are_refused(session, book):
    for act in (lambda: session.choose(says("d" * 64)), lambda: session.skip("d" * 64)):
        with pytest.raises(UnknownName, match="not in this queue of 3"):
            act()
    assert book.annotations() == {}


def test_undo_gives_way_to_another_person(session, book):
    session.choose(says(C))
    book.record(says(C, Outcome.FAILURE), by="bob")
    with pytest.raises(Conflict, match="someone has chosen since"):
        session.undo()
    assert book.annotations()[C].outcome is Outcome.FAILURE


def test_what_was_judged_before_can_still_be_taken_back(session, book):
    session.choose(says(C))
    following = session.state()["current"]
    session.choose(says(following))
    book.record(says(following, Outcome.FAILURE), by="bob")
    with pytest.raises(Conflict, match="someone has chosen since"):
        session.undo()
    assert session.undo()[0] == C
    assert C not in book.annotations()


def test_a_skipped_episode_can_be_judged_after_all(session, book):
    session.skip(C)
    session.choose(says(C))
    assert session.state()["skipped"] == 0
    assert session.undo() == (C, says(C))
    assert session.current() == C


def test_a_full_disk_leaves_the_episode_open(session, book):
    session.choose(says(C))
    with disk_full(after=0, under=book.folder), pytest.raises(OSError, match="No space"):
        session.choose(says(A))
    assert session.current() == A
    with disk_full(after=0, under=book.folder), pytest.raises(OSError, match="No space"):
        session.undo()
    assert session.state()["labelled"] == 1
    assert book.annotations() == {C: says(C)}


def test_threads_racing_for_one_episode_give_one_choice(session, book):
    refused = []

    def race(outcome):
        try:
            session.choose(says(C, outcome))
        except Conflict:
            refused.append(outcome)

    threads = [threading.Thread(target=race, args=(outcome,)) for outcome in list(Outcome) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(book.entries()) == 1
    assert len(refused) == 8
    assert book.annotations()[C].outcome not in refused
