"""Does the value rise at milestones and fall at errors? The event scores of the ViVa paper (section 4.2).

Owns ERS, MS, ES, MDR and ErrDR. It must not know who marked the events.

For an event of kind d (+1 milestone, -1 error): ERS = d (after - before) / (before + eps), where before and after are
means of P = 1 + V over the w frames before and after it; P, in [0, 1], grows with progress as the paper's figures do.
An event counts as detected if d (after - before) > 0. The paper gives neither w nor eps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recap.errors import ConfigError
from recap.types import Event, IntArray, KeyFrame
from value_model.metrics import Bootstrap, Figure, Floats


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EventScores:
    """Scores of M events that have frames on both sides."""

    episode: IntArray
    """[M] position of the episode."""
    kind: IntArray
    """[M] +1 or -1."""
    detected: Floats
    """[M] 1 where the value moves the right way, else 0."""
    score: Floats
    """[M] ERS; NaN where before + eps is not above 0 and the ratio has no meaning."""
    without_frames: int
    """Events left out because no frame lies before or after them."""


def event_scores(
    values: Floats, offsets: IntArray, events: Sequence[Sequence[Event | KeyFrame]], *, window: int, eps: float
) -> EventScores:
    """Scores every milestone and error; events of kind 0 are passed over.

    Args:
        values: [N] V in [-1, 0].
        offsets: [E + 1].
        events: E lists.
        window: w, frames; fewer near the ends of an episode.
        eps: added to the denominator.

    Raises:
        ConfigError: an event outside its episode, or lists that do not fit the episodes.
    """
    if len(events) != len(offsets) - 1:
        raise ConfigError(f"event scores: events of {len(events)} episodes, expected {len(offsets) - 1}")
    episodes, kinds, detected, scores, without = [], [], [], [], 0
    for place, marked in enumerate(events):
        progress = 1.0 + values[offsets[place] : offsets[place + 1]]
        for event in marked:
            if not 0 <= event.t < len(progress):
                raise ConfigError(
                    f"event scores: an event at step {event.t} of episode number {place}, which has {len(progress)}"
                )
            before, after = progress[max(event.t - window, 0) : event.t], progress[event.t + 1 : event.t + 1 + window]
            if event.kind == 0:
                continue
            if not len(before) or not len(after):
                without += 1
                continue
            base = float(before.mean())
            change = event.kind * (float(after.mean()) - base)
            episodes.append(place)
            kinds.append(event.kind)
            detected.append(float(change > 0))
            scores.append(change / (base + eps) if base + eps > 0 else np.nan)
    return EventScores(
        episode=np.array(episodes, dtype=np.int64),
        kind=np.array(kinds, dtype=np.int64),
        detected=np.array(detected, dtype=np.float64),
        score=np.array(scores, dtype=np.float64),
        without_frames=without,
    )


def event_figures(scores: EventScores, bootstrap: Bootstrap) -> Mapping[str, Figure]:
    """{mdr, err_dr, ms, es}: shares detected and mean scores of milestones and errors; `count` counts events."""
    figures = {}
    for kind, what, rate, mean in ((1, "milestones", "mdr", "ms"), (-1, "errors", "err_dr", "es")):
        for name, number in ((rate, scores.detected), (mean, scores.score)):
            chosen = (scores.kind == kind) & np.isfinite(number)
            total = int(chosen.sum())
            if not total:
                figures[name] = Figure(value=None, note=f"no {what} are marked with frames on both sides")
                continue
            _, place = np.unique(scores.episode[chosen], return_inverse=True)
            size = int(place.max()) + 1
            top, bottom = np.zeros(size), np.zeros(size)
            np.add.at(top, place, number[chosen])
            np.add.at(bottom, place, 1.0)
            left_out = int(np.sum(scores.kind == kind)) - total
            note = f"{total} {what}" + (f", {left_out} left out: value below -1" if left_out else "")
            figures[name] = bootstrap.ratio(name, top, bottom, note=note, count=total)
    return figures
