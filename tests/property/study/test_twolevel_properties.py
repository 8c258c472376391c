"""The two-level bootstrap: what must hold for whatever was measured, and how often its intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from recap.errors import ConfigError
from recap.twolevel import Grid, rank_correlation, two_level_change, two_level_difference, two_level_estimate
from value_model.metrics import spearman

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 12))
FEW = 400
"""Resamples: enough for what must hold exactly."""


def won(shape: tuple[int, int]) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, shape, elements=st.sampled_from([0.0, 1.0]))


def grid(gain: np.ndarray, cost: float = 1.0) -> Grid:
    return Grid(gain=gain, cost=np.full_like(gain, cost))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Grid, Grid]:
    shape = draw(SHAPES)
    return grid(draw(won(shape))), grid(draw(won(shape)))


@given(SHAPES.flatmap(won))
def test_arms_that_do_the_same_differ_by_exactly_nothing(gain: np.ndarray) -> None:
    found = two_level_difference([(grid(gain), grid(gain))], resamples=FEW)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


@given(SHAPES.flatmap(won), st.floats(-2, 2))
def test_a_constant_shift_is_found_without_any_doubt(gain: np.ndarray, shift: float) -> None:
    """Pairing: the doubt about each arm is shared and cancels."""
    found = two_level_difference([(grid(gain + shift), grid(gain))], resamples=FEW)
    assert [found.value, found.low, found.high] == pytest.approx([shift] * 3, abs=1e-9)


@given(st.lists(pairs(), min_size=1, max_size=3))
def test_the_interval_holds_the_figure_and_the_figure_is_the_mean_over_tasks(tasks: list[tuple[Grid, Grid]]) -> None:
    found = two_level_difference(tasks, resamples=FEW)
    assert found.value == pytest.approx(np.mean([a.gain.mean() - b.gain.mean() for a, b in tasks]))
    assert found.low - 1e-9 <= found.value <= found.high + 1e-9
    turned = two_level_difference([(b, a) for a, b in tasks], resamples=FEW)
    assert [turned.low, turned.high] == pytest.approx([-found.high, -found.low], abs=1e-9)


@given(st.data())
def test_the_order_of_seeds_starts_and_tasks_changes_the_interval_by_no_more_than_chance(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    tasks = [(grid((rng.random((4, 30)) < 0.6) * 1.0), grid((rng.random((4, 30)) < 0.4) * 1.0)) for _ in range(2)]
    rows, columns = rng.permutation(4), rng.permutation(30)
    moved = [tuple(grid(one.gain[rows][:, columns]) for one in task) for task in reversed(tasks)]
    a = two_level_difference(tasks)
    b = two_level_difference([(first, second) for first, second in moved])
    assert b.value == pytest.approx(a.value)
    assert [b.low, b.high] == pytest.approx([a.low, a.high], abs=0.02)


def test_both_levels_count() -> None:
    """Seeds that differ as a whole widen the interval as much as their number says, however many starts there are."""
    by_seed = np.repeat([[0.0], [1.0], [0.0], [1.0]], 500, axis=1)
    found = two_level_estimate([grid(by_seed)])
    assert (found.low, found.high) == pytest.approx((0.0, 1.0))
    by_start = np.tile([0.0, 1.0], (4, 250))
    found = two_level_estimate([grid(by_start)])
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(2000), rel=0.1)


def test_tasks_weigh_equally_however_many_starts_they_have() -> None:
    much, little = grid(np.ones((2, 50))), grid(np.zeros((2, 5)))
    assert two_level_estimate([much, little], resamples=FEW).value == 0.5


def test_throughput_is_a_ratio_of_sums_and_its_change_has_no_size_against_nothing() -> None:
    slow = Grid(gain=np.array([[1.0, 0.0]]), cost=np.array([[0.5, 1.5]]))
    assert slow.figure == 0.5
    fast = Grid(gain=np.ones((1, 2)), cost=np.ones((1, 2)))
    found = two_level_change([(fast, fast)], resamples=FEW)
    assert found is not None
    assert found.value == 0.0
    assert two_level_change([(fast, grid(np.zeros((1, 2))))], resamples=FEW) is None
    assert two_level_change([(fast, slow)], resamples=FEW) is None, "a resample may hold the failure alone"


@given(st.integers(0, 10_000), st.integers(4, 20))
def test_the_rank_correlation_is_spearmans(seed: int, cells: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 6, cells).astype(float), rng.integers(0, 6, cells).astype(float)
    if len(set(x)) == 1 or len(set(y)) == 1:
        return
    expected = spearman(x, y)
    assert expected is not None
    groups = [str(i) for i in range(cells)]
    assert rank_correlation(x, y, groups, resamples=FEW).value == pytest.approx(expected)
    up = rank_correlation(x, 3 * x + 1, groups, resamples=FEW)
    assert [up.value, up.low, up.high] == pytest.approx([1.0] * 3)


def test_cells_that_rest_on_the_same_data_are_no_independent_evidence() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random(8), rng.random(8)
    alone = rank_correlation(x, y, [str(i) for i in range(8)])
    copied = rank_correlation(np.tile(x, 5), np.tile(y, 5), [str(i) for i in range(8)] * 5)
    assert copied.value == pytest.approx(alone.value)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.05)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: two_level_estimate([]), "no task"),
        (lambda: grid(np.zeros((0, 3))), "expected"),
        (lambda: Grid(gain=np.ones((1, 2)), cost=np.zeros((1, 2))), "above 0"),
        (lambda: two_level_difference([(grid(np.ones((2, 3))), grid(np.ones((2, 4))))]), "same seeds and starts"),
        (lambda: rank_correlation([1, 2, 3], [1, 2, 3], ["a", "a", "b"]), "at least 3"),
        (lambda: rank_correlation([1, 1, 1], [1, 2, 3], ["a", "b", "c"]), "the same in every cell"),
    ],
)
def test_what_cannot_be_measured_is_refused(call: object, said: str) -> None:
    assert callable(call)
    with pytest.raises(ConfigError, match=said):
        call()


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_over_a_few_seeds_hold_the_truth_about_as_often_as_they_say(seeds: int) -> None:
    """100 starts, three tasks, trainings that differ by 5 points: 95 % asked for, at least 90 % kept."""
    rng = np.random.default_rng(seeds)
    truth, held, runs = 0.15, 0, 300
    for _ in range(runs):
        tasks = []
        for _ in range(3):
            rate = 0.45 + truth + 0.05 * rng.standard_normal((seeds, 1))
            first = (rng.random((seeds, 100)) < rate) * 1.0
            tasks.append((grid(first), grid((rng.random((seeds, 100)) < 0.45) * 1.0)))
        found = two_level_difference(tasks, resamples=1000)
        held += found.low <= truth <= found.high
    assert 0.90 <= held / runs <= 0.995
