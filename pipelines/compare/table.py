"""The figures of a comparison as JSON and CSV, written beside its page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from pipelines.compare.figures import Compared
from pipelines.compare.graph import Judged
from recap.files import write_atomic
from recap.hashing import canonical_json, sha256_hex
from recap.runner import RunSummary

_NAMES = tuple(item.name for item in fields(Compared))


def state_of(judged: Judged, summary: RunSummary) -> str:
    """sha256 (hex) of what a comparison found: of its models and of what every judge said."""
    found = {node: artifact.identity for node, made in summary.of("judge").items() for artifact in made.values()}
    return sha256_hex(canonical_json([list(judged.entries), list(judged.seeds), found]))


def shown_state(out: Path) -> str:
    """That of the tables in `out`; "" where there are none, or none that were written whole."""
    try:
        return str(json.loads((out / "compare.json").read_bytes())["state"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""


def write_tables(rows: Sequence[Compared], facts: Mapping[str, Any], out: Path) -> tuple[Path, Path]:
    """Writes `compare.csv` (rows), then `compare.json` (facts and rows), into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    plain = {**facts, "figures": [asdict(row) for row in rows]}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_NAMES)
    for row in rows:
        values = asdict(row)
        values["seeds"] = " ".join("" if value is None else repr(value) for value in row.seeds)
        table.writerow(["" if values[name] is None else values[name] for name in _NAMES])
    write_atomic(out / "compare.csv", text.getvalue().encode(), durable=False)
    write_atomic(out / "compare.json", json.dumps(plain, indent=1).encode(), durable=False)
    return out / "compare.json", out / "compare.csv"
