"""The parquet index of an episode store: what is known of each episode without opening it.

A cache, never the truth: any process appends a part, parts are merged when many, and rows that are missing, damaged or
of another size than the file are made again from the episode file. Must not decode an array, nor know any truth.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from data.episode_file import Header, read_header
from recap.files import TMP_PREFIX, write_atomic
from recap.types import Source

COMPACT_ABOVE = 64
"""Parts; more are merged into one at the next read."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeRow:
    """One episode, without its arrays."""

    id: str
    task: str
    robot: str
    source: Source
    policy_id: str | None
    rate_hz: float
    start_seed: int | None
    renderer: str | None
    length: int
    """T, control steps."""
    state_dim: int
    """S."""
    action_dim: int
    """A."""
    cameras: tuple[str, ...]
    """Sorted."""
    image_sizes: tuple[tuple[int, int], ...]
    """(h, w) in pixels per camera, in the order of `cameras`."""
    content_sha256: str
    """Digest of the arrays alone: equal for two episodes of different facts means a recording was repeated."""
    bytes: int
    """Size of the file."""
    sha256: str
    """Checksum of the file as it was committed."""
    instruction: str | None = None
    """What the robot was told; None: the prompt of its task."""


def row_of(header: Header, content: bytes) -> EpisodeRow:
    """The row of the episode whose file holds `content`."""
    shapes = {name: tuple(described["shape"]) for name, described in header.arrays.items()}
    digests = sorted((name, described["sha256"]) for name, described in header.arrays.items())
    facts = header.facts
    return EpisodeRow(
        id=header.id,
        task=facts["task"],
        robot=facts["robot"],
        source=Source(facts["source"]),
        policy_id=facts["policy_id"],
        rate_hz=float(facts["rate_hz"]),
        start_seed=facts["start_seed"],
        renderer=facts["renderer"],
        length=header.length,
        state_dim=int(shapes["state"][1]),
        action_dim=int(shapes["action"][1]),
        cameras=header.cameras,
        image_sizes=tuple((shapes[f"frames/{c}"][1], shapes[f"frames/{c}"][2]) for c in header.cameras),
        content_sha256=hashlib.sha256(repr(digests).encode()).hexdigest(),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        instruction=facts.get("instruction"),
    )


class EpisodeIndex:
    """The parts under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, rows: Iterable[EpisodeRow]) -> Path:
        """Adds one part holding `rows`. Not fsynced: a part lost to a power cut is made again from the files."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        ordered = sorted(rows, key=lambda row: row.id)
        table = pa.Table.from_pylist([_to_record(row) for row in ordered], schema=_schema())
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        content = sink.getvalue().to_pybytes()
        part = self._folder / f"part-{hashlib.sha256(content).hexdigest()[:24]}.parquet"
        write_atomic(part, content, durable=False)
        return part

    def rows(self, files: Mapping[str, Path]) -> dict[str, EpisodeRow]:
        """{id: row} of the episodes in `files`; rows the index lacks are read from the headers and appended.

        Raises:
            EpisodeCorrupt: a file that has no valid row cannot be read either.
        """
        parts = self._parts()
        known, disputed = self._read(parts)
        rows: dict[str, EpisodeRow] = {}
        fresh: list[EpisodeRow] = []
        for episode_id, path in files.items():
            row = known.get(episode_id)
            if row is None or row.bytes != path.stat().st_size or row.task != path.parent.name:
                row = row_of(read_header(path), path.read_bytes())
                fresh.append(row)
            rows[episode_id] = row
        if len(parts) > COMPACT_ABOVE or disputed:
            self._compact(parts, known | {row.id: row for row in fresh})
        elif fresh:
            self.append(fresh)
        return rows

    def known(self) -> dict[str, EpisodeRow]:
        """The rows as they stand, checked against nothing."""
        return self._read(self._parts())[0]

    def clear(self) -> None:
        """Forgets every row."""
        for part in self._parts():
            part.unlink(missing_ok=True)

    def _parts(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(p for p in self._folder.glob("part-*.parquet") if not p.name.startswith(TMP_PREFIX))

    def _read(self, parts: Iterable[Path]) -> tuple[dict[str, EpisodeRow], set[str]]:
        """Rows by id, and the ids of which the parts say different things: only their files can settle those."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows: dict[str, EpisodeRow] = {}
        disputed: set[str] = set()
        for part in parts:
            try:
                table = pq.read_table(part)
                if table.schema != _schema():
                    raise pa.ArrowInvalid("columns of another version")
            except FileNotFoundError:
                continue  # merged away by another process; its rows are in the merged part or in the files
            except (pa.ArrowException, OSError) as error:
                _log.warning("index part %s is unreadable (%s); its rows are made again from the files", part, error)
                part.unlink(missing_ok=True)
                continue
            for row in map(_to_row, table.to_pylist()):
                if rows.setdefault(row.id, row) != row:
                    disputed.add(row.id)
        return {episode_id: row for episode_id, row in rows.items() if episode_id not in disputed}, disputed

    def _compact(self, parts: list[Path], rows: Mapping[str, EpisodeRow]) -> None:
        merged = self.append(rows.values())
        for part in parts:
            if part != merged:
                part.unlink(missing_ok=True)


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("task", pa.string()),
            ("robot", pa.string()),
            ("source", pa.string()),
            ("policy_id", pa.string()),
            ("rate_hz", pa.float64()),
            ("start_seed", pa.int64()),
            ("renderer", pa.string()),
            ("length", pa.int64()),
            ("state_dim", pa.int64()),
            ("action_dim", pa.int64()),
            ("cameras", pa.list_(pa.string())),
            ("image_sizes", pa.list_(pa.list_(pa.int64()))),
            ("content_sha256", pa.string()),
            ("bytes", pa.int64()),
            ("sha256", pa.string()),
            ("instruction", pa.string()),
        ]
    )


def _to_record(row: EpisodeRow) -> dict[str, Any]:
    return asdict(row) | {
        "source": row.source.value,
        "cameras": list(row.cameras),
        "image_sizes": [list(size) for size in row.image_sizes],
    }


def _to_row(record: dict[str, Any]) -> EpisodeRow:
    names = {field.name for field in fields(EpisodeRow)}
    values = {name: record[name] for name in names}
    return EpisodeRow(
        **values
        | {
            "source": Source(record["source"]),
            "cameras": tuple(record["cameras"]),
            "image_sizes": tuple((h, w) for h, w in record["image_sizes"]),
        }
    )
