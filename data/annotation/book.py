"""The book of labels: every choice a person made or imported, on disk before it is acknowledged, none ever rewritten.

    <folder>/journal.jsonl     one line per choice or undo, each with its own digest

Who chose and when stand beside the choice and are no part of it. Any number of processes write at once: each appends
under a lock on the file. A line cut short by a crash was never acknowledged and is dropped; a line that was altered is
an error. Must not know where episodes lie nor whether they exist.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data.annotation.labels import annotation_from_json, annotation_to_json, canonical
from recap.errors import ConfigError, Corrupt
from recap.files import LineLog
from recap.hashing import canonical_json
from recap.types import Annotation

Origin = Literal["human", "imported"]
_ORIGINS = ("human", "imported")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the journal: a choice for some episodes, or the undo of an earlier choice."""

    id: str
    by: str
    """Who; provenance only."""
    at: float
    """UTC seconds; provenance only."""
    origin: Origin
    labels: Mapping[str, Annotation] = field(default_factory=dict)
    """{episode id: annotation}; empty in an undo."""
    undoes: str = ""
    """Id of the choice taken back; empty in a choice."""


class LabelBook:
    """The labels under `folder`. Holds no open file and no state: cheap to make, usable from any thread or process.

    Example:
        book = LabelBook(workspace.root / "labels")
        choice = book.record(Annotation(episode_id=episode_id, outcome=Outcome.SUCCESS), by="ada")
        book.undo(choice, by="ada")
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.journal = self.folder / "journal.jsonl"
        self._log = LineLog(self.journal, fault="labels")

    def record(self, annotation: Annotation, *, by: str, origin: Origin = "human") -> str:
        """Keeps one choice and returns its id; from then on it survives a power cut. A later choice replaces it."""
        return self.record_all([annotation], by=by, origin=origin)

    def record_all(self, annotations: Iterable[Annotation], *, by: str, origin: Origin = "human") -> str:
        """Keeps several choices as one, whole or not at all; the id of the one choice.

        Raises:
            ConfigError: no annotation, two of one episode, or an annotation out of range.
            OSError: it could not be written; nothing was kept.
        """
        ordered = [canonical(annotation) for annotation in annotations]
        labels = {annotation.episode_id: annotation for annotation in ordered}
        if not labels or len(labels) != len(ordered) or origin not in _ORIGINS:
            raise ConfigError(
                f"label book: {len(ordered)} annotations of {len(labels)} episodes from {origin!r}, "
                f"expected one or more, each of another episode, from one of {_ORIGINS}"
            )
        entry = Entry(id=os.urandom(8).hex(), by=by, at=time.time(), origin=origin, labels=labels)
        with self._log.writing() as append:
            append(_encode(entry))
        return entry.id

    def take_imports(self, annotations: Iterable[Annotation], *, by: str) -> None:
        """Keeps what was said elsewhere as imported, where that is new; what others say here, and hold to, stands."""
        stacks = _stacks(self.entries())
        given_here = {i for each in stacks.values() for i, stack in each.items() if any(one.by != by for one in stack)}
        known = _top(stacks, "imported")
        new = [a for a in annotations if a.episode_id not in given_here and known.get(a.episode_id) != a]
        if new:
            self.record_all(new, by=by, origin="imported")

    def undo(self, choice: str, *, by: str) -> dict[str, Annotation | None]:
        """Takes a choice back; what holds now for each of its episodes (None: no label).

        Raises:
            ConfigError: no such choice, it was taken back already, or someone has chosen for its episode since.
        """
        with self._log.writing() as append:
            entries = self._read()
            stacks = _stacks(entries)
            target = next((entry for entry in entries if entry.id == choice and entry.labels), None)
            if target is None:
                raise ConfigError(f"label book: no choice {choice!r} to undo among {len(entries)} entries")
            for episode_id in target.labels:
                stack = stacks[target.origin].get(episode_id, [])
                if not stack or stack[-1].id != choice:
                    raise ConfigError(
                        f"label book: choice {choice} is no longer the latest of episode {episode_id[:12]}: "
                        "it was taken back already, or someone has chosen since"
                    )
            undo = Entry(id=os.urandom(8).hex(), by=by, at=time.time(), origin=target.origin, undoes=choice)
            append(_encode(undo))
        holding = _top(_stacks([*entries, undo]))
        return {episode_id: holding.get(episode_id) for episode_id in target.labels}

    def annotations(self, origin: Origin | None = None) -> dict[str, Annotation]:
        """{episode id: what holds now}, in order of id: of one origin, or a person's before an imported one.

        Raises:
            Corrupt: a line is not what was written.
        """
        return _top(_stacks(self._read()), origin)

    def entries(self) -> list[Entry]:
        """Every choice and undo, oldest first, with who and when."""
        return self._read()

    def _read(self) -> list[Entry]:
        lines, _ = self._log.lines()
        return [self._decode(number, line) for number, line in enumerate(lines, start=1)]

    def _decode(self, number: int, line: bytes) -> Entry:
        try:
            record = json.loads(line)
            content = record["entry"]
            if record["sha256"] != hashlib.sha256(canonical_json(content)).hexdigest():
                raise ValueError("its digest does not fit")  # noqa: TRY301 - told apart from nothing else
            return Entry(
                id=content["id"],
                by=content["by"],
                at=content["at"],
                origin=content["origin"],
                labels={i: annotation_from_json(i, one) for i, one in content["labels"].items()},
                undoes=content["undoes"],
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Corrupt(
                f"label book {self.journal}, line {number}: not what was written ({error})",
                hint=f"restore {self.journal} from a copy, or delete that line and label its episodes again",
            ) from error


def _encode(entry: Entry) -> bytes:
    content: dict[str, Any] = {
        "id": entry.id,
        "by": entry.by,
        "at": entry.at,
        "origin": entry.origin,
        "labels": {i: annotation_to_json(one) for i, one in entry.labels.items()},
        "undoes": entry.undoes,
    }
    digest = hashlib.sha256(canonical_json(content)).hexdigest()
    return canonical_json({"entry": content, "sha256": digest})


def _stacks(entries: Iterable[Entry]) -> dict[str, dict[str, list[Entry]]]:
    """{origin: {episode id: choices that were not taken back, oldest first}}."""
    stacks: dict[str, dict[str, list[Entry]]] = {origin: {} for origin in _ORIGINS}
    choices: dict[str, Entry] = {}
    for entry in entries:
        if entry.undoes:
            # A choice whose line was deleted, for it could not be read any more, has nothing left to undo.
            for episode_id in choices[entry.undoes].labels if entry.undoes in choices else ():
                stacks[entry.origin][episode_id].pop()
            continue
        choices[entry.id] = entry
        for episode_id in entry.labels:
            stacks[entry.origin].setdefault(episode_id, []).append(entry)
    return stacks


def _top(stacks: Mapping[str, Mapping[str, list[Entry]]], origin: Origin | None = None) -> dict[str, Annotation]:
    """The latest choice per episode; where no origin is asked for, a person's hides an imported one."""
    found: dict[str, Annotation] = {}
    for each in (origin,) if origin is not None else reversed(_ORIGINS):
        found |= {i: stack[-1].labels[i] for i, stack in stacks[each].items() if stack}
    return dict(sorted(found.items()))
