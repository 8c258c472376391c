"""Annotations as plain JSON: of one episode, and of a set of episodes with what is missing.

Owns the format and its one spelling: equal answers give equal JSON, whoever gave them and whenever. Knows no file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recap.errors import ConfigError, UnknownName
from recap.texts import check_text
from recap.types import Annotation, KeyFrame, Outcome

FORMAT = 1
SOURCES = ("human", "imported", "detector")
"""Where an annotation can come from, in the usual order of precedence."""

_ID = re.compile(r"[0-9a-f]{64}")
_FIELDS = {"format", "annotations", "skipped"}


def canonical(annotation: Annotation) -> Annotation:
    """The same answers in their one spelling: key frames in order of time and each once.

    Raises:
        ConfigError: no episode id, a key frame before the first step or of a kind other than +1 and -1, or a text that
            holds half of a character.
    """
    if not _ID.fullmatch(annotation.episode_id):
        raise ConfigError(f"annotation: {annotation.episode_id!r} is no episode id (64 hex digits)")
    for text in (annotation.note, *(key.text for key in annotation.key_frames)):
        check_text(f"annotation of {annotation.episode_id[:12]}", text)
    for key in annotation.key_frames:
        if key.t < 0 or key.kind not in (1, -1):
            raise ConfigError(f"annotation of {annotation.episode_id[:12]}: {key}, expected t >= 0 and kind +1 or -1")
    return Annotation(
        episode_id=annotation.episode_id,
        outcome=Outcome(annotation.outcome),
        key_frames=tuple(sorted(set(annotation.key_frames), key=lambda key: (key.t, key.kind, key.text))),
        note=annotation.note,
    )


def annotation_to_json(annotation: Annotation) -> dict[str, Any]:
    """{"outcome", "key_frames": [[t, kind, text], ...], "note"}; the episode id is the key it is filed under."""
    one = canonical(annotation)
    return {
        "outcome": one.outcome.value,
        "key_frames": [[key.t, key.kind, key.text] for key in one.key_frames],
        "note": one.note,
    }


def annotation_from_json(episode_id: str, value: Any) -> Annotation:
    """Reads `annotation_to_json` back.

    Raises:
        ConfigError: a field is missing, unknown, or of the wrong type or value.
    """
    where = f"annotation of {episode_id[:12]}"
    if not isinstance(value, Mapping) or set(value) != {"outcome", "key_frames", "note"}:
        found = sorted(value) if isinstance(value, Mapping) else value
        raise ConfigError(f"{where}: got {found!r}, expected the fields outcome, key_frames and note")
    if value["outcome"] not in [outcome.value for outcome in Outcome]:
        raise ConfigError(f"{where}: outcome {value['outcome']!r}, expected success, failure or aborted")
    if not isinstance(value["note"], str):
        raise ConfigError(f"{where}: note {value['note']!r}, expected text")
    if not isinstance(value["key_frames"], list | tuple):
        raise ConfigError(f"{where}: key_frames {value['key_frames']!r}, expected a list of [t, kind, text]")
    return canonical(
        Annotation(
            episode_id=episode_id,
            outcome=Outcome(value["outcome"]),
            key_frames=tuple(_key_frame(item, where) for item in value["key_frames"]),
            note=value["note"],
        )
    )


def _key_frame(item: Any, where: str) -> KeyFrame:
    # bool is an int to isinstance, and no step number.
    if not isinstance(item, list | tuple) or len(item) != 3 or [type(part) for part in item] != [int, int, str]:
        raise ConfigError(f"{where}: key frame {item!r}, expected [t, kind, text] of integer, +1 or -1, text")
    return KeyFrame(t=item[0], kind=item[1], text=item[2])


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotations:
    """What is known of a set of episodes, and of which of them nothing is.

    Example:
        >>> a = Annotation(episode_id="a" * 64, outcome=Outcome.SUCCESS)
        >>> some = Annotations(by_id={a.episode_id: a}, missing=("b" * 64,), counts={"human": 1})
        >>> Annotations.from_json(some.to_json()).missing == ("b" * 64,)
        True
    """

    by_id: Mapping[str, Annotation]
    """{episode id: annotation}, in order of id."""
    missing: tuple[str, ...]
    """Sorted ids of the episodes that nobody judged. Never given a label."""
    counts: Mapping[str, int] | None = None
    """{source: episodes annotated by it}, for each of SOURCES; None where it is not kept."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_id", {i: canonical(self.by_id[i]) for i in sorted(self.by_id)})
        object.__setattr__(self, "missing", tuple(sorted(self.missing)))
        if self.counts is not None:
            unknown = sorted(set(self.counts) - set(SOURCES))
            if unknown:
                raise UnknownName.among("label source", unknown[0], SOURCES)
            object.__setattr__(self, "counts", {source: self.counts.get(source, 0) for source in SOURCES})
        for episode_id, annotation in self.by_id.items():
            if annotation.episode_id != episode_id:
                raise ConfigError(f"annotations: {episode_id[:12]} holds the one of {annotation.episode_id[:12]}")
        for episode_id in self.missing:
            if not _ID.fullmatch(episode_id) or episode_id in self.by_id:
                raise ConfigError(f"annotations: {episode_id!r} is skipped, and annotated or no episode id")
        known = len(self.by_id) if self.counts is None else sum(self.counts.values())
        if len(set(self.missing)) != len(self.missing) or known != len(self.by_id):
            raise ConfigError(
                f"annotations: {len(self.by_id)} annotations from sources {dict(self.counts or {})}, "
                f"{len(self.missing)} skipped: expected counts that add up and no episode twice"
            )

    def __len__(self) -> int:
        return len(self.by_id)

    def outcome_of(self, episode_id: str) -> Outcome:
        """The outcome of an episode; UnknownName if it has no annotation."""
        if episode_id not in self.by_id:
            raise UnknownName(
                f"episode {episode_id} has no annotation; {len(self.by_id)} others have", hint="recap annotate --all"
            )
        return self.by_id[episode_id].outcome

    def to_json(self) -> dict[str, Any]:
        """The annotations format: who and when are not in it, so the same answers are the same JSON."""
        value = {
            "format": FORMAT,
            "annotations": {i: annotation_to_json(annotation) for i, annotation in self.by_id.items()},
            "skipped": list(self.missing),
        }
        return value if self.counts is None else {**value, "sources": dict(self.counts)}

    @classmethod
    def from_json(cls, value: Any) -> Annotations:
        """Reads `to_json` back.

        Raises:
            ConfigError: another format, a field missing or unknown, or counts that do not add up.
        """
        if not isinstance(value, Mapping) or set(value) - {"sources"} != _FIELDS or value["format"] != FORMAT:
            found = sorted(value) if isinstance(value, Mapping) else type(value).__name__
            raise ConfigError(f"annotations: got {found}, expected format {FORMAT} with {sorted(_FIELDS)}")
        return cls(
            by_id={i: annotation_from_json(i, one) for i, one in value["annotations"].items()},
            missing=tuple(value["skipped"]),
            counts=dict(value["sources"]) if "sources" in value else None,
        )
