"""What an unknown name's error lists."""

from __future__ import annotations

from recap.errors import UnknownName


def test_a_near_name_is_offered_and_else_the_known_ones() -> None:
    assert str(UnknownName.among("arm", "rndom", ["random", "all"])).endswith("did you mean 'random'?")
    assert str(UnknownName.among("arm", "x", ["random", "all"])).endswith("known: all, random")
    assert str(UnknownName.among("arm", "x", [])).endswith("known: none")


def test_thousands_of_names_are_not_written_out() -> None:
    said = str(UnknownName.among("episode", "x", [f"{place:064d}" for place in range(1000)]))
    assert said.endswith(", and 980 more")
    assert len(said) < 2000
