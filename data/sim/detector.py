"""Judges an attempt from what the scenario reads off the simulator: events, the verdict, when it is over.

Owns the bookkeeping (once-only milestones, the success hold, the order of verdicts). Knows no geometry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from recap.types import Event, Outcome, PrivilegedTruth

MILESTONE, ERROR, NEUTRAL = 1, -1, 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What a scenario sees in one simulation state."""

    progress: float
    """True progress, [0, 1]."""
    stage: int
    """Index of the sub-stage being worked on."""
    milestones: Mapping[str, bool]
    """Which sub-goals hold now, in task order."""
    undone: frozenset[str]
    """Sub-goals that are clearly off: a gap to `milestones` keeps a part on the edge from counting twice."""
    succeeded: bool
    """The success condition holds now."""
    lost: bool
    """The object has left the bench for good."""
    errors: frozenset[str] = frozenset()
    """What is being done wrong now; counts once for as long as it lasts."""
    metrics: Mapping[str, float] = field(default_factory=dict)


class Detector:
    """The verdict on one attempt. `observe` once before the first step and once after each step."""

    def __init__(self, *, max_steps: int, hold_steps: int) -> None:
        self._max_steps, self._hold_steps = max_steps, hold_steps
        self.reset()

    def reset(self) -> None:
        """Forgets the attempt."""
        self._readings: list[Reading] = []
        self._events: list[Event] = []
        self._held = 0
        self._reached: set[str] = set()
        self._verdict: Outcome | None = None

    @property
    def steps(self) -> int:
        """Control steps taken since reset."""
        return max(len(self._readings) - 1, 0)

    @property
    def finished(self) -> bool:
        return self._verdict is not None

    @property
    def reached(self) -> frozenset[str]:
        """Milestones reached so far in this attempt."""
        return frozenset(self._reached)

    def note(self, name: str, kind: int) -> None:
        """Records an event at the step being taken."""
        self._events.append(Event(t=len(self._readings) - 1, name=name, kind=kind))

    def observe(self, reading: Reading) -> None:
        """Takes in the state after a step (or at the start)."""
        first = not self._readings
        if not first:
            for name, holds in reading.milestones.items():
                if holds and name not in self._reached:
                    self._reached.add(name)
                    self.note(name, MILESTONE)
                elif name in self._reached and name in reading.undone:
                    self._reached.discard(name)
                    self.note(f"{name}_undone", ERROR)
            for name in sorted(reading.errors - self._readings[-1].errors):
                self.note(name, ERROR)
        self._readings.append(reading)
        if first or self._verdict is not None:
            return
        self._held = self._held + 1 if reading.succeeded else 0
        if self._held >= self._hold_steps:
            self._end(Outcome.SUCCESS, "success", MILESTONE)
        elif reading.lost:
            self._end(Outcome.FAILURE, "object_lost", ERROR)
        elif self.steps >= self._max_steps:
            self._end(Outcome.FAILURE, "timeout", ERROR)

    def abort(self, reason: str) -> None:
        """The physics broke: the attempt counts for nothing. The broken state is not read."""
        self._readings.append(self._readings[-1])
        self._end(Outcome.ABORTED, reason, NEUTRAL)

    def _end(self, verdict: Outcome, name: str, kind: int) -> None:
        self._verdict = verdict
        self._events.append(Event(t=self.steps - 1, name=name, kind=kind))

    def truth(self) -> PrivilegedTruth:
        """The truth so far, one entry per step taken: entry t describes the state that step t started from.

        An attempt that nobody finished (the operator walked away) is a FAILURE.
        """
        before = self._readings[:-1]
        return PrivilegedTruth(
            progress=np.array([reading.progress for reading in before], dtype=np.float32),
            stage=np.array([reading.stage for reading in before], dtype=np.int64),
            events=tuple(self._events),
            outcome=self._verdict or Outcome.FAILURE,
            metrics={**self._readings[-1].metrics, "final_progress": float(self._readings[-1].progress)},
        )
