"""What became of every night of a run: an append-only log, and which night is due.

    nights/<run>/history.jsonl   one line when a night begins, one when it has ended
    nights/<run>/lock            held while a night is at work

A night that began and has not ended, while nobody holds the lock, was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.schedule.clock import last_time, next_time
from recap.errors import Corrupt, WorkspaceLocked
from recap.files import LineLog
from recap.workspace import Workspace, check_name

OPEN = ("killed", "locked")
"""States after which the same night is begun again when it is looked at next."""
_GRACE = timedelta(minutes=5)
"""A schedule that nobody wrote down began so long before it was first looked at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Night:
    """One night."""

    slot: str
    """Local date and time that it was due at, "2026-11-28T02:00"; "" if somebody began it by hand."""
    began: float
    """UTC seconds."""
    state: str
    """done, too few, out of time, waiting, failed, interrupted, locked, missed; killed; or running."""
    line: str = ""
    """What there is to say, in one line."""
    ended: float | None = None
    exit_code: int | None = None
    report: str = ""
    """Path of its page."""
    found: Mapping[str, Any] = field(default_factory=dict)
    """What the watched folders held, as JSON (intake.Found)."""
    challenger: str = ""
    """Id of the policy that it has made; "" if none."""


class History:
    """The nights of one run."""

    def __init__(self, root: Path, run: str) -> None:
        self.folder = root / "nights" / check_name("run", run)
        self.path = self.folder / "history.jsonl"
        self._log = LineLog(self.path, fault="history")

    @contextmanager
    def only_one(self) -> Iterator[None]:
        """Makes this process the one that is at work on nights of this run.

        Raises:
            WorkspaceLocked: another one is.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise WorkspaceLocked(
                    f"a night of '{self.folder.name}' is at work in {self.folder}", hint="recap schedule history"
                ) from None
            yield
        finally:
            os.close(handle)

    def at_work(self) -> bool:
        """Whether a night is at work now."""
        if not self.folder.is_dir():
            return False
        try:
            with self.only_one():
                return False
        except WorkspaceLocked:
            return True

    def scheduled(self) -> None:
        """Notes that nights are due from now on: none from before is made up for."""
        self._append("scheduled")

    def begin(self, slot: str) -> float:
        """Notes that a night has begun; returns when, by which `end` knows it."""
        began = time.time()
        self._append("began", began=began, slot=slot)
        return began

    def end(self, night: Night) -> None:
        """Notes how a night ended."""
        self._append("ended", **asdict(night))

    def nights(self, *, at_work: bool) -> list[Night]:
        """Every night, in order of its beginning.

        Args:
            at_work: whether a night is at work now: else one that has not ended was killed.

        Raises:
            Corrupt: a line is not one that was written here.
        """
        found: dict[float, Night] = {}
        for row in self._rows():
            if row["kind"] == "began":
                found[row["began"]] = Night(slot=row["slot"], began=row["began"], state="killed")
            elif row["kind"] == "ended":
                found[row["began"]] = Night(**{item.name: row[item.name] for item in fields(Night)})
        nights = [found[began] for began in sorted(found)]
        if at_work and nights and nights[-1].ended is None:
            nights[-1] = replace(nights[-1], state="running")
        return nights

    def since(self) -> float | None:
        """UTC seconds of when nights were last scheduled; None if never."""
        return max((row["t"] for row in self._rows() if row["kind"] == "scheduled"), default=None)

    def _append(self, kind: str, **facts: Any) -> None:
        self._log.append(json.dumps({"kind": kind, "t": time.time(), **facts}, sort_keys=True).encode())

    def _rows(self) -> list[dict[str, Any]]:
        lines, _ = self._log.lines()
        try:
            rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
            for row in rows:
                row["kind"], row["t"]
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(f"{self._log.path} is not a history of nights: {error!r}") from error
        return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """What is to be done now."""

    slot: str
    missed: bool
    """Its time is over: it is only noted."""


def due(at: str, until: str | None, history: History, now: datetime) -> Due | None:
    """The night that is due; None if it was had, or none is yet. Called while no night is at work.

    Args:
        at: time of day that a night begins at.
        until: time of day after which it is not begun; None: at any time until the next one.
        history: of the run.
        now: local date and time.
    """
    began = history.since()
    if began is None:
        history.scheduled()
        began = (now - _GRACE).timestamp()
    slot = last_time(at, now)
    if slot.timestamp() < began:
        return None
    name = slot.strftime("%Y-%m-%dT%H:%M")
    had = [night for night in history.nights(at_work=False) if night.slot == name]
    missed = until is not None and next_time(until, slot) <= now
    if had and (missed or had[-1].state not in OPEN):
        return None
    return Due(slot=name, missed=missed)


def open_history(root: Path, run: str) -> History:
    """The history of a run's nights.

    Raises:
        ConfigError: no workspace there, or not a run name.
    """
    return History(Workspace.open(root, create=False).root, run)


def runs_with_nights(root: Path) -> list[str]:
    """Names of the runs of a workspace that have a history, sorted.

    Raises:
        ConfigError: no workspace there.
    """
    folder = Workspace.open(root, create=False).root / "nights"
    return sorted(path.parent.name for path in folder.glob("*/history.jsonl"))
