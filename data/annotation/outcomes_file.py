"""Outcomes from a file that another system wrote: CSV, or JSON.

Owns the parsing and its complaints: every bad row is named at once, and a file with one bad row gives nothing. Knows
no store; the caller says which episodes exist.
"""

from __future__ import annotations

import bisect
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from data.outcomes import outcome_of
from recap.errors import ConfigError
from recap.texts import check_text
from recap.types import Annotation

_SHOWN = 20


def read_outcomes_file(
    path: str | Path, known_ids: Iterable[str], *, numbers: Mapping[int, str] | None = None
) -> dict[str, Annotation]:
    """The outcomes that `path` gives, in order of episode id.

    CSV has a header line `episode_id,outcome[,note]`; JSON (by the suffix .json) is a list of objects with these keys.
    `episode_id` may be a prefix that only one episode has; `outcome` is success, failure (time-outs too) or aborted.

    Args:
        path: the file.
        known_ids: ids of the episodes that there are.
        numbers: {number in a dataset: episode id}; with it the first column is `episode_index` and holds such numbers,
            and `known_ids` is not read.

    Raises:
        ConfigError: the file is not of that shape, or rows are bad: each named by its line (CSV) or place (JSON), what
            is wrong with it, and none of the others imported.
    """
    source = Path(path)
    try:
        # Spreadsheets put a byte order mark first. Line ends stay as they are: those within a note are part of it.
        text = source.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"outcomes file {source}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"outcomes file {source}: not UTF-8 text ({error})") from error
    name = "episode_id" if numbers is None else "episode_index"
    known = sorted(set(known_ids))
    found: dict[str, Annotation] = {}
    first_place: dict[str, str] = {}
    problems: list[str] = []
    rows = _json_rows(text, source) if source.suffix.lower() == ".json" else _csv_rows(text, source, name)
    for place, row in rows:
        try:
            annotation = _annotation(row, name, lambda said: _resolve(said, known, numbers))
            if annotation.episode_id in first_place:
                raise ConfigError(  # noqa: TRY301 - gathered with the other complaints
                    f"episode {annotation.episode_id[:12]} was given before, at {first_place[annotation.episode_id]}"
                )
        except ConfigError as error:
            problems.append(f"{place}: {error.message}")
            continue
        found[annotation.episode_id] = annotation
        first_place[annotation.episode_id] = place
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise ConfigError(
            f"outcomes file {source}: {len(problems)} bad rows, no outcome taken{shown}{more}",
            hint="mend these rows and give the file again; `recap data stats` counts the episodes of the workspace",
        )
    if not found:
        raise ConfigError(f"outcomes file {source}: no row, expected a header {_shape(name)} and at least one row")
    return dict(sorted(found.items()))


def _shape(name: str) -> str:
    return f"{name},outcome[,note]"


def _csv_rows(text: str, source: Path, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        known = {name, "outcome", "note"}
        if set(header) - known or not {name, "outcome"} <= set(header) or len(set(header)) != len(header):
            raise ConfigError(f"outcomes file {source}, line 1: columns {header}, expected {_shape(name)}")
        begin = reader.line_num + 1
        for cells in reader:
            place, begin = f"line {begin}", reader.line_num + 1
            if not cells:
                continue  # a blank line says nothing
            # A row of the wrong width is passed on as such: it is one bad row, not a bad file.
            row: dict[str, Any] = dict(zip(header, cells, strict=True)) if len(cells) == len(header) else {}
            yield place, row if row else {"cells": cells, "expected": len(header)}
    except csv.Error as error:
        raise ConfigError(f"outcomes file {source}, line {reader.line_num}: {error}") from error


def _json_rows(text: str, source: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"outcomes file {source}: not JSON ({error})") from error
    if not isinstance(rows, list):
        raise ConfigError(f"outcomes file {source}: a JSON {type(rows).__name__}, expected a list of objects")
    for place, row in enumerate(rows, start=1):
        yield f"entry {place}", row if isinstance(row, dict) else {"value": row}


def _annotation(row: dict[str, Any], name: str, resolve: Callable[[str], str]) -> Annotation:
    if "cells" in row:
        raise ConfigError(f"{len(row['cells'])} cells, expected {row['expected']} as in the header")
    if set(row) - {name, "outcome", "note"} or not {name, "outcome"} <= set(row):
        raise ConfigError(f"fields {sorted(row)}, expected {name}, outcome and perhaps note")
    # JSON has numbers of its own: an index may be one.
    if name == "episode_index" and type(row[name]) is int:
        row = {**row, name: str(row[name])}
    wrong = [field for field, value in row.items() if field != "outcome" and not isinstance(value, str)]
    if wrong:
        raise ConfigError(f"{wrong[0]} is {row[wrong[0]]!r}, expected text")
    outcome = outcome_of(row["outcome"], where="outcome")
    if outcome is None:
        raise ConfigError(f"outcome {row['outcome']!r}, expected success, failure (a time-out is one) or aborted")
    return Annotation(
        episode_id=resolve(row[name].strip()),
        outcome=outcome,
        note=check_text("note", row.get("note", "").strip()),
    )


def _resolve(prefix: str, known: list[str], numbers: Mapping[int, str] | None) -> str:
    if numbers is not None:
        if not prefix.isascii() or not prefix.isdigit() or int(prefix) not in numbers:
            raise ConfigError(f"episode_index {prefix!r} is none of the {len(numbers)} episodes of the dataset")
        return numbers[int(prefix)]
    if not prefix:
        raise ConfigError("no episode id")
    # Ids that begin with the prefix stand together in sorted order.
    begin = bisect.bisect_left(known, prefix)
    matching = [one for one in known[begin : begin + 2] if one.startswith(prefix)]
    if not matching:
        raise ConfigError(f"no episode begins with {prefix!r}")
    if len(matching) > 1 and prefix not in known:
        raise ConfigError(f"several episodes begin with {prefix!r}, e.g. {matching[0][:16]} and {matching[1][:16]}")
    return matching[0]
