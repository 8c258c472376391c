"""Correlations, ranks and the area under the ROC curve, in plain numpy, and figures with bootstrap intervals.

A figure that cannot be had is None with a reason, never a number. It must not know what the numbers mean.

Letters: n points, E episodes (the unit that is resampled), R resamples.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recap.errors import ConfigError
from recap.stats import mean_ranks

Floats = NDArray[np.float64]
Drawn = dict[tuple[tuple[str, ...], str], list[tuple["Figure", Floats]]]
"""{(what it is of, name): each figure of that name with itself in every resample [R], NaN where it is undefined}"""
_MIN_POINTS = 3
_DRAWN: ContextVar[Drawn | None] = ContextVar("drawn", default=None)
_OF: ContextVar[tuple[str, ...]] = ContextVar("of", default=())


@contextmanager
def keeping_draws() -> Iterator[Drawn]:
    """Within it, what every interval was taken from is kept: draws of one name and as many episodes belong together.

    So the difference of two models' figures has an interval of its own: the episodes are drawn alike for both.
    """
    drawn: Drawn = {}
    token = _DRAWN.set(drawn)
    try:
        yield drawn
    finally:
        _DRAWN.reset(token)


@contextmanager
def draws_of(name: str) -> Iterator[None]:
    """Within it, draws that are kept are of `name`, a model or a task: figures of two may well be equal."""
    token = _OF.set((*_OF.get(), name))
    try:
        yield
    finally:
        _OF.reset(token)


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One number about a model, or why there is none."""

    value: float | None
    low: float | None = None
    """Lower end of the bootstrap interval over episodes; None where there is none."""
    high: float | None = None
    count: int = 0
    """Episodes (or events, where the name says so) behind it."""
    note: str = ""
    """Why there is no value or interval, or what it was taken from."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"value": self.value, "low": self.low, "high": self.high, "count": self.count, "note": self.note}


def pearson(x: ArrayLike, y: ArrayLike) -> float | None:
    """Pearson's correlation of two [n]; None below three points or where one of them is constant."""
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ConfigError(f"correlation of shapes {a.shape} and {b.shape}: expected two of the same length")
    if len(a) < _MIN_POINTS or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    a, b = a - a.mean(), b - b.mean()
    bottom = float(np.sqrt(np.sum(a * a)) * np.sqrt(np.sum(b * b)))
    return float(np.clip(np.sum(a * b) / bottom, -1.0, 1.0)) if bottom > 0 else None


def spearman(x: ArrayLike, y: ArrayLike) -> float | None:
    """Spearman's rank correlation of two [n], ties by mean ranks; None as `pearson`."""
    return pearson(mean_ranks(x), mean_ranks(y))


def auc(positive: ArrayLike, negative: ArrayLike) -> float | None:
    """Probability that a draw of `positive` exceeds one of `negative`, ties counting half; None if one is empty."""
    a, b = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    if a.size == 0 or b.size == 0:
        return None
    top = mean_ranks(np.concatenate([a, b]))[: a.size].sum() - a.size * (a.size + 1) / 2
    return float(top / (a.size * b.size))


def weighted_auc(score: Floats, positive: NDArray[np.bool_], episode: NDArray[np.int64], weights: Floats) -> Floats:
    """[R] `auc` of all points [n], each as often as its episode is drawn (weights [R, E]); NaN if a side is empty."""
    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf) > 0)
    place, up = episode[order], positive[order]
    drawn = np.empty(len(weights))
    for index, weight in enumerate(weights):
        each = weight[place]
        # Per group of equal scores: weight of positives and of negatives; negatives below count whole, ties half.
        ups = np.add.reduceat(np.where(up, each, 0.0), starts)
        downs = np.add.reduceat(np.where(up, 0.0, each), starts)
        pairs = ups.sum() * downs.sum()
        drawn[index] = np.sum(ups * (np.cumsum(downs) - downs / 2)) / pairs if pairs else np.nan
    return drawn


