"""The journal of a run: one JSON line per thing that happened, appended by any process, read by the driver.

    {"t": 1763823600.2, "pid": 47, "node": "0/collect", "kind": "progress", "done": 5, "total": 20, "unit": "episodes"}
    {"t": 1763823601.0, "pid": 47, "node": "0/policy", "kind": "metrics", "step": 40, "values": {"loss": 0.31}}

`t` is UTC seconds. Other kinds (run_started, step_started, step_done, step_failed, ...) carry the fields given to them.
The journal tells how a run went; no result is ever computed from it, so it is not fsynced.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recap.errors import ConfigError
from recap.files import LineLog

Record = dict[str, Any]
"""One line of the journal: `t`, `pid`, `node`, `kind`, and the fields of that kind."""

_OWN_FIELDS = frozenset({"t", "pid", "node", "kind"})


@dataclass(frozen=True, slots=True)
class FileJournal:
    """Appends records for one node to a file. Holds no handle: cheap to pickle, safe from several processes.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "journal.jsonl"
        >>> FileJournal(path, "0/collect").progress(1, 2, "episodes")
        >>> records, offset = read_journal(path, 0)
        >>> records[0]["done"], offset == path.stat().st_size
        (1, True)
    """

    path: Path
    node: str
    """Graph node the records belong to, e.g. "0/collect"; "" for the run itself."""

    def at(self, node: str) -> FileJournal:
        """The same file, written on behalf of another node."""
        return FileJournal(self.path, node)

    def progress(self, done: int, total: int, unit: str) -> None:
        """`done` of `total` `unit`s are finished, those of earlier attempts included."""
        self.event("progress", done=int(done), total=int(total), unit=unit)

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Numbers measured at `step` (gradient step, episode number, ...). NaN and infinities are kept."""
        self.event("metrics", step=int(step), values={name: _plain(float(value)) for name, value in values.items()})

    def event(self, kind: str, **fields: Any) -> None:
        """Appends a record of any other kind; fields must be JSON-able.

        Raises:
            ConfigError: a field is named like one of the record's own.
        """
        taken = _OWN_FIELDS & fields.keys()
        if taken:
            raise ConfigError(f"journal event '{kind}' of {self.node or 'the run'}: {sorted(taken)} are reserved names")
        record = {"t": round(time.time(), 6), "pid": os.getpid(), "node": self.node, "kind": kind, **fields}
        line = json.dumps(record, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        LineLog(self.path, durable=False).append(line.encode())


def read_journal(path: Path, offset: int = 0) -> tuple[list[Record], int]:
    """The whole records after byte `offset`, and the offset to go on from.

    A line cut short by a kill is skipped: what it said is said again by the attempt that follows. A file that is not
    there yet has no records.

    Raises:
        Corrupt: the file is shorter than `offset`, so the offset belongs to another file (or the tail was lost).
    """
    lines, end = LineLog(path).lines(offset)
    return [record for line in lines if (record := _parse(line)) is not None], end


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)


def _parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or "kind" not in record or "node" not in record:
        return None
    if record["kind"] == "metrics":
        record["values"] = {name: float(value) for name, value in record["values"].items()}
    return record
