"""Edges of returns, advantages, thresholds and labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support.value_facts import A, F, S, make_facts

from recap.errors import ConfigError, HealthError
from recap.types import Outcome, Source
from value_model.advantage import (
    LabelConfig,
    advantages,
    forced_frames,
    label,
    make_labels,
    positive_threshold,
    threshold_frames,
)
from value_model.episodes import EpisodeFacts, split_outcomes
from value_model.returns import ReturnConfig, returns

USUAL = LabelConfig()


def test_too_long_an_episode_is_refused_by_name() -> None:
    made = make_facts([5, 21], [S, S])
    with pytest.raises(
        ConfigError, match=r"1 of \d+ episodes are longer than max_steps 20 of their task.*\n  e001: 21 steps"
    ):
        returns(made.offsets, made.success, made.max_steps, ReturnConfig(), ids=made.ids)
    with pytest.raises(ConfigError, match="e001"):
        advantages(np.zeros(26), made.offsets, made.success, made.max_steps, 2, ReturnConfig(), ids=made.ids)


def test_aborted_rows_are_nan_and_only_they() -> None:
    made = make_facts([3, 4, 2], [S, A, F])
    shape = (made.offsets, made.success, made.max_steps)
    for kind in ("recap", "viva"):
        config = ReturnConfig(kind=kind)
        got = returns(*shape, config, aborted=made.aborted)
        gain = advantages(np.zeros(9, dtype=np.float32), *shape, 2, config, aborted=made.aborted)
        for array in (got, gain):
            assert array.dtype == np.float32
            np.testing.assert_array_equal(np.isnan(array), [False] * 3 + [True] * 4 + [False] * 2)


def test_no_episodes_at_all() -> None:
    none = np.zeros(0, dtype=bool)
    sizes = np.zeros(0, dtype=np.int64)
    assert returns(np.array([0]), none, sizes, ReturnConfig()).shape == (0,)
    assert advantages(np.zeros(0, dtype=np.float32), np.array([0]), none, sizes, 3, ReturnConfig()).shape == (0,)


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2, 2], [0, 3, 1]])
def test_offsets_that_describe_no_episodes(offsets: list[int]) -> None:
    count = max(len(offsets) - 1, 0)
    with pytest.raises(ConfigError, match="offsets"):
        returns(np.array(offsets, dtype=np.int64), np.ones(count, bool), np.full(count, 9), ReturnConfig())


def test_arrays_that_do_not_fit() -> None:
    shape = (np.array([0, 3]), np.array([True]), np.array([5]))
    with pytest.raises(ConfigError, match="success has shape"):
        returns(np.array([0, 3]), np.array([True, False]), np.array([5]), ReturnConfig())
    with pytest.raises(ConfigError, match="values have shape"):
        advantages(np.zeros(2), *shape, 1, ReturnConfig())
    with pytest.raises(ConfigError, match="look-ahead of 0"):
        advantages(np.zeros(3), *shape, 0, ReturnConfig())
    with pytest.raises(ConfigError, match="T_max 0"):
        returns(np.array([0, 3]), np.array([True]), np.array([0]), ReturnConfig())
    with pytest.raises(ConfigError, match="kind"):
        ReturnConfig(kind="discounted")
    with pytest.raises(ConfigError, match=r"c_fail: 0.5, and kind 'viva' has no such price"):
        ReturnConfig(kind="viva", c_fail=0.5)


def test_each_episode_may_have_its_own_lookahead() -> None:
    made = make_facts([6, 6], [S, S])
    value = np.linspace(-1, 0, 12, dtype=np.float32) ** 2
    shape = (made.offsets, made.success, made.max_steps)
    both = advantages(value, *shape, np.array([1, 4]), ReturnConfig())
    np.testing.assert_array_equal(both[:6], advantages(value, *shape, 1, ReturnConfig())[:6])
    np.testing.assert_array_equal(both[6:], advantages(value, *shape, 4, ReturnConfig())[6:])


@pytest.mark.parametrize(
    ("scores", "share", "expected"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.4, 6),
        ([10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 0.3, 7),
        ([1, 2, 3], 0.4, 2),
        ([5], 0.5, 5),
        ([1, 1, 1, 2], 0.5, 1),
    ],
)
def test_threshold_by_hand(scores: list[float], share: float, expected: float) -> None:
    assert positive_threshold(np.array(scores, dtype=np.float32), share) == expected


def test_a_threshold_of_nothing_or_of_nan_is_refused() -> None:
    with pytest.raises(HealthError, match="no autonomous frames"):
        positive_threshold(np.zeros(0, dtype=np.float32), 0.4)
    with pytest.raises(HealthError, match="1 of 2 advantages"):
        positive_threshold(np.array([0, np.nan], dtype=np.float32), 0.4)
    with pytest.raises(ConfigError, match=r"positive fraction 1\.0"):
        positive_threshold(np.zeros(3, dtype=np.float32), 1.0)


def test_labels_are_strict_and_nan_is_above_nothing() -> None:
    advantage = np.array([0.5, 0.25, np.nan, np.nan], dtype=np.float32)
    got = label(advantage, 0.25, np.array([False, False, False, True]))
    assert got.tolist() == [True, False, False, True]


def every_source() -> EpisodeFacts:
    """Two frames each; the second is a human's in corrections; the last two episodes are old and aborted."""
    return make_facts(
        [2, 2, 2, 2, 2],
        [S, S, F, S, A],
        sources=[Source.DEMO, Source.ROLLOUT, Source.CORRECTION, Source.ROLLOUT, Source.CORRECTION],
        current=[True, True, True, False, True],
        human=[0, 1, 5, 9],
    )


