"""Chooses the attempts that a report shows, and cuts their films from the episode store.

The first of its kind by start, never the nicest. Key frames are those of the annotations: what the simulator alone
knows is shown only where no label holds any, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.report.filmstrip import evenly_spaced
from pipelines.report.formats import words
from pipelines.report.model import Iteration
from pipelines.report.pictures import Film, FilmRow, Mark, ValueStrip
from pipelines.report.read import LatestValues
from pipelines.steps.evaluate.outputs import Film as Filmed
from pipelines.steps.record.outputs import RecordedAttempt
from recap.errors import ConfigError, EpisodeCorrupt, UnknownName
from recap.types import Annotation, Outcome, Source

FRAMES_SHOWN = 12
MAIN_CAMERA = "cam_high"
_PLAIN_KIND = 0
_TITLES = {Source.ROLLOUT: "Rollout", Source.CORRECTION: "Correction", Source.DEMO: "Demonstration"}
"""Those that come first are shown first."""

MadeT = TypeVar("MadeT")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """An attempt to be shown."""

    slug: str
    title: str
    episode_id: str
    outcome: Outcome
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    episode_id: str
    source: Source
    recorded: int
    outcome: Outcome
    said: Annotation | None


def choose(recordings: Sequence[RecordedAttempt], filmed: Sequence[tuple[int, Filmed]]) -> list[Choice]:
    """At most one attempt per (demonstration, evaluation) x (success, failure).

    A clean demonstration where one succeeded, a flawed one where one failed, and the evaluation of the latest iteration
    that has films.

    Args:
        recordings: of the first iteration that recorded.
        filmed: (iteration, evaluation attempt that was kept as an episode).
    """
    choices: list[Choice] = []
    for outcome in (Outcome.SUCCESS, Outcome.FAILURE):
        demos = [r for r in recordings if r.outcome is outcome]
        for demo in [*(r for r in demos if bool(r.flaw) == (outcome is Outcome.FAILURE)), *demos][:1]:
            note = f"flaw: {words(demo.flaw)}" if demo.flaw else ""
            slug = f"demo-{outcome}"
            choices.append(
                Choice(slug=slug, title="Demonstration", episode_id=demo.episode_id, outcome=outcome, note=note)
            )
    latest = max((iteration for iteration, _ in filmed), default=None)
    for outcome in (Outcome.SUCCESS, Outcome.FAILURE):
        for film in [film for iteration, film in filmed if iteration == latest and film.outcome is outcome][:1]:
            title = f"Evaluation of iteration {latest}"
            choices.append(
                Choice(slug=f"evaluation-{outcome}", title=title, episode_id=film.episode_id, outcome=outcome)
            )
    return choices


def cut(store: EpisodeStore, choices: Sequence[Choice], missing: list[str]) -> tuple[Film, ...]:
    """The films of `choices`; a sentence in `missing` for each that could not be read."""
    return _each(missing, choices, lambda one: f"film of {one.slug.replace('-', ' ')}", lambda one: _film(store, one))


def value_strips(
    store: EpisodeStore, iterations: Sequence[Iteration], latest: LatestValues | None, *, task: str, missing: list[str]
) -> tuple[ValueStrip, ...]:
    """At most one success, one failure, one correction; a sentence in `missing` for each that could not be read."""
    if latest is None:
        return ()
    chosen = _chosen(_candidates(iterations, latest))
    return _each(
        missing,
        list(chosen.items()),
        lambda one: f"values along the {one[0]} {one[1].episode_id[:12]}",
        lambda one: _strip(store, one[0], one[1], latest, task),
    )


def _each(
    missing: list[str], chosen: Sequence[Any], name: Callable[[Any], str], make: Callable[[Any], MadeT]
) -> tuple[MadeT, ...]:
    made = []
    for one in chosen:
        try:
            made.append(make(one))
        except (EpisodeCorrupt, UnknownName, ConfigError) as error:
            missing.append(f"{name(one)}: {error.message}")
    return tuple(made)


def _film(store: EpisodeStore, choice: Choice) -> Film:
    """Evenly spaced frames of the main camera and of one wrist, with the simulator's errors and milestones as marks.

    Raises:
        EpisodeCorrupt, UnknownName: the episode cannot be read, or is not there.
    """
    episode = store.load(choice.episode_id)
    steps = evenly_spaced(episode.length, FRAMES_SHOWN)
    cameras = sorted(episode.frames)
    main = MAIN_CAMERA if MAIN_CAMERA in cameras else cameras[0]
    wrists = [name for name in cameras if "wrist" in name and name != main]
    events = store.truth(choice.episode_id).events if store.has_truth(choice.episode_id) else ()
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
            for name in (main, *wrists[:1])
        ),
        marks=tuple(Mark(t=one.t, name=one.name, kind=one.kind) for one in events if one.kind != _PLAIN_KIND),
        note=choice.note,
    )


def _candidates(iterations: Sequence[Iteration], latest: LatestValues) -> list[_Candidate]:
    """Recorded episodes that have values: rollouts before corrections before demonstrations, the latest first."""
    known = set(latest.values.ids)
    annotated = latest.annotations.by_id if latest.annotations is not None else {}
    found = []
    for iteration in iterations:
        for one in iteration.recordings or ():
            said = annotated.get(one.episode_id)
            outcome = one.outcome if said is None else said.outcome
            if one.episode_id in known and outcome is not None:
                found.append(
                    _Candidate(
                        episode_id=one.episode_id,
                        source=one.source,
                        recorded=iteration.index,
                        outcome=outcome,
                        said=said,
                    )
                )
    return sorted(found, key=lambda one: (list(_TITLES).index(one.source), -one.recorded))


def _chosen(candidates: Sequence[_Candidate]) -> Mapping[str, _Candidate]:
    """{slug: the first of its kind}; among failures of one kind, the first with a marked error."""
    chosen: dict[str, _Candidate] = {}
    for one in candidates:
        if one.outcome is Outcome.SUCCESS:
            chosen.setdefault("success", one)
    failures = [one for one in candidates if one.outcome is Outcome.FAILURE]
    alike = [one for one in failures if (one.source, one.recorded) == (failures[0].source, failures[0].recorded)]
    marked = [one for one in alike if one.said is not None and any(frame.kind < 0 for frame in one.said.key_frames)]
    for one in [*marked, *failures][:1]:
        chosen["failure"] = one
    for one in candidates:
        if one.source is Source.CORRECTION and one not in chosen.values():
            chosen.setdefault("correction", one)
    return chosen


def _strip(store: EpisodeStore, slug: str, candidate: _Candidate, latest: LatestValues, task: str) -> ValueStrip:
    episode_id = candidate.episode_id
    title = f"{_TITLES[candidate.source]} of iteration {candidate.recorded}"
    film = _film(store, Choice(slug=slug, title=title, episode_id=episode_id, outcome=candidate.outcome))
    marks = tuple(
        Mark(t=frame.t, name=frame.text.strip() or ("milestone" if frame.kind > 0 else "error"), kind=frame.kind)
        for frame in (candidate.said.key_frames if candidate.said is not None else ())
    )
    arrays = _parts(latest.values, ("value", "spread"), episode_id)
    labels = latest.labels if latest.labels is not None and episode_id in latest.labels.ids else None
    if labels is not None:
        arrays |= _parts(labels, ("advantage", "positive", "forced"), episode_id)
    _, _, intervened = store.numbers(episode_id)
    return ValueStrip(
        # The main camera alone: the curve below belongs to the eye, and every picture costs bytes.
        film=replace(film, rows=film.rows[:1], marks=marks or film.marks),
        iteration=latest.iteration,
        source=candidate.source,
        intervened=np.asarray(intervened, dtype=np.bool_),
        threshold=None if labels is None else labels.facts["thresholds"].get(task),
        held_out=latest.held_out,
        privileged_marks=bool(film.marks) and not marks,
        **arrays,
    )


def _parts(table: FrameTable, names: Sequence[str], episode_id: str) -> dict[str, Any]:
    """Copied: a slice would keep the whole table alive."""
    rows = table.rows_of(episode_id)
    return {name: table.arrays[name][rows].copy() for name in names if name in table.arrays}
