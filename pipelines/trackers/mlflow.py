"""MlflowMirror: follows a run's journal on a background thread and keeps MLflow equal to it.

Decides when the journal is read and what happens when MLflow is away. MLflow is imported when there is something to
say, and not before.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.trackers.base import TRACKERS, TrackerSettings, sqlite_uri
from recap.errors import Corrupt
from recap.files import write_atomic
from recap.journal import FileJournal, Record, read_journal
from recap.workspace import Workspace

if TYPE_CHECKING:  # imports mlflow (2 s), which a finished run never needs
    from pipelines.trackers.mirror import Mirror

_RETRY_S = 30.0
_SILENT_S = 3.0
_PATIENCE_S = 6.0
_NOT_WORTH_IT = frozenset({"run_started", "run_done", "step_cached", "progress"})
"""All that a finished run says when it is issued again."""


class MlflowMirror:
    """Implements Tracker on MLflow. Only the driver has one; workers write the journal.

    A cursor in the run's directory says how far MLflow has the journal, so that a finished run need not ask. A process
    with something to say reads the journal from its start and asks MLflow what it has already.
    """

    def __init__(self, settings: TrackerSettings) -> None:
        self._settings = settings
        workspace = settings.workspace.absolute()
        self.uri: str = settings.uri or sqlite_uri(workspace / "mlflow.db")
        folder = Workspace.open(workspace, create=False).run_dir(settings.run_name)
        self._journal = folder / "journal.jsonl"
        self._cursor = folder / "mlflow.json"
        self._offset = self._remembered()
        self._mirror: Mirror | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._warned = False
        self._not_before = 0.0

    def start(self) -> None:
        """Follows the journal from a daemon thread; a second call does nothing."""
        if self._thread is None:
            self._stop.clear()
            self._thread = threading.Thread(target=self._follow, name="recap-mlflow", daemon=True)
            self._thread.start()

    def artifact(self, path: Path, folder: str = "") -> None:
        """Notes in the journal that `path` belongs with the run, so that it is not lost while MLflow is away."""
        FileJournal(self._journal, "").event("artifact", path=str(path.absolute()), folder=folder)

    def close(self, timeout_s: float = 20.0) -> bool:
        """Mirrors what is left and ends the thread.

        The thread is a daemon: one that hangs in a dead server does not keep the process alive.
        """
        self.start()
        worker = self._thread
        assert worker is not None
        self._stop.set()
        if self._warned:  # said to be away already: one more try, not a long one
            timeout_s = min(timeout_s, _PATIENCE_S)
        worker.join(min(timeout_s, _SILENT_S))
        if worker.is_alive() and timeout_s > _SILENT_S:
            self._settings.warn(f"waiting for MLflow at {self.uri}, at most {timeout_s:g} s")
            worker.join(timeout_s - _SILENT_S)
        self._thread = None
        if worker.is_alive():
            self._warn(f"did not answer within {timeout_s:g} s")
            return False
        return not self._worthwhile()

    def sync(self) -> bool:
        """Brings MLflow up to the journal's end now; False (and a warning, once) if it cannot be reached."""
        with self._lock:
            if not self._worthwhile():
                return True
            try:
                self._advance()
            # Whatever is wrong with the tracker, it is not the run's business: said once, tried again later.
            except Exception as error:
                self._mirror, self._offset = None, 0
                self._not_before = time.monotonic() + _RETRY_S
                self._warn(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
                return False
            return True

    def _follow(self) -> None:
        while not self._stop.wait(self._settings.interval_s):
            if time.monotonic() >= self._not_before:
                self.sync()
        self.sync()

    def _worthwhile(self) -> bool:
        """Whether the journal says something new; until MLflow is spoken to, something that is worth its import."""
        dull = {"progress"} if self._mirror is not None else _NOT_WORTH_IT
        return any(record["kind"] not in dull for record in self._read(self._offset)[0])

    def _advance(self) -> None:
        from pipelines.trackers.mirror import Mirror

        if self._mirror is None:
            self._offset = 0
            self._mirror = Mirror(self._settings, self.uri)
        records, offset = self._read(self._offset)
        self._mirror.apply(records)
        self._offset = offset
        state = {"uri": self.uri, "offset": self._offset}
        write_atomic(self._cursor, json.dumps(state).encode(), durable=False)

    def _read(self, offset: int) -> tuple[list[Record], int]:
        try:
            return read_journal(self._journal, offset)
        except Corrupt:  # the tail was lost with the power: read all of it again, nothing is stored twice
            return read_journal(self._journal, 0)

    def _remembered(self) -> int:
        """Bytes of the journal that MLflow has; 0 of another database, or where that is not known."""
        try:
            found = json.loads(self._cursor.read_bytes())
            return int(found["offset"]) if found["uri"] == self.uri else 0
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return 0

    def _warn(self, what: str) -> None:
        if not self._warned:
            self._warned = True
            self._settings.warn(
                f"MLflow at {self.uri} cannot be reached ({what}); the run goes on, MLflow catches up when it is back"
            )


@TRACKERS.register("mlflow")
def make_mlflow(settings: TrackerSettings) -> MlflowMirror:
    """A MlflowMirror that has not started."""
    return MlflowMirror(settings)
