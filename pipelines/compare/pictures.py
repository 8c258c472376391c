"""Which episodes the page of a comparison shows, and what every model said along them.

The first of its kind by id, never the nicest: a success, a failure (with its error marked, where one is), and a success
of the task that no model has seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from data.annotation import Annotations
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.compare.charts import curves
from pipelines.report.footage import Choice, cut
from pipelines.report.pictures import Film, Mark
from recap.types import Annotation, Outcome, Source

_ORDER = (Source.ROLLOUT, Source.CORRECTION, Source.DEMO)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Picture:
    """One film with every model's curve below it."""

    film: Film
    charts: Sequence[tuple[str, Markup]]
    """[(model, chart)]"""


def pictures(
    store: EpisodeStore,
    annotations: Annotations,
    tables: Mapping[str, Sequence[FrameTable]],
    *,
    iteration: int,
    wanted: Mapping[str, Outcome],
    missing: list[str],
) -> list[Picture]:
    """The first episode of each wanted outcome that there is, with the values along it.

    Args:
        store: where the episodes are.
        annotations: outcomes and key frames.
        tables: {model: [S] values}.
        iteration: whose models these are.
        wanted: {name of the picture: outcome}.
        missing: grows by a sentence for each that is not there or cannot be read.
    """
    known = next(iter(tables.values()))[0].ids
    sources = {row.id: Source(row.source) for row in store.rows(known)}
    said = {one: annotations.by_id[one] for one in known if one in annotations.by_id}
    made = []
    for slug, outcome in wanted.items():
        alike = [one for one, annotation in said.items() if annotation.outcome is outcome]
        # Failures with a marked error first: what a value ought to notice.
        alike.sort(key=lambda one: (_no_error(said[one]), _ORDER.index(sources[one]), one))
        if not alike:
            missing.append(f"{slug}: none of the {len(said)} episodes is a {outcome.value}")
            continue
        chosen = Choice(slug=slug, title=f"{slug}: {sources[alike[0]].value}", episode_id=alike[0], outcome=outcome)
        for film in cut(store, [chosen], missing):
            shown = replace(film, rows=film.rows[:1], marks=_marks(said[film.episode_id]) or film.marks)
            values = {
                model: [
                    (table.arrays["value"][rows].copy(), table.arrays["spread"][rows].copy())
                    for table in seeds
                    for rows in (table.rows_of(film.episode_id),)
                ]
                for model, seeds in tables.items()
            }
            intervened = store.numbers(film.episode_id)[2]
            charts = curves(shown, sources[film.episode_id], intervened, values, iteration)
            made.append(Picture(film=shown, charts=charts))
    return made


def _no_error(said: Annotation) -> bool:
    """A failure without a marked error."""
    return said.outcome is Outcome.FAILURE and not any(frame.kind < 0 for frame in said.key_frames)


def _marks(said: Annotation) -> tuple[Mark, ...]:
    return tuple(
        Mark(t=frame.t, name=frame.text.strip() or ("milestone" if frame.kind > 0 else "error"), kind=frame.kind)
        for frame in said.key_frames
    )
