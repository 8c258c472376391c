"""Charts as inline SVG with HTML labels: they follow the page's colours and stay readable on a phone.

Owns scales, ticks and thinning. Knows no report data: numbers in, safe markup out. The drawing is stretched to the
width of the page, so its text lives outside of the SVG, placed in percent.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from pipelines.report.figures import Estimate
from pipelines.report.formats import figure
from recap.errors import ConfigError

_Numbers = NDArray[np.float64]

_FEWEST_TICKS = 2

_MOST_POINTS = 240
"""Longer curves are thinned to half as many medians."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One curve."""

    label: str
    points: Sequence[tuple[float, float]]
    """(x, y), any order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """Maps numbers to 0..1."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Position of `value` between the ends."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most `most` round numbers in [low, high].

    Example:
        >>> linear_ticks(0, 2000)
        [0.0, 500.0, 1000.0, 1500.0, 2000.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(most - 1, 1)
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """1-2-5 numbers in [low, high], or whole decades where those are more than `most`."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 3, 5, 7), (1, 2, 5), (1,)):
        ticks = [
            f * 10.0**e for e in exponents for f in factors if low * (1 - 1e-9) <= f * 10.0**e <= high * (1 + 1e-9)
        ]
        if len(ticks) <= most:
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def nice_end(value: float) -> float:
    """The next round number at or above `value`, for the end of a bar's axis.

    Example:
        >>> nice_end(131.0), nice_end(0.0)
        (150.0, 1.0)
    """
    if value <= 0:
        return 1.0
    unit = 10.0 ** math.floor(math.log10(value))
    return next(unit * f for f in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if unit * f >= value * (1 - 1e-9))


def difference_reach(estimates: Iterable[Estimate]) -> float:
    """Either end of an axis around 0 that holds the intervals of differences in [-1, 1]."""
    ends = [abs(end) for e in estimates for end in (e.value, e.low, e.high) if end is not None]
    return min(nice_end(max(ends, default=1.0)), 1.0)


def line_chart(lines: Sequence[Line], *, x_label: str, y_label: str, log_y: bool = False) -> Markup:
    """Curves over a common x. Longer ones are thinned to medians with a band from the 10th to the 90th percentile.

    Raises:
        ConfigError: no point, a point that is not finite, or one that is not positive on a logarithmic axis.
    """
    for line in lines:
        for x, y in line.points:
            if not (math.isfinite(x) and math.isfinite(y)) or (log_y and y <= 0):
                raise ConfigError(f"line_chart: point ({x}, {y}) of '{line.label}' cannot be drawn on this axis")
    curves = [_thin(line.points) for line in lines if line.points]
    if not curves:
        raise ConfigError(f"line_chart: no point to draw for {y_label}")
    x_axis = Axis(low=min(c[0][0] for c in curves), high=max(c[0][-1] for c in curves))
    if 0 < x_axis.low < 0.1 * x_axis.high:
        x_axis = Axis(low=0.0, high=x_axis.high)
    if x_axis.high == x_axis.low:
        x_axis = Axis(low=x_axis.low - 0.5, high=x_axis.high + 0.5)
    low, high = float(min(c[2].min() for c in curves)), float(max(c[3].max() for c in curves))
    if log_y:
        stretch = max((high / low) ** 0.04, 1.02)
        y_axis = Axis(low=low / stretch, high=high * stretch, log=True)
        y_ticks = log_ticks(y_axis.low, y_axis.high)
        if len(y_ticks) < _FEWEST_TICKS:
            # Within one decade a narrow range may hold no 1-2-3-5-7 number.
            y_ticks = linear_ticks(y_axis.low, y_axis.high, most=4)
    else:
        stretch_by = (high - low) * 0.04 or abs(high) * 0.02 or 1.0
        y_axis = Axis(low=low - stretch_by, high=high + stretch_by)
        y_ticks = linear_ticks(y_axis.low, y_axis.high)
    x_ticks = linear_ticks(x_axis.low, x_axis.high, most=8)

    shapes = [Markup('<path class="grid" d="M0 {0:.1f}H1000"/>').format(1000 - 1000 * y_axis.place(t)) for t in y_ticks]
    for number, (xs, middle, lower, upper) in enumerate(curves):
        across = [1000 * x_axis.place(float(x)) for x in xs]
        heights = [[1000 - 1000 * y_axis.place(float(v)) for v in values] for values in (middle, lower, upper)]
        if len(xs) == 1:
            shapes.append(
                Markup('<path class="line l{}" d="{}"/>').format(number % 6, _path([0, 1000], heights[0] * 2))
            )
            continue
        if not np.array_equal(lower, upper):
            edge = _path(across + across[::-1], heights[2] + heights[1][::-1])
            shapes.append(Markup('<path class="band l{}" d="{}Z"/>').format(number % 6, edge))
        shapes.append(Markup('<path class="line l{}" d="{}"/>').format(number % 6, _path(across, heights[0])))
    labels = [
        Markup('<span class="yt" style="top:{:.2f}%">{}</span>').format(100 - 100 * y_axis.place(t), figure(t, 2))
        for t in y_ticks
    ] + [
        Markup('<span class="xt" style="left:{:.2f}%">{}</span>').format(100 * x_axis.place(t), figure(t, 6))
        for t in x_ticks
    ]
    summary = "; ".join(_ends(line) for line in lines if line.points)
    legend = Markup("").join(
        Markup('<span class="key l{}">{}</span>').format(number % 6, line.label)
        for number, line in enumerate(line for line in lines if line.points)
    )
    return Markup(
        '<div class="chart" role="img" aria-label="{label}"><div class="ylab">{y}</div><div class="plot">'
        '<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">{shapes}</svg>{labels}</div>'
        '<div class="xlab"><span class="legend">{legend}</span><span>{x}</span></div></div>'
    ).format(
        label=escape(f"{y_label} over {x_label}. {summary}"),
        y=y_label + (" (log)" if log_y else ""),
        x=x_label,
        shapes=Markup("").join(shapes),
        labels=Markup("").join(labels),
        legend=legend if len(lines) > 1 else "",
    )


def _thin(points: Sequence[tuple[float, float]]) -> tuple[_Numbers, _Numbers, _Numbers, _Numbers]:
    """x, middle, lower, upper, each [n], n <= _MOST_POINTS."""
    table = np.array(sorted(points), dtype=np.float64)
    x, y = table[:, 0], table[:, 1]
    if len(x) <= _MOST_POINTS:
        return x, y, y, y
    parts = np.array_split(np.arange(len(x)), _MOST_POINTS // 2)
    lower, middle, upper = (np.array([np.quantile(y[p], q) for p in parts]) for q in (0.1, 0.5, 0.9))
    centre = np.array([x[p].mean() for p in parts])
    # The ends are the run's first and last step, not the middle of the first and last bucket.
    centre[0], centre[-1] = x[0], x[-1]
    return centre, middle, lower, upper


def _ends(line: Line) -> str:
    (x_0, y_0), (x_1, y_1) = min(line.points), max(line.points)
    return f"{line.label}: {figure(y_0)} at {figure(x_0, 6)}, {figure(y_1)} at {figure(x_1, 6)}"


def _path(xs: Sequence[float], ys: Sequence[float]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs, ys, strict=True))
