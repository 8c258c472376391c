"""What a person at the terminal sees while a run is at work: one bar that moves, or one line every few seconds.

    0/shirt_folding/record  57/200 episodes  1.9/s  ETA 1m15s
    0/shirt_folding/record  done in 1m45s

Reads the journal, as the tracker and the report do, and is told by the runner when a step begins and ends. The rate is
that of this process: what an earlier attempt had finished is in the count but not in the rate.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from recap.errors import Corrupt
from recap.journal import Record, read_journal

if TYPE_CHECKING:  # 40 ms, and a pipe needs none
    from rich.progress import Progress

PLAIN_EVERY_S = 5.0
LIVE_EVERY_S = 0.5


@dataclass(slots=True)
class Rate:
    """How fast one stage goes in this process, from its progress records."""

    node: str
    done: int = 0
    total: int = 0
    unit: str = ""
    _first: tuple[int, float] = (0, 0.0)
    """(done, UTC seconds) of the first record of this unit."""
    _t_last: float = 0.0

    def saw(self, record: Record) -> None:
        """Takes a "progress" record. The first one of a unit is where this process began."""
        t = float(record["t"])
        if record["unit"] != self.unit:  # a step may pack episodes first and then take gradient steps
            self._first = (int(record["done"]), t)
        self.done, self.total, self.unit, self._t_last = int(record["done"]), int(record["total"]), record["unit"], t

    def per_second(self) -> float | None:
        """Units per second; None before this process has finished one."""
        done, seconds = self.done - self._first[0], self._t_last - self._first[1]
        return done / seconds if done > 0 and seconds > 0 else None

    def eta_s(self) -> float | None:
        """Seconds left at this rate; None where it is not known."""
        rate = self.per_second()
        return None if rate is None else max(self.total - self.done, 0) / rate

    def line(self) -> str:
        """The stage in one line."""
        parts = [self.node, f"{self.done}/{self.total} {self.unit}"]
        rate, eta = self.per_second(), self.eta_s()
        if rate is not None and eta is not None:
            parts += [speed(rate), f"ETA {duration(eta)}" if self.done < self.total else "finishing"]
        return "  ".join(parts)


class PlainScreen:
    """One printed line at a time: log files, pipes, CI."""

    every_s = PLAIN_EVERY_S
    """Seconds between two `show`s."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self._shown = ""

    def show(self, stage: Rate) -> None:
        """Prints where the stage is, unless nothing has changed."""
        if (line := stage.line()) != self._shown:
            self._shown = line
            self.say(line)

    def close(self) -> None:
        """Nothing is left open."""


class LiveScreen:
    """A bar of rich that moves; what happened scrolls above it."""

    every_s = LIVE_EVERY_S

    def __init__(self, stream: IO[str]) -> None:
        from rich.console import Console

        self._console = Console(file=stream, highlight=False, markup=False)
        self._bar: Progress | None = None

    def show(self, stage: Rate) -> None:
        """Moves the bar."""
        from rich.progress import BarColumn, Progress, TextColumn

        if self._bar is None:
            line = TextColumn("{task.description}", markup=False)
            self._bar = Progress(BarColumn(20), line, console=self._console, auto_refresh=False, transient=True)
            self._bar.add_task("")
            self._bar.start()
        task = self._bar.task_ids[0]
        self._bar.update(task, completed=stage.done, total=stage.total, description=stage.line(), refresh=True)

    def say(self, line: str) -> None:
        """Prints it above the bar."""
        self._console.print(line)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def screen_for(stream: IO[str], say: Callable[[str], None]) -> PlainScreen | LiveScreen:
    """A moving bar on a terminal, plain lines elsewhere."""
    return LiveScreen(stream) if stream.isatty() else PlainScreen(say)


class ProgressObserver:
    """A RunObserver that shows the step at work. `with` it around the run: it has a thread.

    Args:
        journal: the run's journal; what it holds already is not shown.
        screen: where to draw.
        clock: monotonic seconds, for tests.
    """

    def __init__(
        self, journal: Path, screen: PlainScreen | LiveScreen, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._journal = journal
        self._screen = screen
        self._clock = clock
        self._offset = journal.stat().st_size if journal.exists() else 0
        self._rate: Rate | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._shown_at = -1e9

    def __enter__(self) -> ProgressObserver:
        self._thread = threading.Thread(target=self._draw, name="recap-progress", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._screen.close()

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Starts and ends the line of a step, and says what is worth keeping."""
        with self._lock:
            kind, node = event["kind"], str(event.get("node", ""))
            if kind == "step_started":
                self._rate = Rate(node)
                self._shown_at = self._clock()
            elif kind in ("step_done", "step_failed"):
                self._rate = None
                self._screen.close()
            said = _SAID.get(kind)
            if said is not None:
                self._screen.say(said(event))

    def tick(self) -> None:
        """Reads what is new and, if it is time, shows it."""
        with self._lock:
            for record in self._news():
                if self._rate is not None and record["kind"] == "progress" and record["node"] == self._rate.node:
                    self._rate.saw(record)
            now = self._clock()
            if self._rate is not None and self._rate.unit and now - self._shown_at >= self._screen.every_s:
                self._shown_at = now
                self._screen.show(self._rate)

    def _news(self) -> list[Record]:
        try:
            records, self._offset = read_journal(self._journal, self._offset)
        except Corrupt:  # somebody made it shorter: begin again
            records, self._offset = read_journal(self._journal, 0)
        return records

    def _draw(self) -> None:
        while not self._stop.wait(min(self._screen.every_s, LIVE_EVERY_S)):
            self.tick()


_SAID: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "step_cached": lambda event: f"{event['node']}  already done",
    "step_done": lambda event: f"{event['node']}  done in {duration(float(event['seconds']))}",
    "step_failed": lambda event: f"{event['node']}  {event.get('state', 'failed')} after {_spent(event)}",
    "step_quarantined": lambda event: f"{event['node']}  stored result is damaged ({event['reason']}): made again",
    "executor_started": lambda event: _started(event),
    "worker_died": lambda event: f"{event['worker']} died during {event['during']}: given again to a fresh process",
}


def _spent(event: Mapping[str, Any]) -> str:
    return duration(float(event["seconds"]))


def _started(event: Mapping[str, Any]) -> str:
    url = event.get("dashboard_url")
    seconds = float(event["seconds"])
    return f"{event['executor']} ready in {seconds:.1f}s" + (f", dashboard {url}" if url else "")


def duration(seconds: float) -> str:
    """Seconds for people: 0.4s, 12s, 1m15s, 2h03m, 3d04h."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def speed(per_second: float) -> str:
    """A rate for people: 12/s, 1.9/s, 4.0/min, 2.5/h."""
    for factor, unit in ((1.0, "s"), (60.0, "min"), (3600.0, "h")):
        if per_second * factor >= 1 or unit == "h":
            value = per_second * factor
            return f"{value:.0f}/{unit}" if value >= 10 else f"{value:.1f}/{unit}"
    raise AssertionError("unreachable")
