"""A durable list of finished jobs, one JSON line each: what a killed step need not do again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from recap import faults


class Ledger:
    """Append-only JSON lines, each on disk before `append` returns; a line torn by a kill is dropped.

    Args:
        path: the file; made on the first append.
        key: field that names the job; a later line of the same key replaces the earlier one.
    """

    def __init__(self, path: Path, *, key: str) -> None:
        self._path = path
        self._key = key

    def rows(self) -> dict[Any, dict[str, Any]]:
        """{key: row} of every line that was written whole."""
        if not self._path.exists():
            return {}
        lines = self._path.read_bytes().split(b"\n")
        # The piece after the last newline is empty, or was being written when the process died.
        return {row[self._key]: row for row in map(json.loads, filter(None, lines[:-1]))}

    def append(self, row: dict[str, Any]) -> None:
        """Writes one row and waits until it is on disk."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab+") as file:
            self._mend(file)
            file.write(json.dumps(row, sort_keys=True).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        faults.point("ledger.after_append")

    @staticmethod
    def _mend(file: Any) -> None:
        """Cuts off a torn last line, so that the next row does not continue it."""
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            return
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.seek(0, os.SEEK_END)
