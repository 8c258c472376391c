"""Figures of an evaluation, from its attempts: success with its interval, time used, throughput, paired difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.steps.evaluate.outputs import EvaluatedAttempt, Evaluation, SuccessSummary, ThroughputSummary, Timing
from recap.errors import ConfigError
from recap.specs import TaskSpec
from recap.stats import (
    is_success,
    paired_success_difference,
    paired_throughput_difference,
    throughput_estimate,
    wilson_interval,
)
from recap.types import Attempt, Outcome

BOOTSTRAP_SEED = 0
"""Of the resampling only: the same attempts always give the same interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedDifference:
    """Success rate of one policy minus that of another over the same starts, with its 95 % paired score interval."""

    difference: float
    low: float
    high: float
    starts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedThroughput:
    """Successes per hour of one policy minus that of another over the same starts, with its 95 % bootstrap interval."""

    difference: float
    low: float
    high: float


def success_summary(attempts: Sequence[Attempt]) -> SuccessSummary:
    """Counts, success rate with its 95 % Wilson interval, and mean control steps of an attempt."""
    successes = sum(map(is_success, attempts))
    interval = wilson_interval(successes, len(attempts))
    return SuccessSummary(
        attempts=len(attempts),
        successes=successes,
        success=successes / len(attempts),
        success_low=interval.low,
        success_high=interval.high,
        mean_steps=sum(attempt.steps for attempt in attempts) / len(attempts),
    )


def throughput_summary(attempts: Sequence[Attempt], spec: TaskSpec) -> ThroughputSummary:
    """Successes per hour over all attempts with its 95 % bootstrap interval; late inference counts as robot time."""
    estimate = throughput_estimate(
        attempts, max_steps=spec.max_steps, rate_hz=spec.rate_hz, reset_s=spec.reset_s, seed=BOOTSTRAP_SEED
    )
    return ThroughputSummary(
        throughput_per_hour=estimate.value,
        throughput_low=estimate.low,
        throughput_high=estimate.high,
        inference_late_s=float(sum(one.inference_s for one in attempts)),
    )


def paired_difference(first: Sequence[EvaluatedAttempt], second: Sequence[EvaluatedAttempt]) -> PairedDifference:
    """Success rate of `first` minus that of `second` over the same starts.

    Raises:
        ConfigError: not the same starts, a start attempted twice, or none.
    """
    won_a, won_b = (
        {one.start_seed: one.outcome is Outcome.SUCCESS and one.human_steps == 0 for one in attempts}
        for attempts in (first, second)
    )
    if won_a.keys() != won_b.keys() or (len(first), len(second)) != (len(won_a), len(won_b)):
        raise ConfigError(
            f"paired difference: {len(first)} and {len(second)} attempts share {len(won_a.keys() & won_b.keys())} "
            "starts, expected the same starts, each once",
            hint="evaluate both with the same split and the same number of attempts",
        )
    seeds = sorted(won_a)
    estimate = paired_success_difference([won_a[seed] for seed in seeds], [won_b[seed] for seed in seeds])
    return PairedDifference(difference=estimate.value, low=estimate.low, high=estimate.high, starts=len(seeds))


def paired_throughput(
    first: tuple[Evaluation, Timing], second: tuple[Evaluation, Timing], spec: TaskSpec
) -> PairedThroughput:
    """Throughput of `first` minus that of `second` over the same starts.

    Raises:
        ConfigError: not the same starts.
    """
    timed = []
    for evaluation, timing in (first, second):
        late = {one.start_seed: one.inference_s for one in timing.attempts}
        ordered = sorted(evaluation.attempts, key=lambda one: one.start_seed)
        timed.append(
            [
                Attempt(
                    start_seed=one.start_seed,
                    outcome=one.outcome,
                    steps=one.steps,
                    human_steps=one.human_steps,
                    inference_s=late[one.start_seed],
                )
                for one in ordered
            ]
        )
    estimate = paired_throughput_difference(
        *timed, max_steps=spec.max_steps, rate_hz=spec.rate_hz, reset_s=spec.reset_s, seed=BOOTSTRAP_SEED
    )
    return PairedThroughput(difference=estimate.value, low=estimate.low, high=estimate.high)


def count_by_task(tasks: Sequence[str], won: Sequence[bool]) -> dict[str, int]:
    """{task: successes} of attempts, each at a task."""
    counts = dict.fromkeys(tasks, 0)
    for task, ok in zip(tasks, won, strict=True):
        counts[task] += ok
    return counts


def attempt_of(row: Mapping[str, Any]) -> Attempt:
    """The attempt that a worker's row tells of."""
    return Attempt(
        start_seed=row["start_seed"],
        outcome=Outcome(row["outcome"]),
        steps=row["steps"],
        inference_s=row.get("inference_s", 0.0),
        human_steps=row["human_steps"],
    )