@dataclass(frozen=True, kw_only=True, slots=True)
class Bootstrap:
    """Percentile intervals over episodes. Every figure has its own stream, so that none moves another."""

    seed: int
    resamples: int = 1000
    confidence: float = 0.95

    def mean(self, name: str, values: Floats, *, note: str = "") -> Figure:
        """Mean of one number per episode [E]."""
        return self.ratio(name, values, np.ones_like(values), note=note)

    def median(self, name: str, values: Floats, *, note: str = "") -> Figure:
        """Median of one number per episode [E]."""
        if not len(values):
            return Figure(value=None, note=note or "no episodes")
        drawn = self._rng(name).integers(0, len(values), size=(self.resamples, len(values)))
        return self.figure(name, float(np.median(values)), np.median(values[drawn], axis=1), len(values), note)

    def ratio(self, name: str, top: Floats, bottom: Floats, *, note: str = "", count: int | None = None) -> Figure:
        """sum(top) / sum(bottom) over episodes [E]: a mean over all frames or events, with episodes resampled."""
        if not len(top) or bottom.sum() == 0:
            return Figure(value=None, note=note or "no episodes")
        weight = self.weights(name, len(top))
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = (weight @ top) / (weight @ bottom)
        return self.figure(name, float(top.sum() / bottom.sum()), drawn, len(top), note, count=count)

    def pooled_pearson(self, name: str, x: Floats, y: Floats, episode: NDArray[np.int64], *, note: str = "") -> Figure:
        """Pearson's correlation of all points [n] together; the episodes that the points belong to are resampled."""
        value = pearson(x, y)
        if value is None:
            return Figure(value=None, note="fewer than three points, or one side is constant")
        _, place = np.unique(episode, return_inverse=True)
        x, y = x - x.mean(), y - y.mean()
        moments = np.stack([np.bincount(place, m) for m in (np.ones_like(x), x, y, x * x, y * y, x * y)], axis=1)
        n, sx, sy, sxx, syy, sxy = (self.weights(name, len(moments)) @ moments).T
        with np.errstate(invalid="ignore", divide="ignore"):
            drawn = (n * sxy - sx * sy) / np.sqrt((n * sxx - sx * sx) * (n * syy - sy * sy))
        return self.figure(name, value, drawn, len(moments), note)

    def auc(self, name: str, positive: Floats, negative: Floats, *, note: str = "") -> Figure:
        """`auc` of one score per episode; positives and negatives are resampled apart."""
        value = auc(positive, negative)
        if value is None:
            return Figure(value=None, note=note)
        count = len(positive) + len(negative)
        if min(len(positive), len(negative)) < 2:
            return Figure(value=value, count=count, note=f"{note}; no interval: needs two of each")
        wins = (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])
        up = self.weights(f"{name}/positive", len(positive))
        down = self.weights(f"{name}/negative", len(negative))
        return self.figure(name, value, np.sum((up @ wins) * down, axis=1) / wins.size, count, note)

    def pooled_auc(
        self, name: str, score: Floats, positive: NDArray[np.bool_], episode: NDArray[np.int64], *, note: str = ""
    ) -> Figure:
        """`auc` of all points [n] together; the episodes that the points belong to are resampled."""
        value = auc(score[positive], score[~positive])
        if value is None:
            return Figure(value=None, note="no point is positive, or every point is")
        _, place = np.unique(episode, return_inverse=True)
        count = int(place.max()) + 1
        return self.figure(name, value, weighted_auc(score, positive, place, self.weights(name, count)), count, note)

    def _rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def weights(self, name: str, count: int) -> Floats:
        """[R, E] how often each episode is drawn: the same for the same name and count."""
        return self._rng(name).multinomial(count, np.full(count, 1 / count), size=self.resamples).astype(np.float64)

    def figure(
        self, name: str, value: float, drawn: Floats, episodes: int, note: str, *, count: int | None = None
    ) -> Figure:
        """The interval of `drawn` [R], one number per resample of so many episodes, around the figure itself."""
        figure = self._with_interval(value, drawn[np.isfinite(drawn)], episodes, note, count=count)
        kept = _DRAWN.get()
        if kept is not None and figure.low is not None:
            kept.setdefault((_OF.get(), name), []).append((figure, drawn))
        return figure

    def _with_interval(self, value: float, drawn: Floats, episodes: int, note: str, *, count: int | None) -> Figure:
        count = episodes if count is None else count
        if episodes < 2 or len(drawn) < self.resamples / 2:
            why = "no interval: one episode" if episodes < 2 else "no interval: undefined in most resamples"
            return Figure(value=value, count=count, note=f"{note}; {why}" if note else why)
        low, high = np.quantile(drawn, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return Figure(value=value, low=float(low), high=float(high), count=count, note=note)
