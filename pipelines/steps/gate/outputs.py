"""What the gate says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recap.gate import GateDecision
from recap.types import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class GateAttempt:
    """One attempt behind the decision."""

    key: str
    """PLAYER/TASK/SEED."""
    outcome: Outcome
    steps: int


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskPairs:
    """The pairs of one task, and the successes of each player in them."""

    pairs: int
    champion: int
    challenger: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GateResult:
    """The decision with every attempt behind it."""

    decision: GateDecision
    renderer: str
    champion_policy_id: str
    challenger_policy_id: str
    attempts: tuple[GateAttempt, ...]
    tasks: Mapping[str, TaskPairs] = field(default_factory=dict)
    """{task: its pairs}: one decision over several tasks may hide a loss in one of them."""
