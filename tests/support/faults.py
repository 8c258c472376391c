"""Making things go wrong on purpose: a process killed at a named point, a file torn, a disk full."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

FAULT_POINTS = (
    "runner.before_step",
    "store.before_fsync",
    "store.before_manifest",
    "store.before_rename",
    "store.after_rename",
    "runner.after_step",
)
"""Every point of the store and the runner, in the order one step passes them."""

_TESTS = Path(__file__).parents[1]
DAMAGES = ("truncate", "flip", "delete", "empty")


def run_python(code: str, *arguments: str, fault: str | None = None, timeout_s: float = 60.0) -> int:
    """Runs `code` in a new interpreter with RECAP_FAULT set; returns its exit status (-9 for a kill).

    Raises:
        RuntimeError: it ended in a way that is neither success nor the fault asked for; carries its stderr.
    """
    env = {name: value for name, value in os.environ.items() if name != "RECAP_FAULT"}
    env["PYTHONPATH"] = os.pathsep.join(map(str, (_TESTS.parent, _TESTS / "plugins")))
    if fault is not None:
        env["RECAP_FAULT"] = fault
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    expected = (0,) if fault is None else (0, -9) if fault.endswith(":kill") else (0, 1)
    if done.returncode not in expected:
        raise RuntimeError(f"exit status {done.returncode}, expected one of {expected}:\n{done.stderr}")
    return done.returncode


def damage(path: Path, how: str, *, at: int = 0) -> None:
    """Spoils a file: "truncate" drops its second half, "flip" inverts byte `at`, "empty", "delete"."""
    content = path.read_bytes()
    if how == "delete":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flip":
        place = at % len(content)
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
    else:
        raise ValueError(f"damage {how!r}: expected one of {', '.join(DAMAGES)}")


@contextmanager
def disk_full(*, after: int, under: Path) -> Iterator[None]:
    """From the write number `after` (0-based) on, every file below `under` refuses to be synced: ENOSPC.

    Only fsync fails, where delayed allocation reports a full disk; names (mkdir, rename) go on working.
    """
    real = os.fsync
    seen = 0

    def failing(handle: int) -> None:
        nonlocal seen
        if Path(os.readlink(f"/proc/self/fd/{handle}")).is_relative_to(under):
            seen += 1
            if seen > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with mock.patch.object(os, "fsync", failing):
        yield


@contextmanager
def write_fails(*, name_contains: str) -> Iterator[None]:
    """Opening for writing any file whose name contains `name_contains` fails with ENOSPC."""
    real = Path.open
    real_bytes = Path.write_bytes

    def failing_open(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if name_contains in self.name and set(mode) & set("wax+"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real(self, mode, *args, **kwargs)

    def failing_bytes(self: Path, data: bytes) -> int:
        if name_contains in self.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real_bytes(self, data)

    with mock.patch.object(Path, "open", failing_open), mock.patch.object(Path, "write_bytes", failing_bytes):
        yield
