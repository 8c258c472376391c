"""The clock of a control loop: one period after the other, and an honest count of the late ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PaceReport:
    """How well the control rate was held."""

    steps: int
    late: int
    """Steps whose work took longer than the period."""
    worst_s: float
    """Longest time beyond a period."""
    seconds: float
    """From the start to the end of the last step."""

    @property
    def rate_hz(self) -> float:
        """Measured control rate; 0 before the first step."""
        return self.steps / self.seconds if self.steps else 0.0

    def __add__(self, other: PaceReport) -> PaceReport:
        return PaceReport(
            steps=self.steps + other.steps,
            late=self.late + other.late,
            worst_s=max(self.worst_s, other.worst_s),
            seconds=self.seconds + other.seconds,
        )


NO_PACE = PaceReport(steps=0, late=0, worst_s=0.0, seconds=0.0)


class Pace:
    """Waits out each control period. A late step moves all later ones: time lost is never made up by hurrying."""

    def __init__(
        self,
        rate_hz: float,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`clock` gives seconds, `sleep` lets them pass."""
        self._period_s = 1.0 / rate_hz
        self._clock, self._sleep = clock, sleep
        self.start()

    def start(self) -> None:
        """The first period begins now; the count starts anew."""
        self._began = self._ended = self._clock()
        self._deadline = self._began + self._period_s
        self._steps = self._late = 0
        self._worst_s = 0.0

    def wait(self) -> None:
        """Returns when the period is over; at once, and counted as late, if it is over already."""
        now = self._clock()
        self._steps += 1
        if now > self._deadline:
            self._late += 1
            self._worst_s = max(self._worst_s, now - self._deadline)
            self._deadline = now
        while (left := self._deadline - self._clock()) > 0:
            self._sleep(left)
        self._ended = self._clock()
        self._deadline += self._period_s

    def report(self) -> PaceReport:
        """Of the steps since the start."""
        return PaceReport(steps=self._steps, late=self._late, worst_s=self._worst_s, seconds=self._ended - self._began)
