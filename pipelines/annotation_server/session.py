"""One sitting: what was chosen or skipped, what is next, and the way back. Any number of threads may call it.

A choice is in the label book before a call returns; what the sitting itself remembers (order, skips, undo) dies with
it and is worth nothing. Knows no HTTP and no image.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from data.annotation import LabelBook, canonical
from recap.errors import ConfigError, UnknownName
from recap.types import Annotation, Outcome


class Conflict(ConfigError):
    """The request does not fit what was chosen in the meantime."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Step:
    """One thing done in this sitting."""

    episode: str
    choice: str
    """Id of the choice in the label book; empty for a skip."""


class AnnotationSession:
    """A sitting over `episodes`.

    Example:
        session = AnnotationSession(book, ids, by="ada")
        session.choose(Annotation(episode_id=session.current(), outcome=Outcome.SUCCESS))
        session.undo()
    """

    def __init__(self, book: LabelBook, episodes: Sequence[str], *, by: str) -> None:
        self._book = book
        self._episodes = tuple(episodes)
        self._members = frozenset(episodes)
        self._by = by
        self._lock = threading.RLock()
        self._steps: list[_Step] = []
        self._chosen: dict[str, Annotation] = {}
        self._skipped: set[str] = set()

    def __contains__(self, episode_id: str) -> bool:
        return episode_id in self._members

    def current(self) -> str | None:
        """The first episode that was neither judged nor skipped."""
        return next(iter(self._open(1)), None)

    @property
    def finished(self) -> bool:
        """True once every episode was judged or skipped."""
        return self.current() is None

    def choose(self, annotation: Annotation) -> None:
        """Records what a person says of an episode; on disk when it returns. Saying the same twice is saying it once.

        Raises:
            UnknownName: not an episode of this sitting.
            Conflict: it was judged otherwise in this sitting: undo that first.
            OSError: it could not be saved, and is not.
        """
        wanted = canonical(annotation)
        with self._lock:
            self._check_member(wanted.episode_id)
            earlier = self._chosen.get(wanted.episode_id)
            if earlier == wanted:
                return
            if earlier is not None:
                raise Conflict(
                    f"episode {wanted.episode_id[:12]} was judged {earlier.outcome.value} in this sitting: undo first"
                )
            choice = self._book.record(wanted, by=self._by)
            self._chosen[wanted.episode_id] = wanted
            self._skipped.discard(wanted.episode_id)
            self._steps.append(_Step(episode=wanted.episode_id, choice=choice))

    def skip(self, episode_id: str) -> None:
        """Leaves an episode without a label and goes on."""
        with self._lock:
            self._check_member(episode_id)
            if episode_id in self._chosen:
                raise Conflict(f"episode {episode_id[:12]} was judged in this sitting: undo first")
            if episode_id not in self._skipped:
                self._skipped.add(episode_id)
                self._steps.append(_Step(episode=episode_id, choice=""))

    def undo(self) -> tuple[str, Annotation | None]:
        """Takes the latest choice or skip of this sitting back; its episode, and what had been said of it.

        Raises:
            Conflict: nothing to undo, or someone else has judged that episode since.
            OSError: the undo could not be saved; the choice stands.
        """
        with self._lock:
            if not self._steps:
                raise Conflict("nothing to undo in this sitting")
            step = self._steps[-1]
            if step.choice:
                try:
                    self._book.undo(step.choice, by=self._by)
                except ConfigError as error:
                    # Someone else has judged it since: it is not ours to undo any more, what was before it is.
                    self._steps.pop()
                    raise Conflict(error.message) from error
            self._steps.pop()
            # A skip may lie before a choice for the same episode (undone in the other order).
            self._skipped.discard(step.episode)
            return step.episode, self._chosen.pop(step.episode, None) if step.choice else None

    def state(self) -> dict[str, Any]:
        """How far the sitting is, as JSON: counts, the current episode and the one after it."""
        with self._lock:
            following = self._open(2)
            outcomes = Counter(annotation.outcome for annotation in self._chosen.values())
            return {
                "total": len(self._episodes),
                "labelled": len(self._chosen),
                "skipped": len(self._skipped),
                "outcomes": {outcome.value: outcomes[outcome] for outcome in Outcome},
                "key_frames": sum(len(annotation.key_frames) for annotation in self._chosen.values()),
                "current": following[0] if following else None,
                "next": following[1] if len(following) > 1 else None,
                "can_undo": bool(self._steps),
            }

    def _open(self, count: int) -> list[str]:
        with self._lock:
            found: list[str] = []
            for episode_id in self._episodes:
                if episode_id not in self._chosen and episode_id not in self._skipped:
                    found.append(episode_id)
                    if len(found) == count:
                        break
            return found

    def _check_member(self, episode_id: str) -> None:
        if episode_id not in self._members:
            raise UnknownName(f"episode {episode_id[:64]!r} is not in this queue of {len(self._episodes)}")
