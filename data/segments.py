"""Segments: files of shards laid end to end, and the index that says which are there.

    000001-5be0c4d1.index      one checked line per shard: episode, first row, length, sha256 of each column
    000001-5be0c4d1.images     rows, end to end: one such file per column

Owns the format, its checks and the shared lock by which a reader keeps a segment. Who writes and removes segments:
data/shards.py.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.rows import Rows
from recap.types import IntArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """What the shards of one folder have in common."""

    name: str
    columns: Mapping[str, np.dtype[Any]]
    """{column: type of one row}."""
    proved: tuple[str, ...] = ()
    """Columns whose digests are checked whenever a shard is opened; the others by `Held.verify`."""

    @property
    def row_bytes(self) -> int:
        return sum(dtype.itemsize for dtype in self.columns.values())


class Shard(NamedTuple):
    """Where one episode lies in its segment."""

    row: int
    length: int
    sha256: Mapping[str, str]


class Torn(ValueError):
    """A segment is not what its index says. Never leaves `Shards.open`, which makes its shards again."""


class Segment:
    """A segment held open: nobody removes it while this object lives."""

    def __init__(self, index: Path) -> None:
        """FileNotFoundError if it is gone."""
        self.index = index
        self.handle = os.open(index, os.O_RDONLY)
        weakref.finalize(self, os.close, self.handle)
        fcntl.flock(self.handle, fcntl.LOCK_SH)
        if not os.fstat(self.handle).st_nlink:
            raise FileNotFoundError(index)
        self.shards: dict[str, Shard] = {}
        self.rows = 0
        self.end = 0

    def column(self, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
        """[rows, ...] mapped from disk."""
        size = self.rows * dtype.itemsize
        # A plain view: indexing an np.memmap costs more than the copy it makes.
        flat = np.asarray(np.memmap(self.index.with_suffix(f".{name}"), dtype=np.uint8, mode="r", shape=(size,)))
        return flat.view(dtype.base).reshape(self.rows, *dtype.shape)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Held:
    """Shards held open."""

    table: Table
    segments: tuple[Segment, ...]
    places: Mapping[str, tuple[int, Shard]]
    """{episode: (position in `segments`, shard)}."""

    def rows(self, column: str, episodes: Sequence[str], offsets: IntArray) -> Rows:
        """The rows of a column in the order of `episodes`; those that are not held cannot be read."""
        nowhere = (-1, Shard(0, 0, {}))
        found = [self.places.get(episode, nowhere) for episode in episodes]
        return Rows(
            [segment.column(column, self.table.columns[column]) for segment in self.segments],
            np.array([file for file, _ in found], dtype=np.int64),
            np.array([shard.row for _, shard in found], dtype=np.int64),
            offsets,
        )

    def verify(self) -> list[str]:
        """Reads every byte; "episode column" of all that is not what was written."""
        wrong = []
        for column, dtype in self.table.columns.items():
            files = [segment.column(column, dtype) for segment in self.segments]
            for episode, (file, shard) in self.places.items():
                if sha256_of(files[file][shard.row : shard.row + shard.length]) != shard.sha256[column]:
                    wrong.append(f"{episode} {column}")
        return sorted(wrong)


def prove(table: Table, segment: Segment, found: Mapping[str, Shard], lengths: Mapping[str, int]) -> None:
    """Torn unless the shards `found` have the lengths expected and the columns that are always proved are intact."""
    for episode, shard in found.items():
        if shard.length != lengths[episode]:
            raise Torn(f"{segment.index}: episode {episode} has {shard.length} rows, expected {lengths[episode]}")
    for name in table.proved if found else ():
        rows = segment.column(name, table.columns[name])
        for episode, shard in found.items():
            if sha256_of(rows[shard.row : shard.row + shard.length]) != shard.sha256[name]:
                raise Torn(f"{segment.index}: sha256 of {name} of episode {episode} differs")


def index_line(shard: Sequence[Any]) -> bytes:
    """[episode, first row, length, {column: sha256}] as a line that proves itself."""
    body = json.dumps(shard, separators=(",", ":")).encode()
    return hashlib.sha256(body).hexdigest()[:16].encode() + b" " + body + b"\n"


def parse_index(content: bytes, end: int, rows: int, index: Path) -> tuple[dict[str, Shard], int, int]:
    """(shards, end of the last good line, rows) of index bytes that begin at `end`; a last line cut short is none."""
    shards: dict[str, Shard] = {}
    *lines, _ = content.split(b"\n")
    for number, line in enumerate(lines, start=1):
        check, _, body = line.partition(b" ")
        if hashlib.sha256(body).hexdigest()[:16].encode() != check:
            if number == len(lines):
                break
            raise Torn(f"{index}: a line that is not what was written")
        episode, row, length, digests = json.loads(body)
        shards[episode] = Shard(row, length, digests)
        end, rows = end + len(line) + 1, row + length
    return shards, end, rows


def sha256_of(array: NDArray[Any]) -> str:
    """Digest of the bytes of a contiguous array."""
    return hashlib.sha256(array.data).hexdigest()
