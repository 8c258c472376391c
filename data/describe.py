"""What an episode store holds, in figures: for `recap data show` and `recap data stats`. Reads rows and truths only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from data.episodes import EpisodeStore
from data.index import EpisodeRow
from recap.types import Annotation, EpisodeDraft, Event, Outcome, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeReport:
    """One episode, for a person."""

    row: EpisodeRow
    software: Mapping[str, str]
    duration_s: float
    human_steps: int
    """Steps in which a human or the expert acted."""
    outcome: Outcome | None
    """The task detector's verdict; None where no truth was recorded."""
    label: Annotation | None
    """What a person or an import says of it; None: nobody did."""
    final_progress: float | None
    """True progress at the last step, [0, 1]; None where it is not known."""
    events: tuple[Event, ...]
    metrics: Mapping[str, float]
    stale_steps: tuple[int, ...]
    """Steps that went on with an earlier reading, for the robot or the teleoperator could not be read."""
    changed_steps: int
    """Steps in which the robot sent something else than it was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupStats:
    """The episodes of one task, source and outcome."""

    task: str
    source: Source
    outcome: Outcome | None
    """By its label, else by the truth recorded; None: neither is there."""
    episodes: int
    frames: int
    bytes: int
    lengths: tuple[int, int, int, int, int]
    """Steps: minimum, quartiles, maximum."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreStats:
    """A whole store."""

    episodes: int
    frames: int
    bytes: int
    groups: tuple[GroupStats, ...]
    """Sorted by task, source, outcome."""
    quarantined: int
    """Files set aside by `recap data repair`."""


def show(store: EpisodeStore, episode_id: str, labels: Mapping[str, Annotation] | None = None) -> EpisodeReport:
    """What is known of one episode; `episode_id` may be cut short as long as it is clear which is meant.

    `labels` are what people and imports say, by episode.

    Raises:
        UnknownName: no such episode.
        ConfigError: several episodes begin so.
        EpisodeCorrupt: its file or its truth is not what was committed.
    """
    full_id = store.resolve(episode_id)
    row = store.info(full_id)
    truth = store.truth(full_id) if store.has_truth(full_id) else None
    episode = store.load(full_id)
    return EpisodeReport(
        row=row,
        software=episode.software,
        duration_s=row.length / row.rate_hz,
        human_steps=int(episode.intervened.sum()),
        outcome=truth.outcome if truth else None,
        label=(labels or {}).get(full_id),
        final_progress=float(truth.progress[-1]) if truth and not np.isnan(truth.progress[-1]) else None,
        events=truth.events if truth else (),
        metrics=truth.metrics if truth else {},
        stale_steps=stale_steps(episode),
        changed_steps=changed_steps(episode),
    )


def changed_steps(draft: EpisodeDraft) -> int:
    """Steps in which the robot sent something else than it was asked."""
    return 0 if draft.asked is None else int((draft.asked != draft.action).any(axis=1).sum())


def stale_steps(draft: EpisodeDraft) -> tuple[int, ...]:
    """Steps that went on with an earlier reading."""
    return () if draft.stale is None else tuple(np.flatnonzero(draft.stale).tolist())


def stats(
    store: EpisodeStore, ids: Iterable[str] | None = None, labels: Mapping[str, Annotation] | None = None
) -> StoreStats:
    """Counts, lengths and bytes of `ids` (all episodes by default); `labels` as in `show`."""
    rows, said = store.rows(ids), labels or {}
    groups: dict[tuple[str, Source, Outcome | None], list[EpisodeRow]] = defaultdict(list)
    for row in rows:
        outcome = store.truth(row.id).outcome if row.id not in said and store.has_truth(row.id) else None
        outcome = said[row.id].outcome if row.id in said else outcome
        groups[row.task, row.source, outcome].append(row)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], item[0][1].value, item[0][2] or ""))
    set_aside = store.quarantine.glob("*") if store.quarantine.is_dir() else ()
    return StoreStats(
        episodes=len(rows),
        frames=sum(row.length for row in rows),
        bytes=sum(row.bytes for row in rows),
        groups=tuple(_group(*key, members) for key, members in ordered),
        quarantined=sum(not path.name.endswith(".reason.json") for path in set_aside),
    )


def _group(task: str, source: Source, outcome: Outcome | None, rows: list[EpisodeRow]) -> GroupStats:
    lengths = np.sort([row.length for row in rows])
    low, q1, median, q3, high = (
        int(length) for length in np.quantile(lengths, (0, 0.25, 0.5, 0.75, 1), method="lower")
    )
    return GroupStats(
        task=task,
        source=source,
        outcome=outcome,
        episodes=len(rows),
        frames=int(lengths.sum()),
        bytes=sum(row.bytes for row in rows),
        lengths=(low, q1, median, q3, high),
    )
