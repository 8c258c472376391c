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

from data.lerobot_io.files import OffTime, unreadable
from data.lerobot_io.folder import EpisodeEntry, LeRobotFolder
from recap.errors import ConfigError
from recap.types import BoolArray, FloatArray, FrameArray

ORDER = ("episode_index", "frame_index", "timestamp")
TASK = "task_index"
_PICTURE_MODES = ("RGB", "L", "P")
"""Of Pillow. Depth and masks come as others; converting them would clip."""
RATE_TOLERANCE = 0.1
"""Of a control period: how far a frame's time may lie from its place on the grid of the rate."""


class EpisodeTables:
    """The tables of a dataset, one file held at a time.

    Args:
        folder: the dataset.
        columns: of numbers or words that will be asked for; pictures are read when they are.
        nominal_times_s: as in the mapping.
    """

    def __init__(self, folder: LeRobotFolder, columns: Sequence[str], *, nominal_times_s: float | None = None) -> None:
        self._folder = folder
        self._columns = tuple(dict.fromkeys((*ORDER, *columns)))
        self._nominal_times_s = nominal_times_s
        self._held: tuple[Path, Any] | None = None

    def episode(self, entry: EpisodeEntry) -> EpisodeTable:
        """The rows of one episode.

        Raises:
            ConfigError: the file is torn or lacks a column, or its rows are not the episode's: count, order, rate.
        """
        where = f"{self._folder.root}: episode {entry.index}"
        if self._held is None or self._held[0] != entry.table:
            self._held = (entry.table, _read(entry.table, self._columns, where, optional=(TASK,)))
        rows = _rows_of(self._held[1], entry, where)
        return EpisodeTable(rows, entry, where, fps=self._folder.fps, nominal_times_s=self._nominal_times_s)


