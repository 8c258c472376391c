"""Durable files: a name either does not exist or holds all its bytes, whatever dies and whenever.

Knows files and directories only; nothing of episodes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

TMP_PREFIX = ".tmp-"


def fsync_dir(path: Path) -> None:
    """Makes the names in directory `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def claimed_tmp(final: Path) -> Iterator[tuple[Path, int]]:
    """A new temporary file beside `final`, as (path, descriptor), locked until the block ends.

    The lock dies with its process, so `is_abandoned` can tell a leftover from a file being written. The file is
    removed at the end if the block has not renamed it.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    while True:
        tmp = final.parent / f"{TMP_PREFIX}{final.name}.{os.getpid()}.{os.urandom(4).hex()}"
        handle = os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # A repair may have taken the file for abandoned between its creation and its lock.
        if os.fstat(handle).st_nlink == 1:
            break
        os.close(handle)
    try:
        yield tmp, handle
    finally:
        tmp.unlink(missing_ok=True)
        os.close(handle)


@contextmanager
def abandoned(tmp: Path) -> Iterator[bool]:
    """True if no live process writes `tmp`; nobody can claim it while the block runs."""
    try:
        handle = os.open(tmp, os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield os.fstat(handle).st_nlink == 1 and tmp.exists()
    finally:
        os.close(handle)


def write_all(handle: int, content: bytes) -> None:
    """Writes every byte of `content`; os.write alone may stop early."""
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def replace_durably(
    final: Path,
    content: bytes,
    *,
    before_fsync: Callable[[], None] | None = None,
    before_rename: Callable[[], None] | None = None,
) -> None:
    """Writes `content` to `final`: temporary file, fsync, rename, fsync of the directory."""
    with claimed_tmp(final) as (tmp, handle):
        write_all(handle, content)
        if before_fsync:
            before_fsync()
        os.fsync(handle)
        if before_rename:
            before_rename()
        tmp.rename(final)
    fsync_dir(final.parent)
