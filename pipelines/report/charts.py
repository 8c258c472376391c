"""Loss curves and histograms of advantages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipelines.report.drawing import (
    DASHED,
    INK,
    LABELS,
    LEFT,
    LINES,
    RIGHT,
    WIDTH,
    drawing,
    new_axes,
    new_figure,
    number_axis,
    pixels,
    svg,
)
from pipelines.report.formats import figure
from pipelines.report.model import AdvantageFacts, Curve, Histogram
from recap.errors import ConfigError
from recap.types import FrameArray

_MOST_POINTS = 240
"""Longer curves are thinned to half as many medians."""


def line_chart(lines: Mapping[str, Curve], *, x_label: str, y_label: str, log_y: bool = False) -> Markup:
    """Curves by their names. Longer ones are thinned to medians with a band from the 10th to the 90th percentile.

    Raises:
        ConfigError: no point, a point that is not finite, or one that is not positive on a logarithmic axis.
    """
    shown = {name: sorted(points) for name, points in lines.items() if points}
    for name, points in shown.items():
        for x, y in points:
            if not (math.isfinite(x) and math.isfinite(y)) or (log_y and y <= 0):
                raise ConfigError(f"line_chart: point ({x}, {y}) of '{name}' cannot be drawn on this axis")
    if not shown:
        raise ConfigError(f"line_chart: no point to draw for {y_label}")
    ends = "; ".join(
        f"{name}: {figure(points[0][1])} at {figure(points[0][0], 6)}, "
        f"{figure(points[-1][1])} at {figure(points[-1][0], 6)}"
        for name, points in shown.items()
    )
    with drawing():
        drawn = new_figure(WIDTH, 320)
        axes = new_axes(drawn, LEFT, 28, RIGHT, 274)
        for place, (name, points) in enumerate(shown.items()):
            xs, middle, lower, upper = _thin(points)
            colour = LINES[place % len(LINES)]
            if len(xs) == 1:
                axes.axhline(middle[0], color=colour, label=name, clip_on=False)
                continue
            if not np.array_equal(lower, upper):
                axes.fill(
                    [*xs, *xs[::-1]], [*upper, *lower[::-1]], color=colour, alpha=0.18, linewidth=0, clip_on=False
                )
            axes.plot(xs, middle, color=colour, label=name, clip_on=False)
        if log_y:
            axes.set_yscale("log")
        number_axis(axes.xaxis, 8, 6)
        low, high = axes.get_ylim()
        if not log_y or high < 4 * low:
            number_axis(axes.yaxis, 5)
        else:
            _log_axis(axes.yaxis, low, high)
        axes.set_ylim(low, high)
        axes.grid(axis="y", clip_on=False)
        axes.set_axisbelow(True)
        axes.set_xlabel(x_label, loc="right")
        axes.set_title(y_label + (" (log)" if log_y else ""), loc="left", fontsize=11, color=INK)
        if len(shown) > 1:
            drawn.legend(loc="lower left", bbox_to_anchor=(LEFT - 0.01, 0), ncols=6, frameon=False, borderpad=0)
        return svg(drawn, f"{y_label} over {x_label}. {ends}")


def _log_axis(axis: Any, low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator

    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [f * 10.0**e for e in exponents for f in factors if low <= f * 10.0**e <= high]
        if len(ticks) <= 7:
            break
    number_axis(axis, 5)
    axis.set_major_locator(FixedLocator(ticks[:: math.ceil(len(ticks) / 7)]))


def _thin(points: Sequence[tuple[float, float]]) -> tuple[NDArray[np.float64], ...]:
    """x, middle, lower, upper, each [n], n <= _MOST_POINTS, of points in order."""
    x, y = np.asarray(points, np.float64).T
    if len(x) <= _MOST_POINTS:
        return x, y, y, y
    parts = np.array_split(np.arange(len(x)), _MOST_POINTS // 2)
    lower, middle, upper = (np.array([np.quantile(y[p], q) for p in parts]) for q in (0.1, 0.5, 0.9))
    centre = np.array([x[p].mean() for p in parts])
    # The ends are the run's first and last step, not the middle of the first and last bucket.
    centre[0], centre[-1] = x[0], x[-1]
    return centre, middle, lower, upper


def histogram_chart(histogram: Histogram, facts: AdvantageFacts) -> Markup:
    """Share of a source's frames per bin of advantage, stacked by label, with the threshold as a line."""
    told = (
        f"advantages of {histogram.frames:,} {histogram.source} frames: {sum(histogram.negative):,} negative, "
        f"{sum(histogram.positive):,} positive, {sum(histogram.forced):,} forced"
    )
    with drawing():
        drawn = new_figure(360, 210)
        _histogram(new_axes(drawn, 0.12, 24, 0.97, 186), histogram, facts)
        return svg(drawn, told)


def histogram_picture(facts: AdvantageFacts) -> FrameArray | None:
    """The advantages of every source side by side: [H, W, 3] uint8; None without a frame."""
    shown = [h for h in facts.histograms if h.frames]
    if not shown:
        return None
    with drawing():
        drawn = new_figure(400 * len(shown), 260)
        for place, histogram in enumerate(shown):
            axes = new_axes(drawn, (place + 0.11) / len(shown), 44, (place + 0.96) / len(shown), 232)
            _histogram(axes, histogram, facts)
            axes.set_title(f"{histogram.source}: {histogram.frames:,} frames", loc="left", pad=22, fontsize=11)
        return pixels(drawn)


def _histogram(axes: Any, histogram: Histogram, facts: AdvantageFacts) -> None:
    from matplotlib.ticker import FuncFormatter

    base: NDArray[np.float64] = np.zeros(len(facts.edges) - 1)
    counts = (histogram.negative, histogram.positive, histogram.forced)
    for count, colour in zip(counts, LABELS, strict=True):
        top = base + np.asarray(count) / histogram.frames
        axes.stairs(top, facts.edges, baseline=base, fill=True, color=colour, linewidth=0, clip_on=False)
        base = top
    axes.set_xlim(facts.edges[0], facts.edges[-1])
    # One scale for all sources.
    axes.set_ylim(0, histogram_top(facts.histograms))
    number_axis(axes.xaxis, 5)
    number_axis(axes.yaxis, 3)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{figure(100 * value)} %"))
    axes.grid(axis="y", clip_on=False)
    axes.set_axisbelow(True)
    if facts.threshold is not None and facts.edges[0] <= facts.threshold <= facts.edges[-1]:
        place = (facts.threshold - facts.edges[0]) / (facts.edges[-1] - facts.edges[0])
        axes.axvline(facts.threshold, color=INK, linewidth=1.5, linestyle=DASHED, clip_on=False)
        side = "right" if place > 0.6 else "left"
        text = f"threshold {figure(facts.threshold)}"
        axes.text(place, 1.03, text, transform=axes.transAxes, ha=side, fontsize=10)


def histogram_top(histograms: Sequence[Histogram]) -> float:
    """The upper end of an axis that holds the shares of every bin of every source, in (0, 1]."""
    tops = [float(np.sum([h.negative, h.positive, h.forced], axis=0).max()) / h.frames for h in histograms if h.frames]
    return min(1.06 * max(tops, default=1.0), 1.0) or 1.0
