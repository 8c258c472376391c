"""Figures of an evaluation, from its attempts: success with its interval, time used, throughput, paired difference.

What depends only on the seeds (success, control steps) is kept apart from what depends on the clock (inference time):
two runs of one seed give equal evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recap.errors import ConfigError
from recap.specs import TaskSpec
from recap.stats import is_success, paired_success_difference, throughput_estimate, wilson_interval
from recap.types import Attempt, Outcome

Row = Mapping[str, Any]

BOOTSTRAP_SEED = 0
"""Of the resampling only: the same attempts always give the same interval."""


def success_summary(rows: Sequence[Row]) -> dict[str, float | int]:
    """Counts, success rate with its 95 % Wilson interval, and mean control steps of an attempt."""
    attempts = [attempt_of(row) for row in rows]
    successes = sum(map(is_success, attempts))
    interval = wilson_interval(successes, len(attempts))
    return {
        "attempts": len(attempts),
        "successes": successes,
        "success": successes / len(attempts),
        "success_low": interval.low,
        "success_high": interval.high,
        "mean_steps": sum(attempt.steps for attempt in attempts) / len(attempts),
    }


def throughput_summary(rows: Sequence[Row], spec: TaskSpec) -> dict[str, float]:
    """Successes per hour over all attempts with its 95 % bootstrap interval; late inference counts as robot time."""
    estimate = throughput_estimate(
        [attempt_of(row) for row in rows],
        max_steps=spec.max_steps,
        rate_hz=spec.rate_hz,
        reset_s=spec.reset_s,
        seed=BOOTSTRAP_SEED,
    )
    return {
        "throughput_per_hour": estimate.value,
        "throughput_low": estimate.low,
        "throughput_high": estimate.high,
        "inference_late_s": sum(float(row["inference_s"]) for row in rows),
    }


def paired_summary(rows_a: Sequence[Row], rows_b: Sequence[Row]) -> dict[str, float | int]:
    """Success rate of `rows_a` minus that of `rows_b` over the same starts, with its 95 % paired score interval.

    Raises:
        ConfigError: not the same starts, a start attempted twice, or none.
    """
    won_a, won_b = (
        {attempt.start_seed: is_success(attempt) for attempt in map(attempt_of, rows)} for rows in (rows_a, rows_b)
    )
    if won_a.keys() != won_b.keys() or (len(rows_a), len(rows_b)) != (len(won_a), len(won_b)):
        raise ConfigError(
            f"paired difference: {len(rows_a)} and {len(rows_b)} attempts share {len(won_a.keys() & won_b.keys())} "
            "starts, expected the same starts, each once",
            hint="evaluate both with the same split and the same number of attempts",
        )
    seeds = sorted(won_a)
    estimate = paired_success_difference([won_a[seed] for seed in seeds], [won_b[seed] for seed in seeds])
    return {"difference": estimate.value, "low": estimate.low, "high": estimate.high, "starts": len(seeds)}


def count_by_task(tasks: Sequence[str], won: Sequence[bool]) -> dict[str, int]:
    """{task: successes} of attempts, each at a task."""
    counts = dict.fromkeys(tasks, 0)
    for task, ok in zip(tasks, won, strict=True):
        counts[task] += ok
    return counts


def attempt_of(row: Row) -> Attempt:
    """The attempt that a worker's row tells of."""
    return Attempt(
        start_seed=row["start_seed"],
        outcome=Outcome(row["outcome"]),
        steps=row["steps"],
        inference_s=row.get("inference_s", 0.0),
        human_steps=row["human_steps"],
    )
