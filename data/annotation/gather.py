"""One annotation per episode, from several sources in order of precedence.

Owns the precedence: an episode takes its annotation from the first source that has one, and stays without where none
has. A verdict without key frames says nothing about them (one key was pressed): a later source of the same verdict
lends its own. A guess is no source. The detector reads the simulator's truth, which no model may.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from data.annotation.book import LabelBook
from data.annotation.labels import SOURCES, Annotations, canonical
from data.episodes import EpisodeStore
from recap.errors import ConfigError, UnknownName
from recap.types import Annotation, KeyFrame


def detector_annotations(store: EpisodeStore, ids: Iterable[str]) -> dict[str, Annotation]:
    """The task detector's verdict and its milestones and errors; simulation only.

    An episode without truth gives no entry. Events that are neither milestone nor error are no key frames.

    Raises:
        EpisodeCorrupt: a truth is not what was committed.
    """
    found: dict[str, Annotation] = {}
    for episode_id in sorted(set(ids)):
        if not store.has_truth(episode_id):
            continue
        truth = store.truth(episode_id)
        marks = tuple(KeyFrame(t=event.t, kind=event.kind, text=event.name) for event in truth.events if event.kind)
        found[episode_id] = canonical(Annotation(episode_id=episode_id, outcome=truth.outcome, key_frames=marks))
    return found


def gather_annotations(
    store: EpisodeStore,
    ids: Iterable[str],
    *,
    sources: Sequence[str] = SOURCES,
    label_book: LabelBook | None = None,
    imported: Mapping[str, Annotation] | None = None,
) -> Annotations:
    """The annotation of each episode that has one, and the ids of those that have none.

    Args:
        store: where the episodes are.
        ids: the episodes.
        sources: which sources to ask, the first that knows an episode wins.
        label_book: what people chose ("human") and what was imported earlier ("imported").
        imported: outcomes of a file, before those that the book has as imported.

    Raises:
        UnknownName: a source of another name, or an id that is not in the store.
        ConfigError: no or repeated sources, "human" without a label book, or a key frame past the end of its episode.
    """
    for source in sources:
        if source not in SOURCES:
            raise UnknownName.among("label source", source, SOURCES)
    if not sources or len(set(sources)) != len(sources):
        raise ConfigError(f"label sources {tuple(sources)}: expected one or more of {SOURCES}, each once")
    if "human" in sources and label_book is None:
        raise ConfigError("label source 'human' needs a label book: expected label_book=LabelBook(folder)")
    lengths = {row.id: row.length for row in store.rows(ids)}
    by_id: dict[str, Annotation] = {}
    counts = dict.fromkeys(SOURCES, 0)
    for source in sources:
        open_ids = [i for i in lengths if i not in by_id or not by_id[i].key_frames]
        answers = _ask(source, store, open_ids, label_book, imported or {})
        for episode_id in open_ids:
            if episode_id not in answers:
                continue
            answer = within(answers[episode_id], lengths[episode_id], source)
            if episode_id not in by_id:
                by_id[episode_id] = answer
                counts[source] += 1
            elif answer.outcome is by_id[episode_id].outcome:
                by_id[episode_id] = replace(by_id[episode_id], key_frames=answer.key_frames)
    missing = tuple(episode_id for episode_id in lengths if episode_id not in by_id)
    return Annotations(by_id=by_id, missing=missing, counts=counts)


def _ask(
    source: str, store: EpisodeStore, ids: list[str], book: LabelBook | None, imported: Mapping[str, Annotation]
) -> Mapping[str, Annotation]:
    if source == "detector":
        return detector_annotations(store, ids)
    if source == "imported":
        return {**(book.annotations("imported") if book is not None else {}), **imported}
    return book.annotations("human") if book is not None else {}


def within(annotation: Annotation, length: int, source: str) -> Annotation:
    """The annotation; ConfigError if a key frame lies past the end of an episode of `length` steps."""
    for key in annotation.key_frames:
        if key.t >= length:
            raise ConfigError(
                f"{source} annotation of episode {annotation.episode_id[:12]}: key frame at step {key.t}, "
                f"the episode has steps 0..{length - 1}"
            )
    return annotation
