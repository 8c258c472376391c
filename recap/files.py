"""Files on disk: replaced whole, published whole, or appended to line by line, whatever dies and whenever."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from recap import faults
from recap.errors import Corrupt

TMP_PREFIX = ".tmp-"
"""Of the name of a file that is being written."""


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replaces a file, and makes its folder if absent: a reader, or a crash, sees the old or the new content.

    Args:
        path: the file.
        content: its new bytes.
        durable: also wait until bytes and name are on disk, so that they survive a power cut.
    """
    with claimed_tmp(path) as (tmp, _):
        with tmp.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        tmp.rename(path)
    if durable:
        sync(path.parent)


def publish_dir(folder: Path, final: Path) -> None:
    """Gives a finished folder its final name, after everything in it is on disk; `final` must not hold anything."""
    sync_tree(folder)
    move(folder, final)


def move(source: Path, target: Path) -> None:
    """Renames within a file system, and waits until the names are on disk."""
    source.rename(target)
    for folder in {source.parent, target.parent}:
        sync(folder)


def sync_tree(folder: Path) -> None:
    """Waits until a folder and everything in it is on disk."""
    for place, _, files in folder.walk():
        for name in files:
            sync(place / name)
        sync(place)


def sync(path: Path) -> None:
    """Waits until a file's bytes, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_tree(path: Path) -> None:
    """Deletes a folder and what it holds; nothing to do if it is not there."""
    try:
        path.rmdir()
    except FileNotFoundError:
        return
    except OSError:
        # Not empty. shutil costs 6 ms to import, and most folders removed here are empty.
        import shutil

        shutil.rmtree(path)


@contextmanager
def claimed_tmp(final: Path) -> Iterator[tuple[Path, int]]:
    """A new temporary file beside `final`, as (path, descriptor), locked until the block ends.

    The lock dies with its process, so `abandoned` can tell a leftover from a file being written. The file is removed
    at the end if the block has not renamed it.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    while True:
        tmp = final.parent / f"{TMP_PREFIX}{final.name}.{os.getpid()}.{os.urandom(4).hex()}"
        handle = os.open(tmp, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # A repair may have removed the file as abandoned, or set it aside, between its creation and its lock.
        if os.fstat(handle).st_nlink == 1 and tmp.exists():
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


@dataclass(frozen=True, slots=True)
class LineLog:
    """A file of lines that any number of processes append to. Holds no handle: cheap to pickle.

    Example:
        >>> import tempfile
        >>> log = LineLog(Path(tempfile.mkdtemp()) / "log.jsonl", durable=False)
        >>> log.append(b"{}")
        >>> log.lines()
        ([b'{}'], 3)
    """

    path: Path
    durable: bool = True
    """A line is on disk before `append` returns."""
    fault: str = "log"
    """Begins the names of the points at which a test may kill an append."""

    def append(self, line: bytes) -> None:
        """Adds a line, given without its end: whole, or not at all if this raises."""
        with self.writing() as append:
            append(line)

    @contextmanager
    def writing(self) -> Iterator[Callable[[bytes], None]]:
        """Keeps other writers out during the block; what it yields appends a line."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        try:
            handle = os.open(self.path, flags, 0o644)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path, flags, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield lambda line: self._append(handle, line + b"\n")
        finally:
            os.close(handle)

    def lines(self, offset: int = 0) -> tuple[list[bytes], int]:
        """The whole lines after byte `offset`, blank ones too, and the offset to go on from.

        What follows the last line end is being written, or its writer died: it is left out. A file that is not there
        yet has no lines.

        Raises:
            Corrupt: the file is shorter than `offset`, which belongs to another file then (or the tail was lost).
        """
        try:
            handle = self.path.open("rb")
        except FileNotFoundError:
            if offset:
                raise Corrupt(f"{self.path}: gone, but {offset} bytes of it were read before") from None
            return [], 0
        with handle:
            size = os.fstat(handle.fileno()).st_size
            if size < offset:
                raise Corrupt(f"{self.path}: {size} bytes, but {offset} were read before")
            handle.seek(offset)
            block = handle.read()
        end = block.rfind(b"\n") + 1
        return block[:end].split(b"\n")[:-1], offset + end

    def _append(self, handle: int, line: bytes) -> None:
        size = _whole_size(handle)
        os.ftruncate(handle, size)
        try:
            faults.point(f"{self.fault}.before_write")
            write_all(handle, line)
            if self.durable:
                faults.point(f"{self.fault}.before_fsync")
                os.fsync(handle)
        except BaseException:
            # Not acknowledged, so it must not turn up later.
            os.ftruncate(handle, size)
            raise
        if self.durable and size == 0:
            sync(self.path.parent)
            sync(self.path.parent.parent)
        faults.point(f"{self.fault}.after_append")


def _whole_size(handle: int) -> int:
    """Bytes up to the end of the last whole line: what follows was cut short by a kill."""
    size = os.fstat(handle).st_size
    if size == 0 or os.pread(handle, 1, size - 1) == b"\n":
        return size
    return os.pread(handle, size, 0).rfind(b"\n") + 1
