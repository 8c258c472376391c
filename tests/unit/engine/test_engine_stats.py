"""Statistics against published numbers, closed forms and their own coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recap.errors import ConfigError
from recap.stats import (
    paired_success_difference,
    throughput_estimate,
    wilson_interval,
)
from recap.types import Attempt, Outcome


@pytest.mark.parametrize(
    # Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3.
    ("successes", "attempts", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_agrees_with_the_published_table(successes: int, attempts: int, low: float, high: float) -> None:
    found = wilson_interval(successes, attempts)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_wilson_is_symmetric_and_exact_at_the_ends() -> None:
    assert wilson_interval(10, 10).high == 1.0
    assert wilson_interval(0, 10).low == 0.0
    up, down = wilson_interval(3, 10), wilson_interval(7, 10)
    assert (up.low, up.high) == pytest.approx((1 - down.high, 1 - down.low))


@pytest.mark.parametrize(("successes", "attempts"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_refuses_what_cannot_be(successes: int, attempts: int) -> None:
    with pytest.raises(ConfigError):
        wilson_interval(successes, attempts)


def test_paired_success_of_agreeing_policies_is_no_point() -> None:
    found = paired_success_difference([True] * 10, [True] * 10)
    assert found.value == 0.0
    assert found.low < -0.2
    assert found.high > 0.2


def test_paired_success_turns_its_sign_with_its_arguments() -> None:
    a, b = np.array([1, 1, 0, 1, 1, 0, 1, 1]), np.array([1, 0, 0, 1, 0, 0, 1, 0])
    forward, back = paired_success_difference(a, b), paired_success_difference(b, a)
    assert (forward.value, forward.low, forward.high) == pytest.approx((-back.value, -back.high, -back.low))
    assert -1 <= forward.low < forward.value < forward.high <= 1


def test_paired_success_interval_is_narrower_when_starts_correlate() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(100) < 0.5
    same = paired_success_difference(hard, hard ^ (np.arange(100) < 5))
    apart = paired_success_difference(hard, rng.permutation(hard))
    assert same.high - same.low < apart.high - apart.low


def test_paired_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    covered, trials, truth = 0, 300, 0.2
    for _ in range(trials):
        ease = rng.random(60)
        a, b = ease < 0.7, ease < 0.5
        flip = rng.random(60) < 0.2
        a = np.where(flip, rng.random(60) < 0.7, a)
        found = paired_success_difference(a, b)
        covered += found.low <= truth <= found.high
    # 95 % nominal; three standard errors of 300 trials are 3.8 points.
    assert covered / trials > 0.90


@pytest.mark.parametrize(
    ("first", "second"),
    [([], []), ([1.0], [1.0, 2.0]), ([float("nan")], [1.0]), ([0.5], [1.0]), (np.zeros((2, 2)), np.zeros((2, 2)))],
)
def test_pairs_that_do_not_match_are_refused(first: Any, second: Any) -> None:
    with pytest.raises(ConfigError):
        paired_success_difference(first, second)


def test_paired_success_takes_successes_only() -> None:
    with pytest.raises(ConfigError, match="takes successes"):
        paired_success_difference([0.5], [1.0])


def attempt(outcome: Outcome, steps: int, *, inference_s: float = 0.0, human_steps: int = 0) -> Attempt:
    return Attempt(start_seed=0, outcome=outcome, steps=steps, inference_s=inference_s, human_steps=human_steps)


FIGURES = {"max_steps": 100, "rate_hz": 10.0, "reset_s": 5.0}


@pytest.mark.parametrize(
    ("attempts", "seconds", "successes"),
    [
        ([attempt(Outcome.SUCCESS, 50)], 5 + 5, 1),
        ([attempt(Outcome.SUCCESS, 50, inference_s=2.0)], 5 + 2 + 5, 1),
        ([attempt(Outcome.SUCCESS, 50), attempt(Outcome.FAILURE, 3)], 10 + 15, 1),
        ([attempt(Outcome.SUCCESS, 50), attempt(Outcome.ABORTED, 3)], 10 + 15, 1),
        ([attempt(Outcome.SUCCESS, 50), attempt(Outcome.SUCCESS, 50, human_steps=1)], 10 + 15, 1),
        ([attempt(Outcome.FAILURE, 100, inference_s=1.0)], 16, 0),
    ],
)
def test_throughput_counts_every_attempt_in_full(attempts: list[Attempt], seconds: float, successes: int) -> None:
    found = throughput_estimate(attempts, **FIGURES, seed=0, resamples=10)
    assert found.value == pytest.approx(successes / seconds * 3600)


def test_failing_early_is_no_gain() -> None:
    late = [attempt(Outcome.SUCCESS, 50), attempt(Outcome.FAILURE, 100)]
    early = [attempt(Outcome.SUCCESS, 50), attempt(Outcome.FAILURE, 1)]
    assert throughput_estimate(early, **FIGURES, seed=0) == throughput_estimate(late, **FIGURES, seed=0)


def test_throughput_interval_holds_the_figure() -> None:
    attempts = [attempt(Outcome.SUCCESS if i % 3 else Outcome.FAILURE, 40 + i) for i in range(60)]
    found = throughput_estimate(attempts, **FIGURES, seed=0)
    assert 0 < found.low < found.value < found.high


@pytest.mark.parametrize(
    ("attempts", "figures"),
    [
        ([], FIGURES),
        ([attempt(Outcome.SUCCESS, 101)], FIGURES),
        ([attempt(Outcome.SUCCESS, 10, inference_s=float("nan"))], FIGURES),
        ([attempt(Outcome.SUCCESS, 10)], {**FIGURES, "rate_hz": 0.0}),
        ([attempt(Outcome.SUCCESS, 10)], {**FIGURES, "reset_s": -1.0}),
    ],
)
def test_throughput_refuses_what_cannot_be(attempts: list[Attempt], figures: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        throughput_estimate(attempts, **figures, seed=0)
