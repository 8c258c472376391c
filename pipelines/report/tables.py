"""Turns the tables of advantages and labels into what the report shows of them: histograms and shares per source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.frame_table import FrameTable
from pipelines.report.formats import nice_end
from pipelines.report.model import AdvantageFacts, AdvantageShare, Histogram
from value_model.health import LabelHealth

_BINS = 48
_TAIL = 0.002
"""Share of the frames beyond either end of the bins, when a few extreme ones would squeeze all others together."""

_NOT_SHOWN = ("sources", "threshold")
"""Shares per source are counted from the labels themselves, once."""

Origin = tuple[str, int | None]
"""(source, iteration that recorded it)"""

_ORDER = ("demo", "rollout", "correction")


def advantage_facts(
    table: FrameTable, health: LabelHealth, *, task: str, origins: dict[str, Origin], several: bool = False
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
    shown = np.array([not several or episode_id in origins for episode_id in table.ids], dtype=np.bool_)
    frames = np.repeat(shown, lengths)
    advantage = table.arrays["advantage"].astype(np.float64)[frames]
    forced = table.arrays["forced"].astype(bool)[frames]
    positive = table.arrays["positive"].astype(bool)[frames] | forced
    owners = [origins.get(one, ("unknown", None)) for one, keep in zip(table.ids, shown, strict=True) if keep]
    kinds = sorted(set(owners), key=lambda owner: (_rank(owner[0]), -1 if owner[1] is None else owner[1]))
    # Every frame belongs to the kind of its episode.
    kind_of = np.repeat(np.array([kinds.index(owner) for owner in owners], dtype=np.int64), lengths[shown])
    finite = np.isfinite(advantage)
    threshold, lookahead = table.facts["thresholds"].get(task), table.facts["lookahead"].get(task)
    edges = _edges(advantage[finite], threshold)
    inside = np.clip(advantage, edges[0], edges[-1])

    def count(chosen: NDArray[np.bool_]) -> tuple[int, ...]:
        return tuple(int(n) for n in np.histogram(inside[chosen & finite], bins=edges)[0])

    histograms = []
    for source in dict.fromkeys(kind[0] for kind in kinds):
        own = np.isin(kind_of, [place for place, kind in enumerate(kinds) if kind[0] == source])
        histograms.append(
            Histogram(
                source=source,
                negative=count(own & ~positive),
                positive=count(own & positive & ~forced),
                forced=count(own & forced),
            )
        )
    task_health = health.tasks.get(task)
    figures = {} if task_health is None else {name: getattr(task_health, name) for name in task_health.__slots__}
    return AdvantageFacts(
        threshold=threshold,
        lookahead=lookahead,
        edges=tuple(float(edge) for edge in edges),
        histograms=tuple(histograms),
        shares=tuple(
            AdvantageShare(
                source=kind[0],
                iteration=kind[1],
                episodes=owners.count(kind),
                frames=int(np.sum(kind_of == place)),
                positive=int(np.sum((kind_of == place) & positive)),
                forced=int(np.sum((kind_of == place) & forced)),
            )
            for place, kind in enumerate(kinds)
        ),
        beyond=int(np.sum(finite & ((advantage < edges[0]) | (advantage > edges[-1])))),
        not_finite=int(np.sum(~finite)),
        health={name: value for name, value in figures.items() if name not in _NOT_SHOWN and value is not None},
        problems=health.problems,
    )


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
    grain = nice_end((high - low) / 24)
    return np.linspace(np.floor(low / grain) * grain, np.ceil(high / grain) * grain, _BINS + 1)
