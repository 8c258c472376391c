"""Files that are whole or not there, and logs that a kill costs no more than the line in flight."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.faults import disk_full, run_python

from recap.errors import Corrupt
from recap.files import LineLog, abandoned, claimed_tmp, move, publish_dir, write_atomic


def test_a_write_makes_its_folder_and_leaves_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new", durable=False)
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["x.json"]


def test_a_full_disk_keeps_the_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_atomic(path, b"old")
    with disk_full(after=0, under=tmp_path), pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.json"]


def test_a_folder_is_published_once_it_is_on_disk(tmp_path: Path) -> None:
    made = tmp_path / "made"
    write_atomic(made / "deep" / "x", b"1")
    with disk_full(after=1, under=made), pytest.raises(OSError, match="No space"):
        publish_dir(made, tmp_path / "final")
    assert not (tmp_path / "final").exists()
    publish_dir(made, tmp_path / "final")
    assert (tmp_path / "final" / "deep" / "x").read_bytes() == b"1"
    write_atomic(made / "y", b"2")
    with pytest.raises(OSError, match="not empty"):
        move(made, tmp_path / "final")


def test_a_file_being_written_is_not_abandoned_and_a_leftover_is(tmp_path: Path) -> None:
    with claimed_tmp(tmp_path / "x") as (tmp, _), abandoned(tmp) as dead:
        assert not dead
    with abandoned(tmp) as dead:
        assert not dead, "it is gone"
    tmp.write_bytes(b"left by a kill")
    with abandoned(tmp) as dead:
        assert dead


def test_lines_come_back_from_any_offset(tmp_path: Path) -> None:
    log = LineLog(tmp_path / "deep" / "l.jsonl")
    assert log.lines() == ([], 0)
    log.append(b"one")
    lines, offset = log.lines()
    log.append(b"two")
    assert (lines, log.lines(offset)) == ([b"one"], ([b"two"], 8))
    with pytest.raises(Corrupt, match="were read before"):
        log.lines(99)


@pytest.mark.parametrize("durable", [True, False])
def test_a_torn_line_is_left_out_and_mended(tmp_path: Path, durable: bool) -> None:
    log = LineLog(tmp_path / "l.jsonl", durable=durable)
    log.append(b"one")
    with log.path.open("ab") as file:
        file.write(b"tw")
    assert log.lines() == ([b"one"], 4)
    log.append(b"three")
    assert log.lines(4) == ([b"three"], 10)
    assert log.path.read_bytes() == b"one\nthree\n"


def test_a_line_that_was_not_acknowledged_does_not_turn_up_later(tmp_path: Path) -> None:
    log = LineLog(tmp_path / "l.jsonl")
    log.append(b"one")
    with disk_full(after=0, under=tmp_path), pytest.raises(OSError, match="No space"):
        log.append(b"two")
    assert log.path.read_bytes() == b"one\n"


APPEND = """
import sys
from pathlib import Path
from recap.files import LineLog
for number in range(3):
    LineLog(Path(sys.argv[1])).append(str(number).encode())
"""


@pytest.mark.parametrize(("point", "kept"), [("before_write", 1), ("before_fsync", 2), ("after_append", 2)])
def test_a_killed_append_keeps_what_was_acknowledged(tmp_path: Path, point: str, kept: int) -> None:
    log = LineLog(tmp_path / "l.jsonl")
    assert run_python(APPEND, str(log.path), fault=f"log.{point}:2:kill") == -9
    assert len(log.lines()[0]) == kept
    log.append(b"next")
    assert log.lines()[0][-1] == b"next"
