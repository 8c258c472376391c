"""Curves under a film strip, and histograms: drawings of the page that share its colours and its time axis.

Owns geometry and markup. A frame stands above the moment it shows: with n frames side by side, control step t of an
attempt of T steps lies at (1/2 + (n - 1) t / (T - 1)) / n of the width. Knows no store and no page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

from pipelines.report.charts import Axis, linear_ticks
from pipelines.report.figures import Histogram
from pipelines.report.formats import figure
from pipelines.report.pictures import ValueStrip
from recap.errors import ConfigError
from recap.types import IntArray

NEGATIVE, POSITIVE, FORCED = 0, 1, 2
"""Labels of a frame."""

_LABEL_NAMES = ("negative", "positive", "forced")
_LABEL_SHARE = 0.009
"""Width of one letter of a mark's text, as a share of the chart's."""
_MOST_LETTERS = 34


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeAxis:
    """Where a control step lies in the width of a strip."""

    length: int
    """T >= 1"""
    frames: int
    """n >= 1"""

    def place(self, t: ArrayLike) -> NDArray[np.float64]:
        """Position of control steps in [0, 1]; half a step beyond either end is allowed."""
        if self.length < 2:
            return np.full(np.shape(t), 0.5)
        return np.asarray((0.5 + (self.frames - 1) * np.asarray(t, np.float64) / (self.length - 1)) / self.frames)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sign:
    """A moment that is marked in a chart."""

    t: int
    text: str
    tone: str
    """good, bad or plain."""


def runs(values: ArrayLike) -> list[tuple[int, int, int]]:
    """(first, one past the last, value) of each stretch of equal values.

    Example:
        >>> runs([0, 0, 1, 1, 1, 0])
        [(0, 2, 0), (2, 5, 1), (5, 6, 0)]
    """
    array = np.asarray(values).astype(np.int64)
    if not array.size:
        return []
    ends = [0, *(int(i) + 1 for i in np.flatnonzero(np.diff(array))), int(array.size)]
    return [(a, b, int(array[a])) for a, b in pairwise(ends)]


def label_kinds(strip: ValueStrip) -> IntArray | None:
    """[T] NEGATIVE, POSITIVE or FORCED; None where the episode has no labels."""
    if strip.positive is None:
        return None
    kinds = np.where(strip.positive, POSITIVE, NEGATIVE).astype(np.int64)
    if strip.forced is not None:
        kinds[strip.forced] = FORCED
    return kinds


def common_range(parts: Sequence[NDArray[np.floating]], *also: float | None) -> tuple[float, float]:
    """Ends of an axis that holds all finite values of `parts` and `also`, with a little air."""
    limits = np.array([v for v in also if v is not None], np.float64)
    flat = np.concatenate([*(np.asarray(part, np.float64) for part in parts), limits])
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return -1.0, 0.0
    low, high = float(flat.min()), float(flat.max())
    air = 0.06 * (high - low) or abs(high) * 0.05 or 0.5
    return low - air, high + air


def strip_panel(
    axis: TimeAxis,
    values: NDArray[np.floating],
    *,
    ends: tuple[float, float],
    label: str,
    spread: NDArray[np.floating] | None = None,
    shaded: ArrayLike = (),
    signs: Sequence[Sign] = (),
    reference: float | None = None,
    slim: bool = False,
) -> Markup:
    """One curve over the time of a strip; a value that is not finite leaves a hole in it.

    Args:
        axis: of the strip.
        values: [T]
        ends: of the vertical axis.
        label: name of the curve, with its unit.
        spread: [T], drawn as a band of one to either side.
        shaded: [T] bool, stretches with a ground of their own.
        signs: moments with a vertical line and a text.
        reference: a value with a dashed line across.
        slim: half the height.

    Raises:
        ConfigError: an array that is not of length T.
    """
    for name, array in (("values", values), ("spread", spread)):
        if array is not None and len(array) != axis.length:
            raise ConfigError(f"strip_panel: {len(array)} {name} for a strip of {axis.length} steps")
    upright = Axis(low=ends[0], high=ends[1])
    x = 1000 * axis.place(np.arange(axis.length))

    def height(value: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(1000 - 1000 * (np.asarray(value, np.float64) - upright.low) / (upright.high - upright.low))

    ticks = linear_ticks(*ends, most=3 if slim else 5)
    shapes = [Markup('<path class="shade" d="{}"/>').format(_box(axis, a, b)) for a, b, on in runs(shaded) if on]
    shapes += [Markup('<path class="grid" d="M0 {0:.1f}H1000"/>').format(float(height(t))) for t in ticks]
    whole = np.isfinite(values) if spread is None else np.isfinite(values) & np.isfinite(spread)
    stretches = [(a, b) for a, b, on in runs(whole) if on]
    if spread is not None:
        for a, b in stretches:
            upper, lower = height(values[a:b] + spread[a:b]), height(values[a:b] - spread[a:b])
            outline = _line(np.concatenate([x[a:b], x[a:b][::-1]]), np.concatenate([upper, lower[::-1]]))
            shapes.append(Markup('<path class="band l0" d="{}Z"/>').format(outline))
    if reference is not None:
        shapes.append(Markup('<path class="ref" d="M0 {:.1f}H1000"/>').format(float(height(reference))))
    shapes += [
        Markup('<path class="sign {}" d="M{:.1f} 0V1000"/>').format(sign.tone, 1000 * float(axis.place(sign.t)))
        for sign in signs
    ]
    for a, b in stretches:
        # A lone point has no length: a short dash keeps it visible.
        points = (
            (x[a:b], height(values[a:b])) if b - a > 1 else (x[a] + np.array([-3, 3]), np.full(2, height(values[a])))
        )
        shapes.append(Markup('<path class="line l0" d="{}"/>').format(_line(*points)))
    labels = [
        Markup('<span class="yt" style="top:{:.2f}%">{}</span>').format(float(height(t)) / 10, figure(t, 2))
        for t in ticks
    ]
    head, rows = _sign_texts(axis, signs)
    summary = f"{label}: {_told(values, 0)} at the first step, {_told(values, -1)} at the last"
    if any(sign.text for sign in signs):
        summary += "; marked: " + ", ".join(f"{sign.text} at step {sign.t}" for sign in signs)
    return Markup(
        '<div class="panel{slim}" role="img" aria-label="{summary}"><div class="ylab">{label}</div>{head}'
        '<div class="plot"><svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">{shapes}</svg>'
        "{labels}</div></div>"
    ).format(
        slim=" slim" if slim else "",
        summary=escape(summary),
        label=label,
        head=Markup('<div class="signs" style="height:{}em">{}</div>').format(round(1.4 * rows, 1), head)
        if rows
        else "",
        shapes=Markup("").join(shapes),
        labels=Markup("").join(labels),
    )


def label_band(axis: TimeAxis, labels: ArrayLike) -> Markup:
    """The label of every frame as a coloured band: [T] of NEGATIVE, POSITIVE, FORCED. Height tells them apart too."""
    stretches = runs(labels)
    count = np.bincount(np.asarray(labels).astype(np.int64), minlength=3)
    parts = []
    for a, b, kind in stretches:
        left, right = (float(v) for v in _ends(axis, a, b))
        parts.append(
            Markup('<i class="{}" style="left:{:.2f}%;width:{:.2f}%" title="{}: steps {} to {}"></i>').format(
                _LABEL_NAMES[kind], 100 * left, 100 * (right - left), _LABEL_NAMES[kind], a, b - 1
            )
        )
    summary = ", ".join(f"{int(n)} {name}" for name, n in zip(_LABEL_NAMES, count, strict=True))
    return Markup('<div class="labels" role="img" aria-label="labels of the frames: {}">{}</div>').format(
        summary, Markup("").join(parts)
    )


def histogram_chart(histogram: Histogram, edges: Sequence[float], *, threshold: float | None, top: float) -> Markup:
    """Share of a source's frames per bin, stacked: negative, positive, forced.

    Args:
        histogram: of one source, B bins.
        edges: [B + 1] ends of the bins.
        threshold: marked with a line.
        top: share of frames at the upper end of the axis, in (0, 1].
    """
    total = max(histogram.frames, 1)
    bins = len(edges) - 1
    across = Axis(low=edges[0], high=edges[-1])
    base = np.zeros(bins)
    shapes = []
    for kind, counts in (
        ("negative", histogram.negative),
        ("positive", histogram.positive),
        ("forced", histogram.forced),
    ):
        heights = 1000 * np.asarray(counts, np.float64) / total / top
        boxes = "".join(
            f"M{1000 * place / bins + 1.5:.1f} {1000 - base[place]:.1f}v-{heights[place]:.1f}"
            f"h{1000 / bins - 3:.1f}v{heights[place]:.1f}Z"
            for place in range(bins)
            if heights[place]
        )
        base += heights
        if boxes:
            shapes.append(Markup('<path class="fill {}" d="{}"/>').format(kind, boxes))
    marks = []
    if threshold is not None and edges[0] <= threshold <= edges[-1]:
        place = across.place(threshold)
        shapes.append(Markup('<path class="ref" d="M{0:.1f} 0V1000"/>').format(1000 * place))
        side = "left" if place > 0.6 else "right"
        marks.append(
            Markup('<span class="limit {}" style="left:{:.2f}%">threshold {}</span>').format(
                side, 100 * place, figure(threshold)
            )
        )
    x_ticks = linear_ticks(edges[0], edges[-1], most=5)
    y_ticks = linear_ticks(0.0, top, most=4)
    grid = [Markup('<path class="grid" d="M0 {0:.1f}H1000"/>').format(1000 - 1000 * t / top) for t in y_ticks if t]
    texts = [
        Markup('<span class="xt" style="left:{:.2f}%">{}</span>').format(100 * across.place(t), figure(t, 2))
        for t in x_ticks
    ] + [
        Markup('<span class="yt" style="top:{:.2f}%">{}</span>').format(100 - 100 * t / top, f"{figure(100 * t)} %")
        for t in y_ticks
    ]
    summary = (
        f"advantages of {histogram.frames:,} {histogram.source} frames: {sum(histogram.negative):,} negative, "
        f"{sum(histogram.positive):,} positive, {sum(histogram.forced):,} forced"
    )
    return Markup(
        '<div class="plot" role="img" aria-label="{}"><svg viewBox="0 0 1000 1000" preserveAspectRatio="none"'
        ' aria-hidden="true">{}</svg>{}{}</div>'
    ).format(summary, Markup("").join(grid + shapes), Markup("").join(texts), Markup("").join(marks))


def cut_text(text: str) -> str:
    """`text`, short enough for a mark."""
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 2].rstrip() + ".."


def _sign_texts(axis: TimeAxis, signs: Sequence[Sign]) -> tuple[Markup, int]:
    """The texts of marks above a chart, in as many rows as keep them from covering each other."""
    ends: list[float] = []
    parts = []
    for sign in sorted((one for one in signs if one.text), key=lambda one: one.t):
        text = cut_text(sign.text)
        place, width = float(axis.place(sign.t)), _LABEL_SHARE * (len(text) + 4)
        left = place - width if place + width > 1 else place
        row = next((n for n, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [left + width]
        # Text that would leave the chart stands on the other side of its line.
        parts.append(
            Markup('<span class="{}{}" style="left:{:.2f}%;top:{:.1f}em" title="{}">{} <i>@{}</i></span>').format(
                sign.tone, " back" if left < place else "", 100 * place, 1.4 * row, sign.text, text, sign.t
            )
        )
    return Markup("").join(parts), len(ends)


def _ends(axis: TimeAxis, first: int, past: int) -> NDArray[np.float64]:
    if axis.length < 2:
        return np.array([0.0, 1.0])
    return axis.place([first - 0.5, past - 0.5])


def _box(axis: TimeAxis, first: int, past: int) -> str:
    left, right = 1000 * _ends(axis, first, past)
    return f"M{left:.1f} 0H{right:.1f}V1000H{left:.1f}Z"


def _line(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))


def _told(values: NDArray[np.floating], place: int) -> str:
    value = float(values[place])
    return figure(value) if np.isfinite(value) else "no value"
