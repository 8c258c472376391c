"""Small real things to test against: an executor in this process, observers and journals that remember."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recap.protocols import Worker


class InlineExecutor:
    """Runs every job in this process, one after the other."""

    name = "inline"

    def __init__(self) -> None:
        self.closed = False

    def map(
        self,
        role: str,
        make_worker: Callable[..., Worker[Any, Any]],
        worker_args: tuple[Any, ...],
        jobs: Sequence[Any],
        on_result: Callable[[int, Any], None],
        *,
        num_workers: int,
    ) -> None:
        """Runs all jobs on one worker, in order."""
        worker = make_worker(*worker_args)
        try:
            for index, job in enumerate(jobs):
                on_result(index, worker.run(job))
        finally:
            worker.close()

    def call(self, role: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Calls it."""
        return function(*args)

    def close(self) -> None:
        """Remembers that it was closed."""
        self.closed = True


class RecordingObserver:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Keeps a copy."""
        self.events.append(dict(event))

    def kinds(self) -> list[str]:
        """The kind of each event, in order."""
        return [event["kind"] for event in self.events]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind."""
        return [event for event in self.events if event["kind"] == kind]


@dataclass(slots=True)
class MemoryJournal:
    """A journal that keeps what it is told."""

    progressed: list[tuple[int, int, str]] = field(default_factory=list)
    told: list[tuple[int, dict[str, float]]] = field(default_factory=list)

    def progress(self, done: int, total: int, unit: str) -> None:
        self.progressed.append((done, total, unit))

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.told.append((step, dict(values)))


class RecordingJournal:
    """Keeps what a step says."""

    def __init__(self) -> None:
        self.records: list[tuple[Any, ...]] = []

    def progress(self, done: int, total: int, unit: str) -> None:
        """Keeps it."""
        self.records.append(("progress", done, total, unit))

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Keeps them."""
        self.records.append(("metrics", dict(values), step))
