"""The book keeps every choice, takes back the latest, and tells a torn line from an altered one."""

import json

import pytest
from tests.support.faults import disk_full

from data.annotation import LabelBook
from recap.errors import ConfigError, Corrupt
from recap.types import Annotation, KeyFrame, Outcome

A, B = "a" * 64, "b" * 64


def says(episode_id: str, outcome: Outcome = Outcome.SUCCESS, **more: object) -> Annotation:
    return Annotation(episode_id=episode_id, outcome=outcome, **more)  # type: ignore[arg-type]


@pytest.fixture
def book(tmp_path):
    return LabelBook(tmp_path / "labels")


def test_a_new_book_holds_nothing(book):
    assert book.annotations() == {}
    assert book.entries() == []
    assert not book.folder.exists()


def test_the_latest_choice_holds(book):
    book.record(says(A, Outcome.FAILURE, note="dropped it"), by="ada")
    book.record(says(A, Outcome.SUCCESS), by="bob")
    assert book.annotations() == {A: says(A, Outcome.SUCCESS)}
    assert [(entry.by, entry.labels[A].outcome.value) for entry in book.entries()] == [
        ("ada", "failure"),
        ("bob", "success"),
    ]


def test_who_and_when_are_no_part_of_the_label(tmp_path):
    one, other = LabelBook(tmp_path / "one"), LabelBook(tmp_path / "other")
    one.record(says(A, key_frames=(KeyFrame(t=3, kind=1), KeyFrame(t=1, kind=-1))), by="ada")
    other.record(says(A, key_frames=(KeyFrame(t=1, kind=-1), KeyFrame(t=3, kind=1), KeyFrame(t=3, kind=1))), by="bob")
    assert one.annotations() == other.annotations()
    assert one.entries()[0].by != other.entries()[0].by
    assert one.entries()[0].at > 0


def test_undo_brings_back_what_held_before(book):
    book.record(says(A, Outcome.FAILURE), by="ada")
    second = book.record(says(A, Outcome.SUCCESS), by="ada")
    assert book.undo(second, by="ada") == {A: says(A, Outcome.FAILURE)}
    assert book.annotations() == {A: says(A, Outcome.FAILURE)}
    assert len(book.entries()) == 3, "an undo adds to the history, it removes nothing"


def test_undo_of_the_only_choice_leaves_no_label(book):
    choice = book.record(says(A), by="ada")
    assert book.undo(choice, by="ada") == {A: None}
    assert book.annotations() == {}


def test_a_choice_is_taken_back_once_and_only_while_it_is_the_latest(book):
    first = book.record(says(A, Outcome.FAILURE), by="ada")
    second = book.record(says(A), by="bob")
    with pytest.raises(ConfigError, match="no longer the latest"):
        book.undo(first, by="ada")
    book.undo(second, by="bob")
    with pytest.raises(ConfigError, match="no longer the latest"):
        book.undo(second, by="bob")
    with pytest.raises(ConfigError, match="no choice 'feed'"):
        book.undo("feed", by="bob")
    assert book.annotations() == {A: says(A, Outcome.FAILURE)}


def test_a_person_comes_before_an_import_whichever_was_later(book):
    book.record(says(A, Outcome.SUCCESS), by="ada")
    book.record_all([says(A, Outcome.FAILURE), says(B, Outcome.FAILURE)], by="ada", origin="imported")
    assert book.annotations() == {A: says(A, Outcome.SUCCESS), B: says(B, Outcome.FAILURE)}
    assert book.annotations("imported") == {A: says(A, Outcome.FAILURE), B: says(B, Outcome.FAILURE)}
    assert book.annotations("human") == {A: says(A, Outcome.SUCCESS)}


def test_an_import_counts_again_once_a_person_took_their_answer_back(book):
    choice = book.record(says(A, Outcome.FAILURE), by="ada")
    book.take_imports([says(A)], by="import")
    assert book.annotations("imported") == {}
    book.undo(choice, by="ada")
    book.take_imports([says(A)], by="import")
    assert [one.outcome for one in book.annotations().values()] == [Outcome.SUCCESS]


def test_a_book_without_a_line_that_was_undone_later_is_read(book):
    book.undo(book.record(says(A, Outcome.FAILURE), by="ada"), by="ada")
    kept = book.record(says(A, Outcome.FAILURE), by="ada")
    _, *rest = book.journal.read_bytes().splitlines(keepends=True)
    book.journal.write_bytes(b"".join(rest))
    assert list(book.annotations().values()) == [says(A, Outcome.FAILURE)]
    book.undo(kept, by="ada")
    assert book.annotations() == {}


def test_several_choices_are_one_line(book):
    choice = book.record_all([says(A), says(B, Outcome.ABORTED)], by="ada", origin="imported")
    assert len(book.journal.read_bytes().splitlines()) == 1
    assert book.undo(choice, by="ada") == {A: None, B: None}


@pytest.mark.parametrize(
    "wrong",
    [
        says("short"),
        says(A.upper()),
        says(A, key_frames=(KeyFrame(t=-1, kind=1),)),
        says(A, key_frames=(KeyFrame(t=0, kind=0),)),
    ],
)
def test_what_is_out_of_range_is_refused_and_nothing_written(book, wrong):
    with pytest.raises(ConfigError):
        book.record(wrong, by="ada")
    assert not book.journal.exists()


def test_an_empty_or_repeated_batch_is_refused(book):
    for batch in ([], [says(A), says(A)]):
        with pytest.raises(ConfigError, match="each of another episode"):
            book.record_all(batch, by="ada")


def test_a_torn_last_line_is_dropped_and_the_next_choice_does_not_continue_it(book):
    book.record(says(A), by="ada")
    whole = book.journal.read_bytes()
    book.record(says(B), by="ada")
    torn = book.journal.read_bytes()[: len(whole) + 40]
    book.journal.write_bytes(torn)
    assert book.annotations() == {A: says(A)}
    book.record(says(B, Outcome.FAILURE), by="ada")
    assert book.annotations() == {A: says(A), B: says(B, Outcome.FAILURE)}


@pytest.mark.parametrize("how", ["digit", "junk", "answer"])
def test_an_altered_line_is_an_error_that_names_it(book, how):
    book.record(says(A), by="ada")
    book.record(says(B), by="ada")
    first, second = book.journal.read_bytes().splitlines(keepends=True)
    if how == "answer":
        record = json.loads(first)
        record["entry"]["labels"][A]["outcome"] = "failure"
        first = json.dumps(record).encode() + b"\n"
    else:
        first = b"{}\n" if how == "junk" else first.replace(b'"ada"', b'"eve"')
    book.journal.write_bytes(first + second)
    with pytest.raises(Corrupt, match="line 1: not what was written"):
        book.annotations()


def test_a_full_disk_keeps_nothing_of_the_choice(book):
    book.record(says(A), by="ada")
    before = book.journal.read_bytes()
    with disk_full(after=0, under=book.folder), pytest.raises(OSError, match="No space left"):
        book.record(says(B), by="ada")
    assert book.journal.read_bytes() == before
    book.record(says(B), by="ada")
    assert sorted(book.annotations()) == [A, B]
