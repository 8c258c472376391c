import math
import pickle
from pathlib import Path

import pytest

from recap.errors import ConfigError, Corrupt
from recap.journal import FileJournal, read_journal


def test_a_record_says_when_who_and_what(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "nightly" / "journal.jsonl"
    journal = FileJournal(path, "0/collect")
    journal.progress(3, 10, "episodes")
    journal.at("0/policy").metrics({"loss": 0.5}, step=7)
    journal.at("").event("run_started", run="nightly")
    records, _ = read_journal(path)
    assert [(r["node"], r["kind"]) for r in records] == [
        ("0/collect", "progress"),
        ("0/policy", "metrics"),
        ("", "run_started"),
    ]
    assert (records[0]["done"], records[0]["total"], records[0]["unit"]) == (3, 10, "episodes")
    assert records[1]["values"] == {"loss": 0.5}
    assert records[0]["t"] <= records[2]["t"]


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j.jsonl", "n")
    journal.event("a")
    first, offset = read_journal(journal.path)
    journal.event("b")
    second, end = read_journal(journal.path, offset)
    assert [r["kind"] for r in first + second] == ["a", "b"]
    assert read_journal(journal.path, end) == ([], end)


def test_a_journal_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "none.jsonl") == ([], 0)


def test_an_offset_beyond_the_file_is_refused(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j.jsonl", "n")
    journal.event("a")
    with pytest.raises(Corrupt, match="were read before"):
        read_journal(journal.path, 10_000)
    with pytest.raises(Corrupt, match="gone"):
        read_journal(tmp_path / "none.jsonl", 5)


def test_numbers_that_json_lacks_come_back(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j.jsonl", "n")
    journal.metrics({"a": math.nan, "b": math.inf, "c": -math.inf}, step=0)
    assert b"NaN" not in journal.path.read_bytes()
    ((record,), _) = read_journal(journal.path)
    assert math.isnan(record["values"]["a"])
    assert (record["values"]["b"], record["values"]["c"]) == (math.inf, -math.inf)


def test_reserved_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="reserved"):
        FileJournal(tmp_path / "j.jsonl", "n").event("a", t=3)


def test_a_journal_travels_to_a_worker(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j.jsonl", "n")
    assert pickle.loads(pickle.dumps(journal)) == journal
