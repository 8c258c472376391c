"""Rows of episodes that lie in several mapped files, as one array for random access. Knows no file format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.types import IntArray


class Rows:
    """N rows of one column, in the order of some episodes, wherever they lie. Read-only.

    Indexing with a row gives a view, with a slice or an array of rows a copy; further indices apply to the result.
    """

    def __init__(self, files: Sequence[NDArray[Any]], file_of: IntArray, first: IntArray, offsets: IntArray) -> None:
        """Takes files [F] of rows; per episode [E] its file (-1: not here) and first row there; offsets [E + 1]."""
        self._files, self._file_of, self._offsets = tuple(files), file_of, offsets
        self._shift = first - offsets[:-1]
        self._episode_of = np.repeat(np.arange(len(file_of), dtype=np.int64), np.diff(offsets))
        self._whole = len(self._files) == 1 and bool((file_of == 0).all())
        self.shape: tuple[int, ...] = (int(offsets[-1]), *self._files[0].shape[1:])
        self.dtype = self._files[0].dtype

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: NDArray[np.integer[Any]], select: IntArray | None = None) -> NDArray[Any]:
        """Rows [n, ...] in this order; with `select` [V], only those entries of their first axis."""
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and int(rows.min()) < 0:
            raise IndexError(f"row {int(rows.min())}, expected 0 to {len(self) - 1}")
        episodes = self._episode_of[rows]
        places = rows + self._shift[episodes]
        if self._whole and select is None:
            whole: NDArray[Any] = self._files[0].take(places, axis=0)
            return whole
        which = self._file_of[episodes]
        if len(which) and int(which.min()) < 0:
            raise IndexError(f"episode {int(episodes[which.argmin()])} was not asked for when these rows were opened")
        shape = self.shape[1:] if select is None else (len(select), *self.shape[2:])
        out = np.empty((len(rows), *shape), dtype=self.dtype)
        # Row by row: grouping by file first copies everything twice.
        for n, (file, place) in enumerate(zip(which.tolist(), places.tolist(), strict=True)):
            row = self._files[file][place]
            out[n] = row if select is None else row.take(select, axis=0)
        return out

    def joined(self) -> NDArray[Any]:
        """All N rows in memory."""
        # Not np.concatenate, which compares the fields of structured rows piece by piece.
        out = np.empty(self.shape, dtype=self.dtype)
        edges = self._offsets.tolist()
        for file, shift, start, stop in zip(
            self._file_of.tolist(), self._shift.tolist(), edges[:-1], edges[1:], strict=True
        ):
            out[start:stop] = self._files[file][start + shift : stop + shift]
        return out

    def __getitem__(self, key: Any) -> NDArray[Any]:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(first, slice):
            return self.take(np.arange(*first.indices(len(self)), dtype=np.int64))[(slice(None), *rest)]
        if np.ndim(first):
            return self.take(np.asarray(first))[(slice(None), *rest)]
        row = range(len(self))[first]
        episode = int(self._episode_of[row])
        if self._file_of[episode] < 0:
            raise IndexError(f"episode {episode} was not asked for when these rows were opened")
        found: NDArray[Any] = self._files[self._file_of[episode]][row + int(self._shift[episode])]
        return found[rest]
