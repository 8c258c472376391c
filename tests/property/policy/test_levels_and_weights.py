"""Levels and weights of advantages: by hand, and what holds for any labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.conditioning import Condition, ConditionedBatches, WeightedBatches, shares_of
from policy.teaching import GRADED, MEMBERS, TOLD, Labels, Lesson, levels, weights
from recap.errors import ConfigError
from recap.types import FloatArray


def labels_of(advantage: list[float], *, task: list[int] | None = None, forced: list[int] | None = None) -> Labels:
    """Frames with these advantages; value is the place of the frame, positive the sign."""
    count, found = len(advantage), np.array(advantage, np.float32)
    chosen = np.isin(np.arange(count), forced or [])
    return Labels(
        advantage=found,
        positive=(found > 0) | chosen,
        forced=chosen,
        value=np.arange(count, dtype=np.float32),
        task=np.zeros(count, np.int64) if task is None else np.array(task),
    )


numbers = st.integers(-50, 50).map(lambda n: n / 8)
frames = st.lists(st.tuples(numbers, st.integers(0, 2), st.booleans()), min_size=1, max_size=40)


def made(found: list[tuple[float, int, bool]]) -> Labels:
    advantage, task, forced = zip(*found, strict=True)
    return labels_of(list(advantage), task=list(task), forced=[i for i, one in enumerate(forced) if one])


def test_levels_by_hand() -> None:
    np.testing.assert_allclose(levels(labels_of([0.3, -9, 0.1, 500])), [0.25, -0.75, -0.25, 0.75])
    np.testing.assert_allclose(levels(labels_of([2, 1, 1, 0])), [0.75, 0, 0, -0.75])  # ties share
    np.testing.assert_allclose(levels(labels_of([5, 1, 2, 4], forced=[0])), [1, -2 / 3, 0, 2 / 3])
    np.testing.assert_allclose(levels(labels_of([1, 2, 30, 40], task=[0, 0, 1, 1])), [-0.5, 0.5, -0.5, 0.5])
    np.testing.assert_allclose(levels(labels_of([math.nan, 2, 1])), [-1, 0.5, -0.5])


def test_levels_within_bins_by_value_by_hand() -> None:
    """Early frames lose to late ones as a whole; within its bin each is ranked among its like."""
    labels = labels_of([1, 0, 11, 10])
    np.testing.assert_allclose(levels(labels), [-0.25, -0.75, 0.75, 0.25])
    np.testing.assert_allclose(levels(labels, value_bins=2), [0.5, -0.5, 0.5, -0.5])
    np.testing.assert_allclose(levels(labels, value_bins=4), [0, 0, 0, 0])  # alone in its bin


def test_weights_by_hand() -> None:
    level = np.array([-1, 0, 1, 1], np.float32)
    found = weights(level, np.array([0, 0, 0, 1]), temperature=2.0)
    raw = [math.exp(-0.5), 1.0, math.exp(0.5)]
    np.testing.assert_allclose(found, [*(one / (sum(raw) / 3) for one in raw), 1.0], rtol=1e-6)


@given(found=frames, bins=st.integers(1, 5))
def test_levels_lie_evenly_around_nought(found: list[tuple[float, int, bool]], bins: int) -> None:
    labels = made(found)
    level = levels(labels, value_bins=bins)
    assert np.all(np.abs(level) <= 1)
    assert np.all(level[labels.forced] == 1)
    for task in range(3):
        rest = level[(labels.task == task) & ~labels.forced]
        assert np.all(np.abs(rest) < 1)
        assert abs(rest.sum()) < 1e-4


@given(found=frames, scale=st.sampled_from([0.25, 4.0, 1024.0]), shift=st.integers(-64, 64))
def test_levels_know_the_order_alone(found: list[tuple[float, int, bool]], scale: float, shift: int) -> None:
    labels = made(found)
    moved = Labels(
        advantage=labels.advantage * np.float32(scale) + shift,
        positive=labels.positive, forced=labels.forced, value=labels.value, task=labels.task,
    )  # fmt: skip
    level = levels(labels)
    np.testing.assert_array_equal(levels(moved), level)
    for task in range(3):
        rows = np.flatnonzero((labels.task == task) & ~labels.forced)
        difference = np.sign(np.subtract.outer(labels.advantage[rows], labels.advantage[rows]))
        np.testing.assert_array_equal(np.sign(np.subtract.outer(level[rows], level[rows])), difference)


@given(found=frames, temperature=st.sampled_from([0.01, 0.1, 0.5, 2.0, 100.0]))
def test_weights_have_mean_one_per_task_and_the_order_of_levels(
    found: list[tuple[float, int, bool]], temperature: float
) -> None:
    labels = made(found)
    level = levels(labels)
    weight = weights(level, labels.task, temperature)
    assert np.all(np.isfinite(weight) & (weight >= 0))
    for task in np.unique(labels.task):
        of_task = labels.task == task
        assert abs(weight[of_task].mean(dtype=np.float64) - 1) < 1e-5
        order = np.argsort(level[of_task], kind="stable")
        assert np.all(np.diff(weight[of_task][order]) >= -1e-6 * weight[of_task].max())
        if labels.forced[of_task].any():
            assert np.all(weight[of_task & labels.forced] == weight[of_task].max())


@given(found=frames)
def test_filtered_frames_are_the_positive_ones(found: list[tuple[float, int, bool]]) -> None:
    labels = made(found)
    if not labels.positive.any():
        with pytest.raises(ConfigError, match="no frame is positive"):
            MEMBERS["filtered"](labels, 1.0, 1)
        return
    lesson = MEMBERS["filtered"](labels, 1.0, 1)
    assert lesson.rows is not None
    np.testing.assert_array_equal(lesson.rows, np.flatnonzero(labels.positive))
    assert (lesson.positive, lesson.level, lesson.weight) == (None, None, None)


def test_each_way_says_one_thing() -> None:
    labels = labels_of([1, -1, 2])
    told = {name: member(labels, 0.5, 1) for name, member in MEMBERS.items()}
    kinds = {
        name: [field for field in ("positive", "level", "weight", "rows") if getattr(lesson, field) is not None]
        for name, lesson in told.items()
    }
    assert kinds == {"hard": ["positive"], "continuous": ["level"], "weighted": ["weight"], "filtered": ["rows"]}
    assert {*TOLD, *GRADED} < set(MEMBERS)
    assert len({Lesson().identity, *(lesson.identity for lesson in told.values())}) == 5
    assert MEMBERS["weighted"](labels, 0.6, 1).identity != told["weighted"].identity


def test_labels_of_different_lengths_are_refused() -> None:
    whole = labels_of([1, 2])
    with pytest.raises(ConfigError, match=r"expected one \[N\]"):
        Labels(
            advantage=whole.advantage, positive=whole.positive, forced=whole.forced, value=whole.value[:1],
            task=whole.task,
        )  # fmt: skip


@given(codes=st.lists(st.integers(0, 2), min_size=1, max_size=8), data=st.data())
def test_a_level_mixes_the_two_conditions(codes: list[int], data: st.DataObject) -> None:
    level = np.array([data.draw(st.sampled_from([-1.0, -0.5, 0.0, 0.25, 1.0])) for _ in codes], np.float32)
    condition = np.array(codes, np.int8)
    shares = shares_of(condition, level)
    assert shares.dtype == np.float32
    assert not shares[condition == Condition.NONE].any()
    heard = shares[condition != Condition.NONE]
    np.testing.assert_array_equal(heard[:, 0] - heard[:, 1], level[condition != Condition.NONE])
    assert np.all(heard.sum(1) == 1)
    sign = np.where(condition == Condition.POSITIVE, 1, -1).astype(np.float32)
    np.testing.assert_array_equal(shares_of(condition, sign), shares_of(condition))


def test_unknown_codes_have_no_shares() -> None:
    with pytest.raises(ConfigError, match=r"conditions \[0, 3\]"):
        shares_of(np.array([0, 3]))


class Rows:
    """Batches of eight rows of 40."""

    def batch(self, step: int) -> dict[str, FloatArray]:
        index = np.random.default_rng(step).permutation(40)[:8]
        return {"state": np.zeros((8, 2), np.float32), "index": index}


def test_levels_and_weights_reach_the_rows_of_a_batch() -> None:
    level = np.linspace(-1, 1, 40, dtype=np.float32)
    graded = ConditionedBatches(Rows(), None, level=level, dropout=0.3, seed=1)
    plain = ConditionedBatches(Rows(), None, dropout=0.3, seed=1)
    weighted = WeightedBatches(Rows(), np.abs(level))
    for step in range(20):
        batch = graded.batch(step)
        np.testing.assert_array_equal(batch["level"], level[batch["index"]])
        np.testing.assert_array_equal(batch["condition"], plain.batch(step)["condition"])
        np.testing.assert_array_equal(weighted.batch(step)["weight"], np.abs(level)[batch["index"]])
    other = ConditionedBatches(Rows(), None, level=-level, dropout=0.3, seed=1)
    assert len({graded.identity, plain.identity, other.identity}) == 3


@pytest.mark.parametrize("level", [[1.5], [math.nan], [[0.0]]])
def test_levels_out_of_range_are_refused(level: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"levels \[N\] in \[-1, 1\]"):
        ConditionedBatches(Rows(), None, level=np.array(level, np.float32), seed=0)


@pytest.mark.parametrize("weight", [[-0.5], [math.nan], [math.inf]])
def test_weights_out_of_range_are_refused(weight: list[float]) -> None:
    with pytest.raises(ConfigError, match="finite numbers >= 0"):
        WeightedBatches(Rows(), np.array(weight, np.float32))
