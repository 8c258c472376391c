"""Who listens while a run is at work: the terminal always, the tracker from the first step that really runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.progress import ProgressObserver, screen_for

if TYPE_CHECKING:  # a finished run that is issued again starts no tracker
    from pipelines.trackers import Tracker

Say = Callable[[str], None]


class Watch:
    """A RunObserver. `with` it around the run: it has threads.

    Args:
        journal: file of the run's journal.
        make_tracker: builds the tracker; called at the first step that runs, never for a run that is all cached.
        say: prints one line for a person.
    """

    def __init__(self, journal: Path, make_tracker: Callable[[], Tracker], say: Say) -> None:
        self._progress = ProgressObserver(journal, screen_for(sys.stderr, say))
        self._make_tracker = make_tracker
        self._tracker: Tracker | None = None
        self._say = say

    def __enter__(self) -> Watch:
        self._progress.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.__exit__(*exc)
        if self._tracker is not None and not self._tracker.close():
            self._say("tracker: not everything was mirrored in time; the next run of this name catches up")

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Told by the runner and by the executor."""
        if event["kind"] == "step_started" and self._tracker is None:
            self._tracker = self._make_tracker()
            self._tracker.start()
        self._progress.on_event(event)

    def finished(self, report: Path) -> None:
        """Shows the report with the run in the tracker."""
        if self._tracker is not None:
            self._tracker.artifact(report.parent, "report")