class EpisodeTable:
    """The rows of one episode, checked: one after the other, at the rate. `where` begins every complaint."""

    def __init__(
        self, rows: Any, entry: EpisodeEntry, where: str, *, fps: float, nominal_times_s: float | None
    ) -> None:
        self._rows = rows
        self._entry = entry
        self._where = where
        self._check_order()
        recorded = self._recorded_times()
        nominal = round(recorded[0] * fps) / fps + np.arange(len(recorded)) / fps
        self.jitter_s = float(np.abs(recorded - nominal).max())
        """How far a recorded time lies from its nominal time at most, seconds."""
        self._check_rate(recorded, nominal, fps, nominal_times_s)
        self.times: NDArray[np.float64] = recorded if nominal_times_s is None else nominal
        """[T] seconds from the place in its films that meta gives the episode; they need not begin at 0."""

    def _check_order(self) -> None:
        # An episode that was cut at its front may have kept its numbers.
        frame = self._scalars("frame_index", "integer")
        wanted = frame[0] + np.arange(self._entry.length)
        if not np.array_equal(frame, wanted):
            bad = int(np.flatnonzero(frame != wanted)[0])
            raise ConfigError(f"{self._where}, frame_index: {frame[bad]} in row {bad}, expected {wanted[bad]}")

    def _recorded_times(self) -> NDArray[np.float64]:
        time: NDArray[np.float64] = self._scalars("timestamp", "number").astype(np.float64)
        if not np.isfinite(time).all():
            raise ConfigError(f"{self._where}, timestamp: {time[~np.isfinite(time)][0]}, expected seconds")
        if time[0] < 0:
            raise ConfigError(f"{self._where}, timestamp: begins at {time[0]:.4f} s, expected seconds >= 0")
        back = np.flatnonzero(np.diff(time) <= 0)
        if len(back):
            t = int(back[0])
            raise ConfigError(
                f"{self._where}, timestamp: runs back from {time[t]:.4f} s to {time[t + 1]:.4f} s at frame {t + 1}"
            )
        return time

    def _check_rate(
        self, recorded: NDArray[np.float64], nominal: NDArray[np.float64], fps: float, nominal_times_s: float | None
    ) -> None:
        # Recorded times may begin anywhere between two steps of the rate; nominal ones begin at one.
        expected = nominal if nominal_times_s is not None else nominal - nominal[0] + recorded[0]
        limit = RATE_TOLERANCE / fps if nominal_times_s is None else nominal_times_s
        off = np.abs(recorded - expected)
        if off.max() > limit:
            t = int(np.flatnonzero(off > limit)[0])
            raise OffTime(
                f"{self._where}, timestamp: frame {t} at {recorded[t]:.4f} s is off the rate of {fps:g} Hz, expected "
                f"{expected[t]:.4f} s within {limit:.4g} s (the farthest is off by {off.max():.4f} s)",
                off_s=self.jitter_s,
            )

    def vectors(self, name: str, shape: tuple[int, ...]) -> FloatArray:
        """[T, W] finite float32: the numbers of each frame, row by row where `shape` has several axes.

        Raises:
            ConfigError: another type or width, an empty cell, or a number that float32 does not hold.
        """
        values = self._column(name)
        if not _is_list(values.type):
            shape = () if shape == (1,) else shape  # one number may stand without a list around it
        per_frame = 1
        for size in shape:
            if not _is_list(values.type):
                raise ConfigError(
                    f"{self._where}, {name}: column of type {values.type}, expected {size} numbers a frame"
                )
            self._no_gaps(name, values)
            sizes = _lengths(values)
            if (sizes != size).any():
                at = int(np.flatnonzero(sizes != size)[0])
                t = at // per_frame
                raise ConfigError(f"{self._where}, {name}: {sizes[at]} numbers at frame {t}, expected {size}")
            values, per_frame = values.flatten(), per_frame * size
        if not _is_number(values.type):
            raise ConfigError(f"{self._where}, {name}: column of type {values.type}, expected numbers")
        self._no_gaps(name, values)
        numbers = np.asarray(values.to_numpy(zero_copy_only=False)).reshape(self._entry.length, per_frame)
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

    def values(self, name: str) -> list[Any]:
        """T plain values, one per frame; None for an empty cell.

        Raises:
            ConfigError: a cell holds several values, or none in a list.
        """
        cells = self._column(name).to_pylist()
        found = [cell[0] if isinstance(cell, list) and len(cell) == 1 else cell for cell in cells]
        for t, cell in enumerate(found):
            if isinstance(cell, (list, dict)):
                raise ConfigError(f"{self._where}, {name}: {cell!r} at frame {t}, expected one value")
        return found

    def tasks(self) -> dict[int, int]:
        """{task_index: frames}, in the order in which they occur; empty if the table does not say."""
        if TASK not in self._rows.column_names:
            return {}
        found = self._scalars(TASK, "integer").tolist()
        return {index: found.count(index) for index in dict.fromkeys(found)}

    def pictures(self, name: str, shape: tuple[int, int]) -> list[FrameArray]:
        """T pictures [h, w, 3] of a feature that is kept in the table itself, decoded from their files' bytes.

        Raises:
            ConfigError: no bytes in the table, no picture, or one of another size.
        """
        import pyarrow.types as pt
        from PIL import Image, ImageOps, UnidentifiedImageError

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
                    if image.mode not in _PICTURE_MODES:
                        raise ValueError(f"its pixels are {image.mode}, not 8-bit colours")  # noqa: TRY301
                    # A camera's word on how it was held counts, as in LeRobot.
                    picture = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
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
        column = self._rows.column(name).combine_chunks()
        # A type of the library that wrote it, over plain lists.
        return getattr(column, "storage", column)

    def _no_gaps(self, name: str, column: Any) -> None:
        if column.null_count:
            raise ConfigError(f"{self._where}, {name}: {column.null_count} empty cells, expected a value per frame")


def _read(path: Path, columns: Sequence[str], where: str, optional: Sequence[str] = ()) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        known = file.schema_arrow.names
        missing = sorted(set(columns) - set(known))
        if not missing:
            return file.read(columns=[*columns, *(name for name in optional if name in known and name not in columns)])
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: names that are no UTF-8
        raise ConfigError(f"{where}: {unreadable(path, 'parquet', error)}") from error
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
