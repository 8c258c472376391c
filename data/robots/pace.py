"""The clock of a control loop: one period after the other, and an honest count of the late ones."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_AWAKE_S = 0.003
_PRIORITY = 10
MISSED = 0.1
"""Share of a period by which a step may be longer before it counts as missed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PaceReport:
    """How well the control rate was held."""

    steps: int
    late: int
    """Steps whose work took longer than the period."""
    worst_s: float
    """Longest time beyond a period."""
    seconds: float
    """From the start to the end of the last step, pauses left out."""
    missed: int = 0
    """Steps that took more than a tenth longer than the period, whatever the reason."""

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
            missed=self.missed + other.missed,
        )


NO_PACE = PaceReport(steps=0, late=0, worst_s=0.0, seconds=0.0)


def sleep_exactly(seconds: float) -> None:
    """Sleeps, the last milliseconds awake: a process that other work keeps from the processor wakes up late."""
    until = time.perf_counter() + seconds
    if seconds > _AWAKE_S:
        time.sleep(seconds - _AWAKE_S)
    while time.perf_counter() < until:
        pass


@contextmanager
def before_others() -> Iterator[None]:
    """This thread, and no other, in real-time priority, where the system allows that; else as it was.

    The loop needs little of a processor, at once. Threads that it starts (the policy) keep the ordinary priority.
    """
    if not hasattr(os, "SCHED_FIFO"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    # Without the right to (RLIMIT_RTPRIO) it goes on as it is: late periods are counted and said.
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            # Only a privileged process can take that flag back.
            os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, parameters)


class Pace:
    """Waits out each control period. A late step moves all later ones: time lost is never made up by hurrying."""

    def __init__(
        self,
        rate_hz: float,
        *,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = sleep_exactly,
    ) -> None:
        """`clock` gives seconds, `sleep` lets them pass."""
        self._period_s = 1.0 / rate_hz
        self._clock, self._sleep = clock, sleep
        self.start()

    def start(self) -> None:
        """The first period begins now; the count starts anew."""
        self._began = self._ended = self._clock()
        self._deadline = self._began + self._period_s
        self._steps = self._late = self._missed = 0
        self._worst_s = self._paused_s = 0.0

    def resume(self) -> None:
        """After a pause the next period begins now; the count goes on."""
        now = self._clock()
        self._paused_s += now - self._ended
        self._ended, self._deadline = now, now + self._period_s

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
        before, self._ended = self._ended, self._clock()
        self._missed += self._ended - before > (1 + MISSED) * self._period_s
        self._deadline += self._period_s

    def report(self) -> PaceReport:
        """Of the steps since the start."""
        return PaceReport(
            steps=self._steps,
            late=self._late,
            worst_s=self._worst_s,
            seconds=self._ended - self._began - self._paused_s,
            missed=self._missed,
        )
