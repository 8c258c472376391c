"""What an open-loop evaluation says. It is no evaluation of success."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanError:
    """Over the action dimensions of one unit."""

    error: float
    keep_state_error: float | None
    """Of keeping the present state; None where an action has no state that it would keep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionError:
    """How far the policy's actions lie from the recorded ones, on one kind of frames."""

    frames: int
    steps: int
    error: tuple[float, ...]
    """[A] mean absolute error, in robot units."""
    keep_state_error: tuple[float | None, ...]
    """[A] of keeping the present state."""
    mean: Mapping[str, MeanError]
    """{unit: over its dimensions}."""
    closer_than_keeping: int
    """Dimensions in which the policy beats keeping the state."""
    comparable: int
    """Dimensions that have a state to keep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeCheck:
    """Actions beyond the recorded range."""

    finite: bool
    margin: float
    outside_fraction: float
    outside: Mapping[str, float]
    """{action: fraction} of those that leave it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenLoopEval:
    """A policy on recorded observations."""

    task: str
    policy_id: str
    statement: str
    """What the figures do not say."""
    execute: int
    frames: int
    episodes: int
    actions: tuple[str, ...]
    units: tuple[str, ...]
    groups: Mapping[str, ActionError]
    """{"demos", "positive", "negative": errors}."""
    contract: RangeCheck
