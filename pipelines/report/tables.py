"""Turns the tables of advantages and labels into what the report shows of them: histograms and shares per source.

Owns the binning. Knows frame tables, no store and no page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.frame_table import FrameTable
from pipelines.report.charts import linear_ticks
from pipelines.report.figures import AdvantageFacts, AdvantageShare, Histogram

_BINS = 48
_TAIL = 0.002
"""Share of the frames beyond either end of the bins, when a few extreme ones would squeeze all others together."""

_NOT_SHOWN = ("sources", "per_source", "problems", "healthy", "threshold")

Origin = tuple[str, int | None]
"""(source, iteration that recorded it)"""

_ORDER = ("demo", "rollout", "correction")


def advantage_facts(
    table: FrameTable,
    health: Mapping[str, Any],
    *,
    task: str,
    origins: Mapping[str, Origin],
    several: bool = False,
) -> AdvantageFacts:
    """Histograms and shares of a table of labels.

    Args:
        table: arrays advantage, positive, forced [N].
        health: what the step recorded beside it.
        task: whose threshold is shown.
        origins: {episode id: (source, iteration)} of the task's episodes; an episode that is not there counts as
            "unknown", or as one of another task.
        several: whether the table holds episodes of other tasks, which have thresholds of their own.
    """
    lengths = np.diff(table.offsets)
    thresholds = table.facts.get("thresholds", {})
    shown = np.array([not several or episode_id in origins for episode_id in table.ids], dtype=np.bool_)
    frames = np.repeat(shown, lengths)
    lengths = lengths[shown]
    advantage = table.arrays["advantage"].astype(np.float64)[frames]
    positive = table.arrays["positive"].astype(bool)[frames]
    forced = table.arrays["forced"].astype(bool)[frames] if "forced" in table.arrays else np.zeros_like(positive)
    ids = [episode_id for episode_id, keep in zip(table.ids, shown, strict=True) if keep]
    owners = [origins.get(episode_id, ("unknown", None)) for episode_id in ids]
    kinds = sorted(set(owners), key=lambda owner: (_rank(owner[0]), -1 if owner[1] is None else owner[1]))
    finite = np.isfinite(advantage)
    threshold = thresholds.get(task, next(iter(thresholds.values())) if len(thresholds) == 1 else None)
    edges = _edges(advantage[finite], None if threshold is None else float(threshold))
    # Every frame belongs to the kind of its episode.
    kind_of = np.repeat(np.array([kinds.index(owner) for owner in owners], dtype=np.int64), lengths)
    inside = np.clip(advantage, edges[0], edges[-1])

    def count(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(int(n) for n in np.histogram(inside[chosen & finite], bins=edges)[0])

    histograms = []
    for source in dict.fromkeys(kind[0] for kind in kinds):
        own = np.isin(kind_of, [place for place, kind in enumerate(kinds) if kind[0] == source])
        histograms.append(
            Histogram(
                source=source,
                negative=count(own & ~positive & ~forced),
                positive=count(own & positive & ~forced),
                forced=count(own & forced),
            )
        )
    shares = tuple(
        AdvantageShare(
            source=kind[0],
            iteration=kind[1],
            episodes=owners.count(kind),
            frames=int(np.sum(kind_of == place)),
            positive=int(np.sum((kind_of == place) & (positive | forced))),
            forced=int(np.sum((kind_of == place) & forced)),
        )
        for place, kind in enumerate(kinds)
    )
    lookahead = table.facts["lookahead"].get(task)
    return AdvantageFacts(
        threshold=None if threshold is None else float(threshold),
        lookahead=None if lookahead is None else int(lookahead),
        edges=tuple(float(edge) for edge in edges),
        histograms=tuple(histograms),
        shares=shares,
        beyond=int(np.sum(finite & ((advantage < edges[0]) | (advantage > edges[-1])))),
        not_finite=int(np.sum(~finite)),
        health=_figures_of(health, task),
        problems=tuple(map(str, health.get("problems", []))),
    )


def _figures_of(health: Mapping[str, Any], task: str) -> dict[str, Any]:
    """The step's figures on `task`. Shares per source are counted from the labels themselves, once."""
    tasks = health.get("tasks", {})
    own = tasks[task] if task in tasks else {name: value for name, value in health.items() if name != "tasks"}
    return {name: value for name, value in own.items() if name not in _NOT_SHOWN}


def _rank(source: str) -> int:
    return _ORDER.index(source) if source in _ORDER else len(_ORDER)


def _edges(values: NDArray[np.float64], threshold: float | None) -> NDArray[np.float64]:
    """[B + 1] ends of equal bins over nearly all values and the threshold, from one round number to another."""
    if not values.size:
        return np.array([-1.0, 0.0, 1.0])
    low, high = (float(v) for v in np.quantile(values, (_TAIL, 1 - _TAIL)))
    if threshold is not None:
        low, high = min(low, threshold), max(high, threshold)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    ticks = linear_ticks(low, high)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    grain = step / 4
    return np.linspace(np.floor(low / grain) * grain, np.ceil(high / grain) * grain, _BINS + 1)
