"""A durable list of finished jobs, one JSON line each: what a killed step need not do again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recap.files import LineLog


class Ledger:
    """Append-only JSON lines, each on disk before `append` returns; a line torn by a kill is dropped.

    Args:
        path: the file; made on the first append.
        key: field that names the job; a later line of the same key replaces the earlier one.
    """

    def __init__(self, path: Path, *, key: str) -> None:
        self._log = LineLog(path, fault="ledger")
        self._key = key

    def rows(self) -> dict[Any, dict[str, Any]]:
        """{key: row} of every line that was written whole."""
        lines, _ = self._log.lines()
        return {row[self._key]: row for row in map(json.loads, filter(None, lines))}

    def append(self, row: dict[str, Any]) -> None:
        """Writes one row and waits until it is on disk."""
        self._log.append(json.dumps(row, sort_keys=True).encode())
