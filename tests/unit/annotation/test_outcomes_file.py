"""A file of outcomes is taken whole, or every bad row is named and nothing is taken."""

import json

import pytest

from data.annotation import read_outcomes_file
from recap.errors import ConfigError
from recap.types import Annotation, Outcome

A, B, C = "ab" + "0" * 62, "ac" + "0" * 62, "b" * 64
KNOWN = (A, B, C)


def written(tmp_path, text, name="outcomes.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path):
    with pytest.raises(ConfigError) as caught:
        read_outcomes_file(path, KNOWN)
    return str(caught.value)


def test_csv_with_ids_prefixes_and_notes(tmp_path):
    path = written(
        tmp_path, f'episode_id,outcome,note\n{A},success,\nac, failure ,"gripper, left\nslipped"\n\nb,aborted,x\n'
    )
    assert read_outcomes_file(path, KNOWN) == {
        A: Annotation(episode_id=A, outcome=Outcome.SUCCESS),
        B: Annotation(episode_id=B, outcome=Outcome.FAILURE, note="gripper, left\nslipped"),
        C: Annotation(episode_id=C, outcome=Outcome.ABORTED, note="x"),
    }


def test_columns_in_any_order_and_a_byte_order_mark(tmp_path):
    path = written(tmp_path, "\ufeffoutcome,episode_id\r\nsuccess,b\r\n")
    assert read_outcomes_file(path, KNOWN) == {C: Annotation(episode_id=C, outcome=Outcome.SUCCESS)}


def test_json_list(tmp_path):
    rows = [{"episode_id": "ab", "outcome": "failure", "note": "n"}, {"episode_id": C, "outcome": "success"}]
    path = written(tmp_path, json.dumps(rows), "outcomes.json")
    found = read_outcomes_file(path, KNOWN)
    assert {i: (one.outcome.value, one.note) for i, one in found.items()} == {A: ("failure", "n"), C: ("success", "")}


def test_every_bad_row_is_named_with_its_line(tmp_path):
    path = written(
        tmp_path,
        "episode_id,outcome,note\n"
        'b,success,"two\nlines"\n'  # lines 2 and 3
        "a,success,\n"
        "zz,failure,\n"
        ",failure,\n"
        "ab,timeout,\n"
        "bb,failure,\n"
        "ac,success\n",
    )
    message = problems(path)
    assert "6 bad rows, no outcome taken" in message
    assert f"line 4: several episodes begin with 'a', e.g. {A[:16]} and {B[:16]}" in message
    assert "line 5: no episode begins with 'zz'" in message
    assert "line 6: no episode id" in message
    assert "line 7: outcome: 'timeout' is no outcome, expected" in message
    assert f"line 8: episode {C[:12]} was given before, at line 2" in message
    assert "line 9: 2 cells, expected 3" in message


def test_many_bad_rows_are_counted(tmp_path):
    message = problems(written(tmp_path, "episode_id,outcome\n" + "zz,success\n" * 30))
    assert "30 bad rows" in message
    assert "line 21:" in message
    assert "line 22:" not in message
    assert "and 10 more" in message


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("o.csv", "", "line 1: columns []"),
        ("o.csv", "id,outcome\nb,success\n", "line 1: columns ['id', 'outcome']"),
        ("o.csv", "episode_id,outcome,reward\nb,success,1\n", "columns"),
        ("o.csv", "episode_id,outcome,outcome\nb,success,success\n", "columns"),
        ("o.csv", "episode_id,outcome\n", "no row"),
        ("o.csv", 'episode_id,outcome\nb,"success\n', "line 2"),
        ("o.json", "{", "not JSON"),
        ("o.json", '{"a": 1}', "a JSON dict, expected a list"),
        ("o.json", "[3]", "entry 1: fields ['value']"),
        ("o.json", '[{"episode_id": "b"}]', "entry 1: fields ['episode_id']"),
        ("o.json", '[{"episode_id": "b", "outcome": 7}]', "entry 1: outcome: 7 is no outcome, expected"),
        ("o.json", "[]", "no row"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path, name, text, expected):
    assert expected in problems(written(tmp_path, text, name))


def test_a_missing_or_binary_file_is_refused(tmp_path):
    assert "No such file" in problems(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in problems(tmp_path / "b.csv")
