"""Chooses the attempts whose predicted values a report shows, and cuts their films with values, labels and key frames.

Owns the choice and the reading; how a strip is drawn belongs to `strip_chart`. Key frames are those of the annotations:
what the simulator alone knows is shown only where no label holds any, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.experience import seen_by_none
from pipelines.report.figures import Iteration
from pipelines.report.footage import Choice, film_of
from pipelines.report.parse import Outputs
from pipelines.report.pictures import Mark, ValueStrip
from pipelines.report.turns import read_table
from recap.errors import ConfigError, EpisodeCorrupt, UnknownName
from recap.graph import NodeName
from recap.types import Outcome, Source

_KIND_NAMES = {1: "milestone", -1: "error"}
_TITLES = {Source.DEMO: "Demonstration", Source.ROLLOUT: "Rollout", Source.CORRECTION: "Correction"}
_PREFERRED = (Source.ROLLOUT, Source.CORRECTION, Source.DEMO)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    episode_id: str
    source: Source
    recorded: int
    outcome: Outcome
    has_error: bool


def value_strips(
    store: EpisodeStore, iterations: Sequence[Iteration], outputs: Mapping[str, Outputs], *, task: str
) -> tuple[tuple[ValueStrip, ...], list[str]]:
    """At most one success, one failure, one correction with the latest values; a sentence for each that was lost."""
    missing: list[str] = []
    labelled: dict[int, str] = {}
    for node in outputs:
        name = NodeName.parse(node)
        if name.stage == "value_label":
            labelled.setdefault(name.iteration, node)
    if not labelled:
        return (), missing
    latest = max(labelled)
    # Of an iteration's value models the first is the one that labels.
    values = read_table(outputs[labelled[latest]]["values"], labelled[latest], missing)
    if values is None:
        return (), missing
    made = outputs.get(f"{latest}/advantage", {})
    labels = read_table(made["labels"], f"{latest}/advantage", missing) if "labels" in made else None
    annotated = outputs.get(f"{latest}/annotate", {})
    annotations = annotated["annotations"].json()["annotations"] if "annotations" in annotated else {}
    strips: list[ValueStrip] = []
    for slug, candidate in _chosen(_candidates(iterations, values, annotations)):
        try:
            strips.append(_strip(store, slug, candidate, latest, values, labels, annotations, task=task))
        except (EpisodeCorrupt, UnknownName, ConfigError) as error:
            missing.append(f"values along the {slug} {candidate.episode_id[:12]}: {error.message}")
    return tuple(strips), missing


def _candidates(
    iterations: Sequence[Iteration], values: FrameTable, annotations: Mapping[str, Any]
) -> list[_Candidate]:
    """Recorded episodes that have values: rollouts before corrections before demonstrations, the latest first."""
    known = set(values.ids)
    found = [
        _Candidate(
            episode_id=recording.episode_id,
            source=recording.source,
            recorded=iteration.index,
            outcome=Outcome(annotations.get(recording.episode_id, {}).get("outcome", recording.outcome)),
            has_error=any(kind < 0 for _, kind, *_ in annotations.get(recording.episode_id, {}).get("key_frames", [])),
        )
        for iteration in iterations
        for recording in iteration.recordings or ()
        if recording.episode_id in known
    ]
    return sorted(found, key=lambda one: (_PREFERRED.index(one.source), -one.recorded))


def _chosen(candidates: Sequence[_Candidate]) -> list[tuple[str, _Candidate]]:
    """The first of its kind by start, never the nicest; among failures of one kind, the first with a marked error."""
    chosen: list[tuple[str, _Candidate]] = []
    success = next((c for c in candidates if c.outcome is Outcome.SUCCESS), None)
    if success is not None:
        chosen.append(("success", success))
    failures = [c for c in candidates if c.outcome is Outcome.FAILURE]
    alike = [c for c in failures if (c.source, c.recorded) == (failures[0].source, failures[0].recorded)]
    if failures:
        chosen.append(("failure", next((c for c in alike if c.has_error), failures[0])))
    taken = {candidate.episode_id for _, candidate in chosen}
    corrected = (c for c in candidates if c.source is Source.CORRECTION and c.episode_id not in taken)
    chosen += [("correction", candidate) for candidate in list(corrected)[:1]]
    return chosen


def _strip(
    store: EpisodeStore,
    slug: str,
    candidate: _Candidate,
    iteration: int,
    values: FrameTable,
    labels: FrameTable | None,
    annotations: Mapping[str, Any],
    *,
    task: str,
) -> ValueStrip:
    film = film_of(
        store,
        Choice(
            slug=slug,
            title=f"{_TITLES[candidate.source]} of iteration {candidate.recorded}",
            episode_id=candidate.episode_id,
            outcome=candidate.outcome,
        ),
    )
    marks = tuple(
        Mark(t=int(t), name=" ".join(text).strip() or _KIND_NAMES[1 if kind > 0 else -1], kind=int(kind))
        for t, kind, *text in annotations.get(candidate.episode_id, {}).get("key_frames", [])
    )
    arrays: dict[str, Any] = {"value": _part(values, "value", candidate.episode_id)}
    if "spread" in values.arrays:
        arrays["spread"] = _part(values, "spread", candidate.episode_id)
    threshold = None
    if labels is not None and candidate.episode_id in labels.ids:
        for name in ("advantage", "positive", "forced"):
            if name in labels.arrays:
                arrays[name] = _part(labels, name, candidate.episode_id)
        found = labels.facts.get("thresholds", {}).get(task)
        threshold = None if found is None else float(found)
    _, _, intervened = store.numbers(candidate.episode_id)
    return ValueStrip(
        # The main camera alone: the curve below belongs to the eye, and every picture costs bytes.
        film=replace(film, rows=film.rows[:1], marks=marks or film.marks),
        iteration=iteration,
        source=candidate.source,
        intervened=np.asarray(intervened, dtype=np.bool_),
        threshold=threshold,
        held_out=seen_by_none(values.facts),
        privileged_marks=bool(film.marks) and not marks,
        **arrays,
    )


def _part(table: FrameTable, name: str, episode_id: str) -> Any:
    """Copied: a slice would keep the whole table alive."""
    return table.arrays[name][table.rows_of(episode_id)].copy()
