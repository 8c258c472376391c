"""Reading the files of a dataset that others wrote, and saying what is wrong with one: a git-lfs pointer, no text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from recap.errors import ConfigError
from recap.texts import check_texts

_SHOWN = 8
_LFS = b"version https://git-lfs"


class OffTime(ConfigError):
    """A row, or the picture nearest to it, lies off the time where it should be. `off_s` says how far, in seconds."""

    def __init__(self, message: str, *, hint: str = "", off_s: float = math.inf) -> None:
        super().__init__(message, hint=hint)
        self.off_s = off_s


def listed(problems: Iterable[str]) -> str:
    """Problems, one a line, at most eight of them and a count."""
    lines = list(problems)
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more])


def numbers_text(numbers: Iterable[int]) -> str:
    """Numbers as `--episodes` takes them, e.g. "0-3,7"."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def lfs_pointer(path: Path) -> str:
    """What to say of a file that git left as a pointer to its content; "" if it is none."""
    try:
        with path.open("rb") as file:
            pointer = file.read(len(_LFS)) == _LFS
    except OSError:
        return ""
    return "a git-lfs pointer, not the content: run 'git lfs pull' in the dataset's folder" if pointer else ""


def unreadable(path: Path, kind: str, error: Exception) -> str:
    """Says that a file is not readable as `kind`, and why."""
    return f"{path} is {lfs_pointer(path)}" if lfs_pointer(path) else f"{path} is not readable as {kind} ({error})"


def read_text(path: Path) -> str:
    """The content of a text file; ConfigError if it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(unreadable(path, "text", error)) from error


def read_json(path: Path, text: str, *, line: int | None = None) -> Any:
    """The JSON in `text` of the file `path`; ConfigError with the line if it is none."""
    place = "" if line is None else f", line {line}"
    try:
        value = json.loads(text)
    except ValueError as error:
        pointer = lfs_pointer(path)
        raise ConfigError(f"{path} is {pointer}" if pointer else f"{path}{place}: not JSON ({error})") from error
    return check_texts(f"{path}{place}", value)


def read_rows(path: Path, wanted: Callable[[str], bool] | None = None) -> list[dict[str, Any]]:
    """The rows of a parquet file as plain values, of all columns or those `wanted`; ConfigError if it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        # Statistics of every column make up most of the file and are not needed.
        names = [name for name in file.schema_arrow.names if wanted is None or wanted(name)]
        rows: list[dict[str, Any]] = file.read(columns=names).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ConfigError(unreadable(path, "parquet", error)) from error
    return rows


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON-lines file; ConfigError with the line if one is none."""
    rows = []
    # Not splitlines(): a text may hold U+2028 and its like.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        row = read_json(path, line, line=number)
        if not isinstance(row, dict):
            raise ConfigError(f"{path}, line {number}: a JSON {type(row).__name__}, expected an object")
        rows.append(row)
    return rows
