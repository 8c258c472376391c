"""Chooses which attempts a report shows, and cuts their films from the episode store.

Owns the choice and the reading of frames and events; how a strip is drawn belongs to `filmstrip` and the film section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data.episodes import EpisodeStore
from pipelines.report.figures import Recording
from pipelines.report.filmstrip import evenly_spaced
from pipelines.report.formats import words
from pipelines.report.pictures import Film, FilmRow, Mark
from recap.errors import EpisodeCorrupt, UnknownName
from recap.types import Outcome

FRAMES_SHOWN = 12
MAIN_CAMERA = "cam_high"
_PLAIN_KIND = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Filmed:
    """An evaluation attempt that was kept as an episode."""

    iteration: int
    start_seed: int
    episode_id: str
    outcome: Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """An attempt to be shown."""

    slug: str
    title: str
    episode_id: str
    outcome: Outcome
    note: str = ""


def choose(recordings: Sequence[Recording], filmed: Sequence[Filmed]) -> list[Choice]:
    """At most one attempt per (demonstration, evaluation) x (success, failure).

    The first of its kind by start, never the nicest: a clean demonstration where one succeeded, a flawed one where one
    failed, and the evaluation of the latest iteration that has films.
    """
    choices: list[Choice] = []
    for outcome in (Outcome.SUCCESS, Outcome.FAILURE):
        demos = [r for r in recordings if r.outcome is outcome]
        wanted = [r for r in demos if (r.flaw is None) == (outcome is Outcome.SUCCESS)] or demos
        if wanted:
            demo = wanted[0]
            choices.append(
                Choice(
                    slug=f"demo-{outcome}",
                    title="Demonstration",
                    episode_id=demo.episode_id,
                    outcome=outcome,
                    note=f"flaw: {words(demo.flaw)}" if demo.flaw else "",
                )
            )
    latest = max((film.iteration for film in filmed), default=None)
    for outcome in (Outcome.SUCCESS, Outcome.FAILURE):
        film = next((f for f in filmed if f.iteration == latest and f.outcome is outcome), None)
        if film is not None:
            title = f"Evaluation of iteration {film.iteration}"
            choices.append(
                Choice(slug=f"evaluation-{outcome}", title=title, episode_id=film.episode_id, outcome=outcome)
            )
    return choices


def cut(store: EpisodeStore, choices: Sequence[Choice]) -> tuple[tuple[Film, ...], tuple[str, ...]]:
    """The films of `choices`, and a sentence for each that could not be read."""
    films: list[Film] = []
    missing: list[str] = []
    for choice in choices:
        try:
            films.append(film_of(store, choice))
        except (EpisodeCorrupt, UnknownName) as error:
            missing.append(f"film of {choice.slug.replace('-', ' ')}: {error.message}")
    return tuple(films), tuple(missing)


def film_of(store: EpisodeStore, choice: Choice) -> Film:
    """Evenly spaced frames of the main camera and of one wrist, with the simulator's errors and milestones as marks.

    Raises:
        EpisodeCorrupt, UnknownName: the episode cannot be read, or is not there.
    """
    episode = store.load(choice.episode_id)
    steps = evenly_spaced(episode.length, FRAMES_SHOWN)
    cameras = sorted(episode.frames)
    main = MAIN_CAMERA if MAIN_CAMERA in cameras else cameras[0]
    wrist = next((name for name in cameras if "wrist" in name and name != main), None)
    truth = store.truth(choice.episode_id) if store.has_truth(choice.episode_id) else None
    return Film(
        slug=choice.slug,
        title=choice.title,
        episode_id=choice.episode_id,
        start_seed=episode.start_seed,
        outcome=choice.outcome,
        length=episode.length,
        rate_hz=episode.rate_hz,
        steps=tuple(steps),
        rows=tuple(
            # Copied: a slice would keep every frame of the episode alive.
            FilmRow(camera=name, frames=np.ascontiguousarray(episode.frames[name][steps]))
            for name in (main, wrist)
            if name is not None
        ),
        marks=tuple(
            Mark(t=event.t, name=event.name, kind=event.kind)
            for event in (truth.events if truth is not None else ())
            if event.kind != _PLAIN_KIND
        ),
        note=choice.note,
    )
