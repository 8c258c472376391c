"""What a probe of the advantage condition says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """How a policy did that was told one condition."""

    attempts: int
    successes: int
    success: float
    success_low: float
    success_high: float
    """95 % Wilson interval."""
    by_task: Mapping[str, int]
    """{task: successes}."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionDistance:
    """How far apart the chunks of actions of one policy lie on recorded observations.

    Root mean square over the numbers of a chunk, each in standard deviations of the recorded actions of its dimension;
    mean over the observations.
    """

    frames: int
    condition: float
    """Positive against negative, from the same noise."""
    noise: float
    """Two noises, both positive."""
    ratio: float | None
    """condition / noise; None where the policy acts without noise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionProbe:
    """One policy under each condition, on the same starts with the same noise."""

    arm: str
    """Whose labels it was trained on."""
    tasks: tuple[str, ...]
    split: str
    policy_id: str
    conditions: Mapping[str, Told]
    """{"positive", "negative", "absent": how it did}."""
    distance: ActionDistance
