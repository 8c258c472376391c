"""The end of the time that a run was given: it stops where it loses nothing, and the same command goes on.

After that time the run ends at the first of: a checkpoint of the training at work, a unit of progress (an episode, a
shard of labels), the beginning of the next step. Steps are told nothing: the driver looks at what they leave on disk
and in the journal, and interrupts itself as Ctrl-C would, which every step and executor can bear anywhere.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from recap.errors import OutOfTime
from recap.journal import read_journal
from recap.store import Store
from recap.workspace import Workspace

_POLL_S = 0.2
_SLEEP_S = 30.0
"""Longest wait before the time is over: a machine may sleep, and its clock be set."""
_GRADIENT_STEPS = "steps"
"""Unit in which a training tells its progress: those are lost up to the last checkpoint."""


class _Reached(KeyboardInterrupt):
    """Raised in the main thread. Of this class, because whatever lets Ctrl-C pass has to let it pass."""


class Until:
    """A RunObserver that ends the run. `with` it around the run, in the main thread: it uses SIGUSR1.

    Args:
        at: UTC seconds.
        workspace: where the run is.
        run: its name.
        again: the command that goes on.
        clock: UTC seconds, for tests.

    Raises:
        OutOfTime: at the end of the block, if the run was ended.
    """

    def __init__(
        self, at: float, workspace: Workspace, run: str, *, again: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._at, self._again, self._clock = at, again, clock
        self._store = Store(workspace)
        self._journal = workspace.run_dir(run) / "journal.jsonl"
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="recap-until", daemon=True)
        self._node, self._scratch, self._late = "", Path(), False
        self._before: tuple[frozenset[Path], int] | None = None
        """(checkpoints, bytes of the journal) when the time was over."""
        self._ended = ""

    def __enter__(self) -> Until:
        self._usual = signal.signal(signal.SIGUSR1, self._stop)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        signal.signal(signal.SIGUSR1, self._usual or signal.SIG_DFL)
        if isinstance(error, _Reached):
            hour = datetime.fromtimestamp(self._at).strftime("%H:%M")
            raise OutOfTime(
                f"it is past {hour}: the run was ended in {self._ended}, and nothing finished is lost", hint=self._again
            ) from None

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Told by the runner which step is at work."""
        kind = event["kind"]
        if kind not in ("step_started", "step_done", "step_failed"):
            return
        with self._lock:
            self._node, self._before = "", None
            if kind == "step_started":
                self._node = event["node"]
                self._scratch = self._store.scratch_dir(event["step"], event["key"])
                self._late = self._clock() >= self._at

    def _watch(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        while not self._over.wait(min(max(self._at - self._clock(), _POLL_S), _SLEEP_S)):
            with self._lock:
                if self._node and self._clock() >= self._at and self._loses_nothing():
                    self._ended, self._node = self._node, ""
                    signal.pthread_kill(main, signal.SIGUSR1)

    def _loses_nothing(self) -> bool:
        """Whether the step at work has kept something since the time was over, or had not begun then."""
        if self._late:
            return True
        checkpoints = frozenset(self._scratch.glob("**/checkpoints/step-*"))
        if self._before is None:
            _, size = read_journal(self._journal)
            self._before = (checkpoints, size)
            return False
        records, _ = read_journal(self._journal, self._before[1])
        units = (one for one in records if one["kind"] == "progress" and one["node"] == self._node)
        return not checkpoints <= self._before[0] or any(one["unit"] != _GRADIENT_STEPS for one in units)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not self._over.is_set():
            raise _Reached
