"""What an evaluation says; what depends on the clock is apart, so that two runs of one seed give equal evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recap.types import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatedAttempt:
    """One start, attempted once."""

    start_seed: int
    outcome: Outcome
    steps: int
    """Control steps used."""
    human_steps: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the task's detector at the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Film:
    """An attempt that was recorded as an episode, for the report."""

    start_seed: int
    episode_id: str
    outcome: Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class SuccessSummary:
    """Success with its 95 % Wilson interval."""

    attempts: int
    successes: int
    success: float
    success_low: float
    success_high: float
    mean_steps: float
    """Control steps of an attempt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """How often a policy succeeds at one task."""

    task: str
    split: str
    renderer: str
    policy_id: str
    attempts: tuple[EvaluatedAttempt, ...]
    films: tuple[Film, ...]
    summary: SuccessSummary


@dataclass(frozen=True, kw_only=True, slots=True)
class ThroughputSummary:
    """Successes per hour over all attempts with its 95 % bootstrap interval."""

    throughput_per_hour: float
    throughput_low: float
    throughput_high: float
    inference_late_s: float
    """Seconds of inference beyond the control period."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AttemptTiming:
    """What the clock said of one attempt."""

    start_seed: int
    inference_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """What the clock said of an evaluation."""

    attempts: tuple[AttemptTiming, ...]
    summary: ThroughputSummary