def test_thresholds_come_from_this_iterations_autonomous_frames() -> None:
    assert np.flatnonzero(threshold_frames(every_source())).tolist() == [2, 3, 4]


@pytest.mark.parametrize(("who", "rows"), [("corrections", [5]), ("all", [0, 1, 5]), ("none", [])])
def test_which_human_frames_are_forced(who: str, rows: list[int]) -> None:
    assert np.flatnonzero(forced_frames(every_source(), who)).tolist() == rows


def label_with(made: EpisodeFacts, value: np.ndarray, config: LabelConfig = USUAL, **shares: float) -> Any:
    ahead = dict.fromkeys(made.task_ids, 1)
    return make_labels(value, made, config, lookahead=ahead, returns=ReturnConfig(), shares=shares)


def test_advantages_by_the_model_itself_take_the_place_of_differences() -> None:
    made = make_facts([3, 4, 2], [S, F, A])
    given = np.arange(9, dtype=np.float32)
    ahead: Any = {"lookahead": {"fold": 2}, "returns": ReturnConfig(), "shares": {"fold": 0.4}}
    value = np.zeros(9, dtype=np.float32)
    got = make_labels(value, made, USUAL, given=given, **ahead)
    np.testing.assert_array_equal(got.advantage, [*range(7), np.nan, np.nan])
    assert got.thresholds == {"fold": 4.0}  # 40 % of 7 frames are 2 above it
    assert np.flatnonzero(got.positive).tolist() == [5, 6]
    with pytest.raises(ConfigError, match="given advantages have shape"):
        make_labels(value, made, USUAL, given=given[1:], **ahead)


def test_every_task_has_its_own_threshold() -> None:
    made = make_facts([10, 10], [S, S], tasks=["fold", "box"])
    rng = np.random.default_rng(0)
    value = np.concatenate([rng.uniform(-1, -0.9, 10), rng.uniform(-1, 0, 10)]).astype(np.float32)
    labels = label_with(made, value, fold=0.3, box=0.5)
    assert labels.positive[:10].sum() == 3
    assert labels.positive[10:].sum() == 5
    assert labels.thresholds["fold"] != labels.thresholds["box"]
    assert labels.shares == {"fold": 0.3, "box": 0.5}
    assert label_with(made, value, LabelConfig(positive_fraction=0.2), fold=0.3).shares == {"fold": 0.2, "box": 0.2}


def test_a_task_without_a_lookahead_is_refused() -> None:
    made = make_facts([4, 4], [S, S], tasks=["fold", "box"])
    value = np.linspace(-1, 0, 8, dtype=np.float32)
    with pytest.raises(ConfigError, match="task box: no look-ahead, only of fold"):
        make_labels(value, made, USUAL, lookahead={"fold": 2}, returns=ReturnConfig(), shares={"fold": 0.4, "box": 0.4})


def test_a_task_without_share_or_without_rollouts_is_refused() -> None:
    made = make_facts([4, 4], [S, S], tasks=["fold", "box"], current=[True, False])
    value = np.linspace(-1, 0, 8, dtype=np.float32)
    with pytest.raises(ConfigError, match="task box: no positive fraction"):
        label_with(made, value, fold=0.4)
    with pytest.raises(HealthError, match="labels of box: no autonomous frames"):
        label_with(made, value, fold=0.4, box=0.4)


def test_aborted_frames_are_never_positive() -> None:
    made = make_facts([10, 5], [S, A], sources=[Source.ROLLOUT, Source.CORRECTION], human=range(10, 15))
    labels = label_with(made, np.linspace(-1, 0, 15, dtype=np.float32) ** 3, fold=0.4)
    assert not labels.positive[10:].any()
    assert not labels.forced.any()
    assert np.isnan(labels.returns[10:]).all()


@pytest.mark.parametrize("outcome", [S, F])
def test_all_of_one_outcome_still_gives_the_share(outcome: Outcome) -> None:
    made = make_facts([20] * 5, [outcome] * 5)
    value = np.random.default_rng(1).uniform(-1, 0, 100).astype(np.float32)
    assert label_with(made, value, fold=0.4).positive.sum() == 40


def test_facts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConfigError, match="outcomes describe 1 episodes, expected 2"):
        make_facts([2, 2], [S])


def test_a_subset_keeps_rows_with_their_episodes() -> None:
    made = every_source()
    kept = made.subset(np.array([False, False, True, False, True]))
    assert kept.ids == ("e002", "e004")
    assert kept.offsets.tolist() == [0, 2, 4]
    assert kept.intervened.tolist() == [False, True, False, True]
    success, aborted = split_outcomes(kept.outcomes)
    assert success.tolist() == [False, False]
    assert aborted.tolist() == [False, True]
