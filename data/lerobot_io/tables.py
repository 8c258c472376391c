"""Numbers, words and pictures of one episode from the parquet file of a LeRobotDataset.

Owns the checks that need the table: lengths, order, rate, shapes, finite numbers. Knows no robot and no task.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.lerobot_io.folder import EpisodeEntry, LeRobotFolder
from recap.errors import ConfigError
from recap.types import BoolArray, FloatArray, FrameArray

ORDER = ("episode_index", "frame_index", "timestamp")
RATE_TOLERANCE = 0.1
"""Of a control period: how far a frame's time may lie from its place on the grid of the rate."""


class EpisodeTables:
    """The tables of a dataset, one file held at a time.

    Args:
        folder: the dataset.
        columns: of numbers or words that will be asked for; pictures are read when they are.
    """

    def __init__(self, folder: LeRobotFolder, columns: Sequence[str]) -> None:
        self._folder = folder
        self._columns = tuple(dict.fromkeys((*ORDER, *columns)))
        self._held: tuple[Path, Any] | None = None

    def episode(self, entry: EpisodeEntry) -> EpisodeTable:
        """The rows of one episode.

        Raises:
            ConfigError: the file is torn or lacks a column, or its rows are not the episode's: count, order, rate.
        """
        where = f"{self._folder.root}: episode {entry.index}"
        if self._held is None or self._held[0] != entry.table:
            self._held = (entry.table, _read(entry.table, self._columns, where))
        rows = _rows_of(self._held[1], entry, where)
        table = EpisodeTable(rows, entry, where)
        table.check_order(self._folder.fps)
        return table


