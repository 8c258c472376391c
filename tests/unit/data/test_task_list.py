"""Names of one or several tasks, and what tasks must share to be learned together."""

from __future__ import annotations

import pytest

from data.task_list import robot_of, task_ids, tasks_of
from recap.errors import ConfigError, UnknownName


def test_ids_keep_their_order_and_lose_their_spaces() -> None:
    assert task_ids("shirt_folding") == ("shirt_folding",)
    assert task_ids("toilet_paper_organization, shirt_folding") == ("toilet_paper_organization", "shirt_folding")


@pytest.mark.parametrize("name", ["", ",", "shirt_folding,", "shirt_folding,,box_assembly"])
def test_an_empty_id_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="divided by commas"):
        task_ids(name)


def test_a_task_listed_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="shirt_folding is listed more than once"):
        task_ids("shirt_folding,box_assembly,shirt_folding")


def test_an_unknown_task_among_known_ones_is_named() -> None:
    with pytest.raises(UnknownName, match="box_asembly"):
        tasks_of(("shirt_folding", "box_asembly"))


def test_tasks_of_one_robot_share_it() -> None:
    assert robot_of(("shirt_folding", "box_assembly")) == tasks_of(("shirt_folding",))[0].robot


def test_tasks_before_different_robots_are_refused() -> None:
    with pytest.raises(ConfigError, match="not stand before the same robot"):
        tasks_of(("shirt_folding", "gym_pusht"))
