"""How sure a figure is: intervals for success, for paired differences, and throughput with its interval.

Every interval is two-sided. Bootstraps are seeded by the caller, so a report says the same twice. It must not know
where attempts come from.

Letters: n starts, G training seeds, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recap.errors import ConfigError
from recap.types import Attempt, Outcome

_RESAMPLES = 10_000
_CELLS_AT_ONCE = 1 << 22


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure and its confidence interval."""

    value: float
    low: float
    high: float


def mean_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """[n] ranks from 1; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def wilson_interval(successes: int, attempts: int, *, confidence: float = 0.95) -> Interval:
    """Interval of a success rate, honest at 0 and 1 and for few attempts (Wilson score).

    Raises:
        ConfigError: no attempts, or more successes than attempts.

    Example:
        >>> interval = wilson_interval(0, 10)
        >>> round(interval.low, 3), round(interval.high, 3)
        (0.0, 0.278)
    """
    if attempts < 1 or not 0 <= successes <= attempts:
        raise ConfigError(f"{successes} successes of {attempts} attempts: expected at least one attempt")
    z = _z(confidence)
    rate = successes / attempts
    centre = (rate + z * z / (2 * attempts)) / (1 + z * z / attempts)
    half = z / (1 + z * z / attempts) * (rate * (1 - rate) / attempts + z * z / (4 * attempts**2)) ** 0.5
    # At the ends the bound is exactly 0 or 1; rounding must not move it off.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == attempts else centre + half
    return Interval(low=low, high=high)


def paired_success_difference(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Success rate of `first` minus that of `second` over the same starts (Newcombe's paired score interval).

    Unlike a bootstrap it is no point when the two agree on every start. [n] bool each.

    Raises:
        ConfigError: not the same starts, or none.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.size == 0 or a.ndim != 1:
        raise ConfigError(f"successes of shapes {a.shape} and {b.shape}: expected the same starts, [n] both")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ConfigError("paired_success_difference takes successes (0 or 1) per start")
    n = a.size
    both, only_a = int(np.sum((a == 1) & (b == 1))), int(np.sum((a == 1) & (b == 0)))
    only_b = int(np.sum((a == 0) & (b == 1)))
    neither = n - both - only_a - only_b
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    cross = both * neither - only_a * only_b
    # Newcombe's method 10: continuity correction of a positive correlation only.
    phi = (max(cross - n / 2, 0.0) if cross > 0 else float(cross)) / margins**0.5 if margins else 0.0
    return _newcombe((both + only_a, n), (both + only_b, n), phi=phi, confidence=confidence)


def success_difference(first: ArrayLike, second: ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Success rate of `first` minus that of `second`, from attempts that have nothing to do with each other.

    Newcombe's score interval for two independent rates (1998, method 10). [n] and [m] bool.

    Raises:
        ConfigError: not successes, or none.

    Example:
        >>> found = success_difference([True] * 56 + [False] * 14, [True] * 48 + [False] * 32)
        >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
        (0.2, 0.0524, 0.3339)
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.ndim != 1 or b.ndim != 1 or not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ConfigError(f"successes of shapes {a.shape} and {b.shape}: expected one 0 or 1 per attempt")
    return _newcombe((int(a.sum()), a.size), (int(b.sum()), b.size), phi=0.0, confidence=confidence)


def _newcombe(first: tuple[int, int], second: tuple[int, int], *, phi: float, confidence: float) -> Estimate:
    """Difference of two rates, each (successes, attempts), from their score intervals; `phi` is their correlation."""
    interval_a, interval_b = (wilson_interval(*counts, confidence=confidence) for counts in (first, second))
    rate_a, rate_b = (successes / attempts for successes, attempts in (first, second))
    down_a, up_a = rate_a - interval_a.low, interval_a.high - rate_a
    down_b, up_b = rate_b - interval_b.low, interval_b.high - rate_b
    below = (down_a**2 - 2 * phi * down_a * up_b + up_b**2) ** 0.5
    above = (up_a**2 - 2 * phi * up_a * down_b + down_b**2) ** 0.5
    difference = rate_a - rate_b
    return Estimate(value=difference, low=difference - below, high=difference + above)


def is_success(attempt: Attempt) -> bool:
    """Whether an attempt counts: the task is done and no human acted in it."""
    return attempt.outcome is Outcome.SUCCESS and attempt.human_steps == 0


def throughput_estimate(
    attempts: Sequence[Attempt],
    *,
    max_steps: int,
    rate_hz: float,
    reset_s: float,
    seed: int,
    confidence: float = 0.95,
    resamples: int = _RESAMPLES,
) -> Estimate:
    """Successes per hour of robot time, over all attempts, with a percentile bootstrap interval over attempts.

    An attempt costs its time (T_max for any that is not a success, however early it ended), the inference beyond the
    control period, and the reset.

    Args:
        attempts: at least one.
        max_steps: T_max of the task, control steps.
        rate_hz: control rate.
        reset_s: seconds to reset the scene after each attempt.
        seed: of the resampling.
        confidence: of the interval.
        resamples: R.

    Raises:
        ConfigError: no attempts, or figures that cannot be.
    """
    won, hours = won_and_hours(attempts, max_steps=max_steps, rate_hz=rate_hz, reset_s=reset_s)
    value = float(won.sum() / hours.sum())
    return _bootstrap(value, lambda weight: (weight @ won) / (weight @ hours), won.size, seed, confidence, resamples)


def paired_throughput_difference(
    first: Sequence[Attempt],
    second: Sequence[Attempt],
    *,
    max_steps: int,
    rate_hz: float,
    reset_s: float,
    seed: int,
    confidence: float = 0.95,
    resamples: int = _RESAMPLES,
) -> Estimate:
    """Throughput of `first` minus that of `second`, with a percentile bootstrap interval over shared starts.

    Raises:
        ConfigError: not the same starts in the same order.
    """
    if [one.start_seed for one in first] != [one.start_seed for one in second]:
        raise ConfigError("paired_throughput_difference: expected the same starts in the same order")
    spec: dict[str, Any] = {"max_steps": max_steps, "rate_hz": rate_hz, "reset_s": reset_s}
    (won_a, hours_a), (won_b, hours_b) = won_and_hours(first, **spec), won_and_hours(second, **spec)
    value = float(won_a.sum() / hours_a.sum() - won_b.sum() / hours_b.sum())
    return _bootstrap(
        value,
        lambda weight: (weight @ won_a) / (weight @ hours_a) - (weight @ won_b) / (weight @ hours_b),
        won_a.size,
        seed,
        confidence,
        resamples,
    )


def _bootstrap(
    value: float,
    figure: Callable[[NDArray[Any]], NDArray[np.float64]],
    n: int,
    seed: int,
    confidence: float,
    resamples: int,
) -> Estimate:
    """A value of n attempts with its interval, from figure([k, n] how often each attempt is drawn) -> [k]."""
    rng = np.random.default_rng(seed)
    drawn = np.empty(resamples)
    piece = max(_CELLS_AT_ONCE // n, 1)
    for begin in range(0, resamples, piece):
        count = min(piece, resamples - begin)
        drawn[begin : begin + count] = figure(rng.multinomial(n, np.full(n, 1 / n), size=count))
    return _percentiles(value, drawn, confidence)


def won_and_hours(
    attempts: Sequence[Attempt], *, max_steps: int, rate_hz: float, reset_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[n] 1.0 where an attempt counts, and [n] hours each cost."""
    if not attempts:
        raise ConfigError("throughput of no attempts: expected at least one")
    if max_steps < 1 or not rate_hz > 0 or not reset_s >= 0:
        raise ConfigError(f"max_steps {max_steps}, rate_hz {rate_hz}, reset_s {reset_s}: expected >= 1, > 0, >= 0")
    for attempt in attempts:
        if not 0 <= attempt.steps <= max_steps or not 0 <= attempt.inference_s < float("inf"):
            raise ConfigError(
                f"attempt from start {attempt.start_seed}: {attempt.steps} steps of at most {max_steps}, "
                f"inference_s {attempt.inference_s}: expected finite and not negative"
            )
    won = np.array([is_success(attempt) for attempt in attempts], dtype=np.float64)
    steps = np.array([a.steps if ok else max_steps for a, ok in zip(attempts, won, strict=True)], dtype=np.float64)
    extra = np.array([attempt.inference_s for attempt in attempts]) + reset_s
    return won, (steps / rate_hz + extra) / 3600.0


def _percentiles(value: float, drawn: NDArray[np.float64], confidence: float) -> Estimate:
    _z(confidence)
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value=value, low=float(low), high=float(high))


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence {confidence}: expected between 0 and 1, e.g. 0.95")
    return NormalDist().inv_cdf((1 + confidence) / 2)
