"""kill -9 around the writing of a label: afterwards it is there or it is not, and the book goes on."""

import pytest
from tests.support.faults import run_python

from data.annotation import LabelBook
from recap.types import Annotation, Outcome

A, B, C = "a" * 64, "b" * 64, "c" * 64
POINTS = ("labels.before_write", "labels.before_fsync", "labels.after_append")
CHOOSE = """
import sys
from data.annotation import LabelBook
from recap.types import Annotation, Outcome
book = LabelBook(sys.argv[1])
for episode_id in sys.argv[2:]:
    book.record(Annotation(episode_id=episode_id, outcome=Outcome.FAILURE), by="child")
    print(episode_id, flush=True)
"""
UNDO = """
import sys
from data.annotation import LabelBook
book = LabelBook(sys.argv[1])
book.undo(book.entries()[0].id, by="child")
"""
MANY = """
import sys
from data.annotation import LabelBook
from recap.types import Annotation, Outcome
said = [Annotation(episode_id=f"{n:064x}", outcome=Outcome.SUCCESS) for n in range(200)]
LabelBook(sys.argv[1]).record_all(said, by="child", origin="imported")
"""


def said(episode_id: str) -> Annotation:
    return Annotation(episode_id=episode_id, outcome=Outcome.FAILURE)


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_choice_is_durable_or_absent(tmp_path, point):
    assert run_python(CHOOSE, str(tmp_path / "labels"), A, B, fault=f"{point}:2:kill") == -9
    book = LabelBook(tmp_path / "labels")
    kept = book.annotations()
    assert kept in ({A: said(A)}, {A: said(A), B: said(B)})
    if point == "labels.before_write":
        assert kept == {A: said(A)}
    if point == "labels.after_append":
        assert kept == {A: said(A), B: said(B)}
    book.record(said(C), by="after")
    assert book.annotations() == {**kept, C: said(C)}


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_undo_is_done_or_not(tmp_path, point):
    book = LabelBook(tmp_path / "labels")
    choice = book.record(said(A), by="parent")
    assert run_python(UNDO, str(book.folder), fault=f"{point}:1:kill") == -9
    if book.annotations():
        assert book.annotations() == {A: said(A)}
        book.undo(choice, by="parent")
    assert book.annotations() == {}


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_import_is_whole_or_absent(tmp_path, point):
    assert run_python(MANY, str(tmp_path / "labels"), fault=f"{point}:1:kill") == -9
    assert len(LabelBook(tmp_path / "labels").annotations()) in (0, 200)


def test_a_raise_before_the_sync_leaves_nothing(tmp_path):
    assert run_python(CHOOSE, str(tmp_path / "labels"), A, B, fault="labels.before_fsync:2:raise") == 1
    assert LabelBook(tmp_path / "labels").annotations() == {A: said(A)}


def test_every_torn_length_of_a_line_reads_as_absent(tmp_path):
    book = LabelBook(tmp_path / "labels")
    book.record(said(A), by="x")
    whole = len(book.journal.read_bytes())
    book.record(said(B), by="x")
    content = book.journal.read_bytes()
    for size in range(whole, len(content)):
        book.journal.write_bytes(content[:size])
        assert book.annotations() == {A: said(A)}, size
    # A power cut may also leave zeros where bytes were to come.
    book.journal.write_bytes(content[:whole] + bytes(60))
    assert book.annotations() == {A: said(A)}
    book.record(said(C), by="x")
    assert book.annotations() == {A: said(A), C: said(C)}
