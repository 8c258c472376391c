"""Which action segments of made-up attempts are clean, and why."""

from __future__ import annotations

import numpy as np
import pytest

from recap.types import Event, Outcome, PrivilegedTruth
from value_model.segments import action_quality, action_segments, usual_gains

MARKS = {"timeout": -1, "roll_toppled": -1, "success": 1}


def attempt(
    *events: tuple[int, str],
    length: int = 60,
    gains: dict[int, float] | None = None,
    outcome: Outcome = Outcome.FAILURE,
) -> PrivilegedTruth:
    """Events by name; true progress rises by gains[t] after step t."""
    progress = np.zeros(length, dtype=np.float32)
    for t, gain in (gains or {}).items():
        progress[t + 1 :] += gain
    errors = ("missed_grasp_", "premature_release_")
    kinds = {
        name: -1 if name.startswith(errors) or name.endswith("_undone") else int(name.endswith("_folded"))
        for _, name in events
    }
    return PrivilegedTruth(
        progress=progress,
        stage=np.zeros(length, dtype=np.int64),
        events=tuple(Event(t=t, name=name, kind=MARKS.get(name, kinds[name])) for t, name in events),
        outcome=outcome,
        metrics={},
    )


def verdicts(truth: PrivilegedTruth) -> list[tuple[str, int, int, int]]:
    return [(one.kind, one.start, one.stop, one.quality) for one in action_segments(truth)]


def test_a_carry_with_a_milestone_is_clean_and_so_is_the_way_to_it() -> None:
    truth = attempt((10, "grasped_left"), (12, "grasped_right"), (20, "released_left"), (22, "released_right"),
                    (25, "a_folded"))  # fmt: skip
    assert verdicts(truth) == [("approach", 0, 11, 1), ("carry", 11, 23, 1), ("approach", 23, 60, 0)]
    quality = action_quality(truth)
    assert quality.dtype == np.int8
    assert quality.tolist() == [1] * 23 + [0] * 37


@pytest.mark.parametrize(
    "after",
    [
        (),  # nothing came of it
        ((28, "a_folded"),),  # later than it can be the carry's doing
        ((20, "a_folded"), (27, "a_folded_undone")),  # it did not stay
        ((20, "a_folded"), (22, "roll_toppled")),  # an error came with it
    ],
)
def test_a_carry_without_one_that_stays_is_flawed(after: tuple[tuple[int, str], ...]) -> None:
    truth = attempt((10, "grasped_left"), (20, "released_left"), *after)
    assert verdicts(truth)[1] == ("carry", 11, 21, -1)


def test_a_grasp_that_moves_things_along_is_good_whatever_becomes_of_it() -> None:
    events = ((10, "grasped_left"), (20, "released_left"))
    assert verdicts(attempt(*events))[0][3] == 0
    assert verdicts(attempt(*events, gains={15: 0.2}))[0][3] == 1
    assert verdicts(attempt(*events, gains={15: np.nan}))[0][3] == 0


def test_a_miss_is_the_approachs_fault() -> None:
    truth = attempt((10, "missed_grasp_left"), (20, "grasped_left"), (22, "missed_grasp_right"), (30, "released_left"),
                    (30, "a_folded"))  # fmt: skip
    assert [one[3] for one in verdicts(truth)] == [-1, -1, 1, 0]
    late = attempt((20, "grasped_left"), (27, "missed_grasp_right"), (30, "released_left"), (30, "a_folded"))
    assert [one[3] for one in verdicts(late)] == [0, -1, 0]


def test_success_is_a_milestone_of_the_last_carry() -> None:
    truth = attempt((10, "grasped_left"), (20, "released_left"), (40, "success"), outcome=Outcome.SUCCESS)
    assert verdicts(truth)[1][3] == 1


def test_what_is_cut_off_is_unknown_and_a_stall_is_not() -> None:
    assert verdicts(attempt((50, "grasped_left"), (59, "timeout")))[1] == ("carry", 51, 60, 0)
    assert verdicts(attempt((59, "timeout"))) == [("approach", 0, 60, -1)]
    assert verdicts(attempt((59, "timeout"), gains={30: 0.5})) == [("approach", 0, 60, 0)]
    assert verdicts(attempt((59, "timeout"), gains={0: np.nan})) == [("approach", 0, 60, 0)]
    assert verdicts(attempt()) == [("approach", 0, 60, 0)]


def test_a_take_over_cuts_and_the_expert_begins_anew() -> None:
    truth = attempt((10, "grasped_left"), (16, "takeover:misplaced"), (17, "premature_release_left"),
                    (25, "grasped_left"), (32, "released_left"), (32, "a_folded"), (40, "hand_back"))  # fmt: skip
    assert verdicts(truth) == [
        ("approach", 0, 11, 0),
        ("carry", 11, 16, 0),
        ("approach", 16, 26, 1),
        ("carry", 26, 33, 1),
        ("approach", 33, 40, 0),
        ("approach", 40, 60, 0),
    ]
    assert verdicts(attempt((40, "takeover:stall")))[0] == ("approach", 0, 40, -1)


def test_a_carry_that_gains_little_beside_successes_with_the_same_milestone_is_flawed() -> None:
    events = ((10, "grasped_left"), (20, "released_left"), (20, "a_folded"))
    won = [attempt(*events, gains={20: gain}, outcome=Outcome.SUCCESS) for gain in (0.38, 0.4, 0.42)]
    usual = usual_gains(won)
    assert usual == {frozenset({"a_folded"}): pytest.approx(0.4)}
    for gain, quality in ((0.31, 1), (0.29, -1)):
        assert action_segments(attempt(*events, gains={20: gain}), usual)[1].quality == quality
    assert action_segments(attempt(*events, gains={20: 0.01}))[1].quality == 1
    assert usual_gains(won[:2]) == {}
    assert usual_gains([attempt(*events, gains={20: 0.4})] * 3) == {}


def test_every_step_is_in_one_segment() -> None:
    rng = np.random.default_rng(0)
    names = [f"{what}_{side}" for what in ("grasped", "released", "missed_grasp", "premature_release")
             for side in ("left", "right")] + ["a_folded", "takeover:stall", "hand_back"]  # fmt: skip
    for _ in range(200):
        steps = sorted(rng.integers(0, 60, 12).tolist())
        segments = action_segments(attempt(*((t, str(rng.choice(names))) for t in steps)))
        ends = [one.stop for one in segments]
        assert [one.start for one in segments] == [0, *ends[:-1]]
        assert ends[-1] == 60
        assert min(one.stop - one.start for one in segments) > 0
