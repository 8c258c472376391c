"""A second dataset of a task, or a first one again: names in another order, other words, broken episodes."""

import json

import pytest
from tests.support.synthetic_lerobot import PROMPT, synthetic_dataset

from recap.errors import ConfigError

FEATURE = "observation.state"


def _names(root, names):
    path = root / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["features"][FEATURE]["names"] = names
    path.write_text(json.dumps(info))
    return root


def test_numbers_in_another_order_are_refused_and_other_names_are_said(take, tmp_path):
    first = _names(synthetic_dataset(tmp_path / "a"), ["hip", "knee", "toe"])
    turned = _names(synthetic_dataset(tmp_path / "b", seed=1), ["toe", "knee", "hip"])
    renamed = _names(synthetic_dataset(tmp_path / "c", seed=2), ["j0", "j1", "j2"])
    assert take(first).renamed == {}
    with pytest.raises(ConfigError, match="order of the state toe, knee, hip, expected hip, knee, toe"):
        take(turned)
    assert take(renamed).renamed == {"state": ["j0", "j1", "j2"]}


def test_rates_that_print_alike_are_told_apart(take, tmp_path):
    take(synthetic_dataset(tmp_path / "a", fps=29.97, pictures="image"))
    with pytest.raises(ConfigError, match=r"rate in Hz 29\.97003, expected 29\.97"):
        take(synthetic_dataset(tmp_path / "b", fps=29.97003, pictures="image", seed=1))


def test_what_is_here_keeps_its_words_and_it_is_said(take, tmp_path):
    root = synthetic_dataset(tmp_path / "d", version="v2.1")
    assert take(root).reworded == {}
    for path in (root / "meta").glob("*.jsonl"):
        path.write_text(path.read_text().replace(PROMPT, "throw it away"))
    again = take(root)
    assert (again.imported, again.known, again.reworded) == (0, 3, {"throw it away": 3})


def test_a_broken_film_is_named_and_the_others_keep_the_outcomes_of_the_file(take, tmp_path):
    root = synthetic_dataset(tmp_path / "d", version="v2.1")
    (film,) = root.rglob("episode_000001.mp4")
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    table = tmp_path / "o.csv"
    table.write_text("episode_index,outcome\n0,success\n1,failure\n2,failure\n")
    with pytest.raises(ConfigError, match="1 of 3 episodes is broken, the other 2 were imported"):
        take(root, outcomes=table)
    done = take(root, outcomes=table, skip_broken=True)
    assert (done.outcomes, done.other_outcomes) == ({"failure": 1, "success": 1, "none": 0}, 1)
    assert take(root, outcomes=table, episodes="0").outcomes == {"success": 1, "none": 0}


def test_a_wrong_row_of_the_outcomes_is_said_before_a_picture_is_decoded(take, tmp_path, monkeypatch):
    from data.lerobot_io import reading

    monkeypatch.setattr(reading, "read_frames", lambda *_, **__: pytest.fail("decoded"))
    table = tmp_path / "o.csv"
    table.write_text("episode_index,outcome\n0,sucess\n")
    with pytest.raises(ConfigError, match="'sucess'"):
        take(synthetic_dataset(tmp_path / "d"), outcomes=table)


def test_an_outcome_of_several_values_is_refused_by_name(take, tmp_path):
    marks = {"next.success": [[[True, False]] * 6, [[True, True]] * 4, [[False, False]] * 5]}
    root = synthetic_dataset(tmp_path / "d", frame_columns=marks)
    with pytest.raises(ConfigError, match=r"next.success: \[True, False\] at frame 0, expected one value"):
        take(root, outcome_column="next.success")