class EpisodeTable:
    """The rows of one episode; `where` begins every complaint."""

    def __init__(self, rows: Any, entry: EpisodeEntry, where: str) -> None:
        self._rows = rows
        self._entry = entry
        self._where = where

    def check_order(self, fps: float) -> None:
        """Frames are 0, 1, 2, ... and their times lie on the grid of the rate."""
        frame = self._scalars("frame_index", "integer")
        if not np.array_equal(frame, np.arange(self._entry.length)):
            bad = int(np.flatnonzero(frame != np.arange(self._entry.length))[0])
            raise ConfigError(f"{self._where}, frame_index: {frame[bad]} in row {bad}, expected {bad}")
        time = self._scalars("timestamp", "number").astype(np.float64)
        if not np.isfinite(time).all():
            raise ConfigError(f"{self._where}, timestamp: {time[~np.isfinite(time)][0]}, expected seconds")
        back = np.flatnonzero(np.diff(time) <= 0)
        if len(back):
            t = int(back[0])
            raise ConfigError(
                f"{self._where}, timestamp: runs back from {time[t]:.4f} s to {time[t + 1]:.4f} s at frame {t + 1}"
            )
        off = np.abs((time - time[0]) * fps - np.arange(len(time)))
        if off.max() > RATE_TOLERANCE:
            t = int(np.flatnonzero(off > RATE_TOLERANCE)[0])
            raise ConfigError(
                f"{self._where}, timestamp: frame {t} at {time[t]:.4f} s is off the rate of {fps:g} Hz, "
                f"expected {time[0] + t / fps:.4f} s"
            )

    def vectors(self, name: str, width: int) -> FloatArray:
        """[T, width] finite float32.

        Raises:
            ConfigError: another type or width, an empty cell, or a number that float32 does not hold.
        """
        column = self._column(name)
        widths: NDArray[np.int64]
        if _is_number(column.type):
            values, widths = column, np.full(len(column), 1, dtype=np.int64)
        elif _is_list(column.type) and _is_number(column.type.value_type):
            self._no_gaps(name, column)
            widths = _lengths(column)
            values = column.flatten()
        else:
            raise ConfigError(f"{self._where}, {name}: column of type {column.type}, expected numbers")
        self._no_gaps(name, values)
        wrong = np.flatnonzero(widths != width)
        if len(wrong):
            t = int(wrong[0])
            raise ConfigError(f"{self._where}, {name}: {widths[t]} numbers at frame {t}, expected {width}")
        numbers = np.asarray(values.to_numpy(zero_copy_only=False)).reshape(self._entry.length, width)
        with np.errstate(over="ignore"):
            result: FloatArray = numbers.astype(np.float32)
        bad = np.argwhere(~np.isfinite(result))
        if len(bad):
            t, dim = (int(i) for i in bad[0])
            raise ConfigError(
                f"{self._where}, {name}: {numbers[t, dim]} at frame {t}, dimension {dim}, expected finite numbers"
            )
        return result

    def flags(self, name: str) -> BoolArray:
        """[T] bool; whole or fractional numbers count if they are all 0 or 1."""
        values = self._scalars(name, "flag")
        if not np.isin(values, (0, 1)).all():
            t = int(np.flatnonzero(~np.isin(values, (0, 1)))[0])
            raise ConfigError(f"{self._where}, {name}: {values[t]} at frame {t}, expected true or false")
        result: BoolArray = values.astype(np.bool_)
        return result

    def last(self, name: str) -> Any:
        """The plain value at the last frame; None for an empty cell."""
        value = self._column(name)[-1].as_py()
        return value[0] if isinstance(value, list) and len(value) == 1 else value

    def pictures(self, name: str, shape: tuple[int, int]) -> list[FrameArray]:
        """T pictures [h, w, 3] of a feature that is kept in the table itself, decoded from their files' bytes.

        Raises:
            ConfigError: no bytes in the table, no picture, or one of another size.
        """
        import pyarrow.types as pt
        from PIL import Image, UnidentifiedImageError

        rows = _rows_of(_read(self._entry.table, (*ORDER, name), self._where), self._entry, self._where)
        column = rows.column(name).combine_chunks()
        if not pt.is_struct(column.type) or column.type.get_field_index("bytes") < 0:
            raise ConfigError(f"{self._where}, {name}: column of type {column.type}, expected pictures")
        pictures = []
        for t, cell in enumerate(column.field("bytes")):
            content = cell.as_py()
            if not isinstance(content, bytes):
                raise ConfigError(f"{self._where}, {name}: frame {t} has no bytes, expected the picture in the table")
            try:
                with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                    picture = np.asarray(image.convert("RGB"))
            except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
                raise ConfigError(f"{self._where}, {name}: frame {t} is no PNG or JPEG picture ({error})") from error
            if picture.shape[:2] != shape:
                raise ConfigError(f"{self._where}, {name}: frame {t} is {picture.shape[:2]}, expected {shape}")
            pictures.append(picture)
        return pictures

    def digestible(self, names: Sequence[str]) -> list[bytes]:
        """The bytes of columns, for a digest: equal content, equal bytes."""
        return [repr(self._column(name).to_pylist()).encode() for name in names]

    def _scalars(self, name: str, kind: str) -> NDArray[Any]:
        import pyarrow.types as pt

        column = self._column(name)
        if _is_list(column.type):
            self._no_gaps(name, column)
            if (_lengths(column) != 1).any():
                raise ConfigError(f"{self._where}, {name}: lists of several values, expected one per frame")
            column = column.flatten()
        fits = {
            "integer": pt.is_integer(column.type),
            "number": _is_number(column.type),
            "flag": _is_number(column.type) or pt.is_boolean(column.type),
        }[kind]
        if not fits:
            raise ConfigError(f"{self._where}, {name}: column of type {column.type}, expected one {kind} per frame")
        self._no_gaps(name, column)
        return np.asarray(column.to_numpy(zero_copy_only=False))

    def _column(self, name: str) -> Any:
        return self._rows.column(name).combine_chunks()

    def _no_gaps(self, name: str, column: Any) -> None:
        if column.null_count:
            raise ConfigError(f"{self._where}, {name}: {column.null_count} empty cells, expected a value per frame")


def _read(path: Path, columns: Sequence[str], where: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    missing: list[str] = []
    try:
        file = pq.ParquetFile(path)
        missing = sorted(set(columns) - set(file.schema_arrow.names))
        if not missing:
            return file.read(columns=list(columns))
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
        raise ConfigError(f"{where}: {path} is not readable as parquet ({error})") from error
    raise ConfigError(f"{where}: {path} has no column {', '.join(missing)}")


def _rows_of(table: Any, entry: EpisodeEntry, where: str) -> Any:
    import pyarrow as pa
    import pyarrow.types as pt

    index = table.column("episode_index").combine_chunks()
    if not pt.is_integer(index.type) or index.null_count:
        raise ConfigError(f"{where}, episode_index: column of type {index.type}, expected one integer per frame")
    rows = np.flatnonzero(np.asarray(index.to_numpy(zero_copy_only=False)) == entry.index)
    if len(rows) != entry.length:
        raise ConfigError(f"{where}: {len(rows)} rows in {entry.table}, expected {entry.length} as its meta says")
    return table.take(pa.array(rows))


def _is_number(kind: Any) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_floating(kind) or pt.is_integer(kind))


def _is_list(kind: Any) -> bool:
    import pyarrow.types as pt

    return bool(pt.is_list(kind) or pt.is_fixed_size_list(kind) or pt.is_large_list(kind))


def _lengths(column: Any) -> NDArray[np.int64]:
    import pyarrow.compute as pc

    return np.asarray(pc.list_value_length(column).to_numpy(zero_copy_only=False)).astype(np.int64)
