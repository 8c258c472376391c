"""Shards: arrays of whole episodes, end to end in a few large files that any number of processes read and extend.

A table holds one shard per episode: T rows of fixed columns. Its folder is a list of segments (data/segments.py) of up
to 1 GiB, and of locks: whoever makes shards of episodes whose id begins with 3f holds 3f.lock.

Shards are written behind the last one that the index names and fsynced before the index names them: what dies before
that is written over. A segment that is not what its index says is thrown away whole and its shards are made again. An
open shard keeps a shared lock on its segment, so that room is made only of segments that no live process reads, the
ones unused for longest first. Everything here can be made again from the episodes; docs/adr/0007 says why it is so.
Knows neither images nor models.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.segments import Held, Segment, Shard, Table, Torn, index_line, parse_index, prove, sha256_of
from recap import faults
from recap.errors import ArtifactCorrupt, ConfigError
from recap.files import sync

SEGMENT_BYTES = 2**30
COMMIT_BYTES = 2**26
COMMIT_SECONDS = 2.0
"""A killed builder loses what it made since its last commit: at most so much of either."""
_ATTEMPTS = 5
_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Columns = Mapping[str, NDArray[Any]]


class Shards:
    """The tables under `root`, which together are kept below `max_bytes`."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root, self.max_bytes = root, max_bytes
        # {segment: (bytes of its index read so far, rows, shards)}; no name of a segment is used twice.
        self._known: dict[Path, tuple[int, int, dict[str, Shard]]] = {}
        self._reading = threading.Lock()

    def open(
        self,
        table: Table,
        lengths: Mapping[str, int],
        make: Callable[[str], Columns],
        progress: Progress | None = None,
    ) -> Held:
        """The shards of the episodes in `lengths` {id: T}; those that are missing or torn are made first.

        Several processes that ask for the same shards share the work; each shard is made by one of them.

        Args:
            table: which shards.
            lengths: T of each episode.
            make: the columns {name: [T, ...]} of an episode.
            progress: called with (shards made, shards that were missing).

        Raises:
            ConfigError: they alone exceed the cap, or what live processes have open leaves no room.
        """
        self.check_room(len(lengths), sum(lengths.values()) * table.row_bytes)
        folder = self.root / table.name
        folder.mkdir(parents=True, exist_ok=True)
        with self._locked():
            self._make_room(*self._plan(table, lengths))
        built: list[Segment] = []
        for _ in range(_ATTEMPTS):
            held = self._hold(table, lengths)
            missing = {episode: length for episode, length in lengths.items() if episode not in held.places}
            if not missing:
                for segment in held.segments:
                    os.utime(segment.index)
                os.utime(folder)
                return held
            # `held` and `built` keep what is there already while the rest is made.
            built = self._build(table, missing, make, progress)
        del built
        raise ArtifactCorrupt(
            f"{folder}: {len(missing)} shards are torn or removed again as soon as they are written",
            hint=f"rm -r {folder}   (it is made again from the episodes)",
        )

    def check_room(self, episodes: int, size: int) -> None:
        """ConfigError if shards of `size` bytes alone are more than the cap."""
        if size > self.max_bytes:
            raise ConfigError(
                f"frame cache of {episodes} episodes needs {_gib(size)} GiB, the cap is {_gib(self.max_bytes)} GiB",
                hint="use fewer episodes, or smaller pictures",
            )

    def _hold(self, table: Table, lengths: Mapping[str, int]) -> Held:
        """What is there of `lengths`, held open; torn segments are removed."""
        segments: list[Segment] = []
        places: dict[str, tuple[int, Shard]] = {}
        for index in sorted((self.root / table.name).glob("*.index")):
            try:
                segment = self._read(table, index)
                found = {e: shard for e in lengths if (shard := segment.shards.get(e)) is not None}
                prove(table, segment, found, lengths)
            except FileNotFoundError:
                continue  # removed by another process to make room
            except Torn:
                with self._locked(), suppress(FileNotFoundError):
                    self._remove_if_torn(table, index, lengths)
                continue
            if found:
                places |= {episode: (len(segments), shard) for episode, shard in found.items()}
                segments.append(segment)
        return Held(table=table, segments=tuple(segments), places=places)

    def _read(self, table: Table, index: Path) -> Segment:
        """The segment, held open; Torn if it is not whole, FileNotFoundError if it is gone."""
        segment = Segment(index)
        with self._reading:
            end, rows, shards = self._known.get(index, (0, 0, {}))
            size = os.fstat(segment.handle).st_size
            if size < end:
                raise Torn(f"{index}: {size} bytes, {end} were there before")
            new, end, rows = parse_index(os.pread(segment.handle, size - end, end), end, rows, index)
            shards.update(new)
            self._known[index] = end, rows, shards
        segment.shards, segment.rows, segment.end = shards, rows, end
        for name, dtype in table.columns.items():
            file = index.with_suffix(f".{name}")
            bytes_there = file.stat().st_size if file.exists() else 0
            if bytes_there < rows * dtype.itemsize:
                raise Torn(f"{file}: {bytes_there} bytes, expected {rows * dtype.itemsize}")
        return segment

    def _build(
        self,
        table: Table,
        missing: Mapping[str, int],
        make: Callable[[str], Columns],
        progress: Progress | None,
    ) -> list[Segment]:
        """Makes what is missing and nobody else is making; the segments written to, held open."""
        groups: dict[str, dict[str, int]] = {}
        for episode, length in missing.items():
            groups.setdefault(episode[:2], {})[episode] = length
        # Processes that build the same begin at different places and leave to each other what the other has begun.
        order = sorted(groups)
        start = os.getpid() % len(order)
        left = [*order[start:], *order[:start]]
        built: dict[Path, Segment] = {}
        pending: list[tuple[str, Columns]] = []
        done, size, last = 0, 0, time.monotonic()
        with ExitStack() as claims:

            def commit() -> None:
                nonlocal size, last
                if pending:
                    segment = self._append(table, pending)
                    built[segment.index] = segment
                    pending.clear()
                size, last = 0, time.monotonic()

            for wait in (False, True):
                for group in tuple(left):
                    if wait:  # nobody waits for another while others wait for it
                        commit()
                        claims.close()
                    claim = _claim(self.root / table.name / f"{group}.lock", wait=wait)
                    if claim is None:
                        continue
                    claims.callback(os.close, claim)
                    left.remove(group)
                    there = self._hold(table, groups[group]).places
                    for episode, length in groups[group].items():
                        if episode not in there:
                            pending.append((episode, _checked(table, episode, length, make(episode))))
                            size += length * table.row_bytes
                            if size >= COMMIT_BYTES or time.monotonic() - last >= COMMIT_SECONDS:
                                commit()
                        done += 1
                        if progress:
                            progress(done, len(missing))
            commit()
        return list(built.values())

    def _append(self, table: Table, shards: Sequence[tuple[str, Columns]]) -> Segment:
        """Writes shards behind the last ones; they exist from the moment the index names them."""
        with self._locked():
            self._make_room(sum(array.nbytes for _, columns in shards for array in columns.values()))
            index, rows, end = self._tail(table)
            lines, row = [], rows
            for episode, columns in shards:
                length = len(next(iter(columns.values())))
                digests = {name: sha256_of(array) for name, array in columns.items()}
                lines.append(index_line([episode, row, length, digests]))
                row += length
            for name, dtype in table.columns.items():
                handle = os.open(index.with_suffix(f".{name}"), os.O_RDWR | os.O_CREAT, 0o644)
                with os.fdopen(handle, "r+b") as file:
                    file.seek(rows * dtype.itemsize)
                    for _, columns in shards:
                        file.write(columns[name].data)
                    file.flush()
                    os.fsync(handle)
            faults.point("framecache.before_commit")
            handle = os.open(index, os.O_RDWR | os.O_CREAT, 0o644)
            with os.fdopen(handle, "r+b") as file:
                file.truncate(end)  # the torn line of a builder that was killed
                file.seek(end)
                file.write(b"".join(lines))
                file.flush()
                os.fsync(handle)
            if not end:
                sync(index.parent)
            return self._read(table, index)

    def _tail(self, table: Table) -> tuple[Path, int, int]:
        """(index, rows, bytes of the index) of the segment to write to next: the last one, or a new one."""
        folder = self.root / table.name
        last = max(folder.glob("*.index"), default=None)
        number = 1
        if last is not None:
            number = int(last.stem.split("-")[0]) + 1
            try:
                segment = self._read(table, last)
            except Torn:
                _remove(last)
            else:
                # Segments stay small beside the cap: room is made segment by segment.
                if segment.rows * table.row_bytes < min(SEGMENT_BYTES, self.max_bytes // 16):
                    return last, segment.rows, segment.end
        return folder / f"{number:06d}-{os.urandom(4).hex()}.index", 0, 0

    def _plan(self, table: Table, lengths: Mapping[str, int]) -> tuple[int, dict[Path, int]]:
        """(bytes of the shards that are missing, {segment: bytes of it that are wanted})."""
        missing, wanted = sum(lengths.values()) * table.row_bytes, {}
        for index in (self.root / table.name).glob("*.index"):
            with suppress(FileNotFoundError, Torn):
                segment = self._read(table, index)
                here = sum(shard.length for e in lengths if (shard := segment.shards.get(e)) is not None)
                if here:
                    wanted[index] = here * table.row_bytes
                    missing -= wanted[index]
        return max(0, missing), wanted

    def _make_room(self, needed: int, wanted: Mapping[Path, int] | None = None) -> None:
        """Removes segments that no live process reads, unused for longest first, until `needed` more bytes fit.

        A segment that holds `wanted` bytes beside others goes last; what was wanted of it is then needed too.
        """
        wanted = wanted or {}
        segments = self._survey()
        total = sum(size for size, _ in segments.values())
        for index in sorted(segments, key=lambda index: (index in wanted, segments[index][1])):
            if total + needed <= self.max_bytes:
                return
            size = segments[index][0]
            if size > wanted.get(index, 0) and _remove_unused(index):
                _log.info("frame cache: %s dropped to make room (unused for longest)", index)
                total -= size
                needed += wanted.get(index, 0)
        if total + needed > self.max_bytes:
            raise ConfigError(
                f"frame cache {self.root}: {_gib(needed)} GiB more do not fit beside the {_gib(total)} GiB that are "
                f"in use, the cap is {_gib(self.max_bytes)} GiB",
                hint="wait for the other runs that use this cache, or use fewer episodes or smaller pictures",
            )

    def _survey(self) -> dict[Path, tuple[int, float]]:
        """{index: (bytes, last use)} of every segment of every table; leftovers without an index too."""
        found: dict[Path, tuple[int, float]] = {}
        for path in self.root.glob("*/??????-????????.*"):
            with suppress(FileNotFoundError):
                stat, index = path.stat(), path.with_suffix(".index")
                size, used = found.get(index, (0, 0.0))
                # The index itself is small change, and a shard exactly as large as the cap has to fit.
                found[index] = size + (stat.st_size if path != index else 0), max(used, stat.st_mtime)
        return found

    def _remove_if_torn(self, table: Table, index: Path, lengths: Mapping[str, int]) -> None:
        try:
            segment = self._read(table, index)
            prove(table, segment, {e: s for e, s in segment.shards.items() if e in lengths}, lengths)
        except Torn as torn:
            _log.warning("frame cache %s is torn (%s): its shards are made again", index, torn)
            _remove(index)
            self._known.pop(index, None)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer of bytes at a time under `root`, so that the cap holds."""
        handle = _claim(self.root / "framecache.lock", wait=True)
        assert handle is not None
        try:
            yield
        finally:
            os.close(handle)


def _claim(path: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the lock `path` until it is closed or its process dies; None if another holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _remove_unused(index: Path) -> bool:
    """Removes the segment if no live process reads it; one that opens it meanwhile waits and finds it gone."""
    try:
        handle = os.open(index, os.O_RDONLY)
    except FileNotFoundError:
        _remove(index)  # columns that a killed builder left
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        _remove(index)
        return True
    finally:
        os.close(handle)


def _remove(index: Path) -> None:
    """The index goes first: without it the rest is a leftover."""
    index.unlink(missing_ok=True)
    for path in index.parent.glob(f"{index.stem}.*"):
        path.unlink(missing_ok=True)


def _checked(table: Table, episode: str, length: int, columns: Columns) -> Columns:
    """The columns as they are written; what a shard must look like is the caller's promise."""
    for name, dtype in table.columns.items():
        array = columns[name]
        if array.shape != (length, *dtype.shape) or array.dtype != dtype.base:
            raise ConfigError(
                f"{name} of episode {episode}: {array.dtype} {array.shape}, "
                f"expected {dtype.base} {(length, *dtype.shape)}"
            )
    return {name: np.ascontiguousarray(columns[name]) for name in table.columns}


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f}"
