"""Per-frame arrays of a set of episodes (values, labels) as a directory: one .npy per array and an index.json.

Owns the format and its checks. Rows stand in the order of `FrameView` for the same episodes. Sources are never
rewritten: a table lies beside the experience and is keyed by episode id. Knows no meaning of any array.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.errors import ArtifactCorrupt, ConfigError
from recap.hashing import canonical_json, plain_json
from recap.types import IntArray

FORMAT = 1
_INDEX = "index.json"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FrameTable:
    """N rows for E episodes.

    Example:
        table = FrameTable(ids=packed.episode_ids, offsets=packed.offsets, arrays={"value": values}, facts={})
        table.write(path)
        value = FrameTable.read(path).arrays["value"]
    """

    ids: tuple[str, ...]
    """E episode ids, sorted."""
    offsets: IntArray
    """[E + 1]; episode e holds rows offsets[e] to offsets[e + 1]."""
    arrays: Mapping[str, NDArray[Any]]
    """{name: [N] numbers or bools}."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON that belongs to the arrays (thresholds, look-ahead, ...)."""

    def __post_init__(self) -> None:
        if list(self.ids) != sorted(set(self.ids)):
            raise ConfigError("frame table: episode ids are not sorted and unique")
        lengths = np.diff(self.offsets)
        if len(self.offsets) != len(self.ids) + 1 or self.offsets[0] != 0 or np.any(lengths < 1):
            raise ConfigError(
                f"frame table: offsets of {len(self.offsets) - 1} episodes do not fit {len(self.ids)} ids"
            )
        for name, array in self.arrays.items():
            if array.shape != (self.num_frames,):
                raise ConfigError(f"frame table: {name} has shape {array.shape}, expected ({self.num_frames},)")

    @property
    def num_frames(self) -> int:
        """N."""
        return int(self.offsets[-1])

    def rows_of(self, episode_id: str) -> slice:
        """The rows of one episode; ConfigError if the table does not hold it."""
        place = int(np.searchsorted(self.ids, episode_id)) if self.ids else 0
        if place == len(self.ids) or self.ids[place] != episode_id:
            raise ConfigError(f"episode {episode_id} is not among the {len(self.ids)} of the frame table")
        return slice(int(self.offsets[place]), int(self.offsets[place + 1]))

    def check_same_frames(self, ids: tuple[str, ...], offsets: IntArray, *, where: str) -> None:
        """ConfigError unless the table holds just these episodes with these lengths."""
        if tuple(ids) != self.ids or not np.array_equal(offsets, self.offsets):
            raise ConfigError(
                f"{where}: a table of {len(self.ids)} episodes and {self.num_frames} frames, "
                f"expected {len(ids)} episodes and {int(offsets[-1])} frames in the same order"
            )

    def write(self, path: Path) -> None:
        """Writes the directory `path`; the caller commits it (nothing is renamed here)."""
        path.mkdir(parents=True, exist_ok=True)
        index = {
            "format": FORMAT,
            "episodes": list(self.ids),
            "offsets": [int(offset) for offset in self.offsets],
            "arrays": {name: str(array.dtype) for name, array in sorted(self.arrays.items())},
            "facts": plain_json(dict(self.facts), where="frame table facts"),
        }
        for name, array in self.arrays.items():
            np.save(path / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
        (path / _INDEX).write_bytes(canonical_json(index))

    @classmethod
    def read(cls, path: Path) -> FrameTable:
        """Reads `write` back.

        Raises:
            ArtifactCorrupt: a file is missing, of another format, or not of the shape and type that the index says.
        """
        try:
            index = json.loads((path / _INDEX).read_bytes())
            if index["format"] != FORMAT:
                raise ArtifactCorrupt(f"frame table {path}: format {index['format']}, expected {FORMAT}")
            arrays = {name: np.load(path / f"{name}.npy", allow_pickle=False) for name in index["arrays"]}
            table = cls(
                ids=tuple(index["episodes"]),
                offsets=np.asarray(index["offsets"], dtype=np.int64),
                arrays=arrays,
                facts=index["facts"],
            )
        except (OSError, ValueError, KeyError, TypeError, ConfigError) as error:
            raise ArtifactCorrupt(f"frame table {path}: {error}") from error
        wrong = [name for name, dtype in index["arrays"].items() if str(arrays[name].dtype) != dtype]
        if wrong:
            raise ArtifactCorrupt(
                f"frame table {path}: {wrong[0]} is {arrays[wrong[0]].dtype}, the index says otherwise"
            )
        return table
