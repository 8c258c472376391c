"""Which episodes: a sorted list of ids and the one hash that stands for it. Knows no file.

Sets are combined by their ids; nothing is copied or renumbered, so an episode keeps its labels in every set.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recap.errors import ConfigError
from recap.hashing import canonical_json

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeSet:
    """Sorted unique episode ids.

    Example:
        >>> a, b = "a" * 64, "b" * 64
        >>> EpisodeSet.of([b, a, b]).ids == (a, b)
        True
        >>> EpisodeSet.from_json(EpisodeSet.of([a]).to_json()) == EpisodeSet.of([a])
        True
    """

    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        for episode_id in self.ids:
            if not _ID.fullmatch(episode_id):
                raise ConfigError(f"episode set: {episode_id!r} is no episode id (64 hex digits)")
        if list(self.ids) != sorted(set(self.ids)):
            raise ConfigError("episode set: ids are not sorted and unique; build it with EpisodeSet.of(ids)")

    @classmethod
    def of(cls, ids: Iterable[str]) -> EpisodeSet:
        """The set of `ids`, in any order and with repeats."""
        return cls(ids=tuple(sorted(set(ids))))

    @property
    def root(self) -> str:
        """sha256 (hex) of the id list."""
        return hashlib.sha256(canonical_json(list(self.ids))).hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __or__(self, other: EpisodeSet) -> EpisodeSet:
        return EpisodeSet.of((*self.ids, *other.ids))

    def to_json(self) -> dict[str, Any]:
        """{"ids": [...], "root": sha256}."""
        return {"ids": list(self.ids), "root": self.root}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> EpisodeSet:
        """Reads `to_json` back; ConfigError if the ids are not those of the root hash."""
        unknown = set(value) - {"ids", "root"}
        if unknown or set(value) != {"ids", "root"}:
            raise ConfigError(f"episode set: fields {sorted(value)}, expected ids and root")
        result = cls(ids=tuple(value["ids"]))
        if result.root != value["root"]:
            raise ConfigError(f"episode set: {len(result)} ids hash to {result.root}, the set says {value['root']}")
        return result
