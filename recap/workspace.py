"""The directory that a project's runs live in, and the lock that lets one process write it.

Owns where things lie and who may write; not what they mean. Reading needs no lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap.errors import ConfigError, WorkspaceLocked
from recap.files import write_atomic
from recap.task_folders import SUFFIXES
from recap.texts import check_text

FORMAT = 1
_MARKER = "workspace.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(kind: str, name: str) -> str:
    """`name`, if it is safe as one part of a path.

    Raises:
        ConfigError: separators, "..", spaces, a leading dot, empty or longer than 100.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise ConfigError(f"{kind} name {name!r}: expected up to 100 letters, digits, . _ - and no '..'")
    return name


def workspace_option(root: Path) -> list[str]:
    """What a command line must say to mean the workspace at `root`; nothing for `runs` of the working directory."""
    return [] if root.absolute() == Path("runs").absolute() else ["--workspace", str(root)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """Who holds, or last held, the lock."""

    pid: int
    host: str
    user: str
    since: float
    """UTC seconds."""
    command: str
    purpose: str


class Workspace:
    """A directory of artifacts, episodes and runs.

    Example:
        >>> workspace = Workspace.open("runs")  # doctest: +SKIP
        >>> with workspace.lock("run nightly"):  # doctest: +SKIP
        ...     pass
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._depth = 0

    def __repr__(self) -> str:
        return f"Workspace({str(self.root)!r})"

    @staticmethod
    def is_at(root: str | Path) -> bool:
        """Whether a workspace lies at `root`."""
        return (Path(root) / _MARKER).exists()

    @classmethod
    def open(cls, root: str | Path = "runs", *, create: bool = True) -> Workspace:
        """The workspace at `root`, made if absent and `create`: of nothing, or around a `tasks` folder of task files.

        Raises:
            ConfigError: no workspace there, a path whose bytes are no UTF-8 text, a directory that holds other things,
                or a newer format.
        """
        path = Path(root).absolute()
        check_text("workspace", str(path))
        marker = path / _MARKER
        if not marker.exists():
            if not create:
                raise ConfigError(f"no workspace at {path}", hint="recap run --task NAME   (makes one)")
            if path.exists() and (foreign := _foreign(path)):
                raise ConfigError(
                    f"{path} holds files and is not a workspace ({foreign}): "
                    "expected a new or empty directory, or one with nothing but tasks/NAME.yaml",
                    hint="recap run --workspace OTHER_DIRECTORY",
                )
            path.mkdir(parents=True, exist_ok=True)
            write_atomic(marker, json.dumps({"format": FORMAT}).encode())
        try:
            found = json.loads(marker.read_bytes())["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{marker} is not readable: expected {{'format': {FORMAT}}}, got {error!r}") from error
        if not isinstance(found, int) or found > FORMAT:
            raise ConfigError(
                f"{path} has workspace format {found}, this recap knows up to {FORMAT}",
                hint="upgrade recap, or choose another --workspace",
            )
        workspace = cls(path)
        for folder in ("artifacts", "scratch", "episodes", "cache", "runs", "quarantine", "attempts"):
            (path / folder).mkdir(exist_ok=True)
        return workspace

    @property
    def artifacts(self) -> Path:
        """Committed step outputs."""
        return self.root / "artifacts"

    @property
    def attempts(self) -> Path:
        """Provenance: one file per attempt at a step."""
        return self.root / "attempts"

    @property
    def scratch(self) -> Path:
        """Work in progress, by step key."""
        return self.root / "scratch"

    @property
    def episodes(self) -> Path:
        """The episode store."""
        return self.root / "episodes"

    @property
    def cache(self) -> Path:
        """Derived data that can be rebuilt."""
        return self.root / "cache"

    @property
    def runs(self) -> Path:
        """One directory per run."""
        return self.root / "runs"

    @property
    def quarantine(self) -> Path:
        """What was found torn or corrupt, with the reason beside it."""
        return self.root / "quarantine"

    def run_dir(self, run_name: str) -> Path:
        """Directory of a run; the name is checked, the directory need not exist."""
        return self.runs / check_name("run", run_name)

    def run_names(self) -> list[str]:
        """Names of all recorded runs, sorted."""
        return sorted(entry.parent.name for entry in self.runs.glob("*/run.json"))

    @contextmanager
    def lock(self, purpose: str) -> Iterator[None]:
        """Makes this process the one writer. May be nested on one Workspace object.

        Raises:
            WorkspaceLocked: another writer lives; names it.
        """
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        handle = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise self._locked(handle) from None
            _write_owner(handle, purpose)
            self._depth = 1
            try:
                yield
            finally:
                self._depth = 0
                os.ftruncate(handle, 0)
                # Said outright: a forked worker that outlives us would keep a lock that closing alone releases.
                fcntl.flock(handle, fcntl.LOCK_UN)
        finally:
            os.close(handle)

    def _locked(self, handle: int) -> WorkspaceLocked:
        hint = "recap status   (watch it), or stop that process and issue this command again"
        try:
            owner = Owner(**json.loads(os.pread(handle, 1 << 16, 0)))
        except (ValueError, TypeError):
            # The holder writes its record right after taking the lock: we came between.
            return WorkspaceLocked(f"{self.root} is being written by a process that has just started", hint=hint)
        gone = ""
        if owner.host == os.uname().nodename and not process_alive(owner.pid):
            gone = "; that process has ended, but one that it started still holds the lock"
        return WorkspaceLocked(
            f"{self.root} is being written by process {owner.pid} of {owner.user} on {owner.host} "
            f"since {_age(time.time() - owner.since)} ({owner.purpose}: {owner.command}){gone}",
            hint=hint,
        )


def process_alive(pid: int) -> bool:
    """Whether a process of that number lives on this machine."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def user_name() -> str:
    """Login name, or the number of a user that has none."""
    return os.environ.get("USER") or str(os.getuid())


def _foreign(path: Path) -> str:
    """Something in a directory that no workspace is made around; "" if there is nothing."""
    entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
    tasks = path / "tasks"
    if tasks in entries and tasks.is_dir():
        entries.remove(tasks)
        inside = (entry for entry in sorted(tasks.iterdir()) if not entry.name.startswith("."))
        entries += [entry for entry in inside if entry.suffix not in SUFFIXES or not entry.is_file()]
    return str(entries[0].relative_to(path)) if entries else ""


def _write_owner(handle: int, purpose: str) -> None:
    record: dict[str, Any] = {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "user": user_name(),
        "since": time.time(),
        "command": shlex.join(sys.argv)[:500],
        "purpose": purpose,
    }
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(record).encode(), 0)


def _age(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{max(int(seconds), 0)} s"
