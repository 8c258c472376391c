"""The ledger keeps every row that `append` returned from, whatever a kill leaves at the end of the file."""

from pathlib import Path

import pytest

from pipelines.ledger import Ledger


def test_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "none.jsonl", key="k").rows() == {}


def test_rows_are_keyed_and_a_later_row_replaces_an_earlier_one(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "deep" / "l.jsonl", key="k")
    for row in ({"k": 1, "v": "a"}, {"k": 2, "v": "b"}, {"k": 1, "v": "c"}):
        ledger.append(row)
    assert ledger.rows() == {1: {"k": 1, "v": "c"}, 2: {"k": 2, "v": "b"}}


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_torn_last_line_costs_only_that_line(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "l.jsonl"
    ledger = Ledger(path, key="k")
    ledger.append({"k": 1, "v": "a"})
    whole = path.stat().st_size
    ledger.append({"k": 2, "v": "b"})
    with path.open("r+b") as file:
        file.truncate(whole + cut)
    assert ledger.rows() == {1: {"k": 1, "v": "a"}}
    ledger.append({"k": 3, "v": "d"})
    assert ledger.rows() == {1: {"k": 1, "v": "a"}, 3: {"k": 3, "v": "d"}}
