"""Charts of the report, drawn by matplotlib: as SVG inside the page, as pixels for the pictures beside it.

Matplotlib is loaded when the first chart is drawn, by its objects alone (no pyplot), and its settings are given back.
The same data give the same bytes. In the page a chart has the page's colours (dark ones too): see `_COLOURS`.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from pipelines.report.filmstrip import captioned_strip
from pipelines.report.formats import figure, one_line, words
from pipelines.report.model import AdvantageFacts, Curve, Histogram
from pipelines.report.pictures import ValueStrip, merge_sides
from recap.errors import ConfigError
from recap.texts import escaped
from recap.types import FrameArray, IntArray

NEGATIVE, POSITIVE, FORCED = 0, 1, 2
"""Labels of a frame."""

LINES = ("#2459c4", "#b63a20", "#147553", "#7a3fb0", "#855600", "#0d7a8c")
INK, GRID, SHADE = "#5b636c", "#dfe0da", "#fbeecb"
LABELS = ("#d9775f", "#1c9a70", "#3f6fd8")
"""Of NEGATIVE, POSITIVE, FORCED."""
_TONE_INK = {"plain": LINES[0], "bad": LINES[1], "good": LINES[2]}
_COLOURS = {
    **{colour: f"var(--l{place})" for place, colour in enumerate(LINES)},
    INK: "var(--ink2)",
    GRID: "var(--line)",
    SHADE: "var(--warnbg)",
    **dict(zip(LABELS, ("var(--neg)", "var(--pos)", "var(--forced)"), strict=True)),
}
"""{colour: the page's name for it}"""

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "recap",
    # A text from outside is no formula, whatever dollar signs it holds.
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 1,
    "lines.linewidth": 2,
    "savefig.transparent": True,
}
_NOT_OURS = re.compile(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", re.DOTALL)
_TAG = re.compile(r"<[a-z][^<>]*>")
_ATTRIBUTE = re.compile(r'\s(?:id|xmlns|xmlns:xlink|version|width|height)="[^"]*"')

_MOST_POINTS = 240
"""Longer curves are thinned to half as many medians."""
_WIDTH = 1000
"""Of a chart that fills the page, in units of a font of 11."""
LEFT, RIGHT = 0.06, 0.98
"""Where the curves of a chart that fills the page begin and end, in parts of its width."""
_SIGN, _PANEL, _SLIM, _BAND, _GAP = 17, 150, 64, 16, 22
"""Heights under a film strip: a line of marks, a panel, a low one, the labels, and the air above each."""
_LETTER = 6.6
_MOST_LETTERS = 34


@contextmanager
def _drawing() -> Iterator[None]:
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        # A letter that the font lacks is still a letter of the page, whose reader has other fonts.
        warnings.filterwarnings("ignore", message="Glyph")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72)


def _axes(drawn: Any, left: float, top: float, right: float, bottom: float, **how: Any) -> Any:
    """Axes between two edges, in parts of the width and in units from the top."""
    high = drawn.get_figheight() * 72
    return drawn.add_axes((left, 1 - bottom / high, right - left, (bottom - top) / high), **how)


def _svg(drawn: Any, told: str) -> Markup:
    """The figure as inline SVG; `told` is what a screen reader says."""
    made = io.StringIO()
    drawn.savefig(made, format="svg", metadata={"Date": None})
    text = made.getvalue()

    def ours(tag: re.Match[str]) -> str:
        found = _ATTRIBUTE.sub("", tag[0])
        for colour, name in _COLOURS.items():
            found = found.replace(colour, name)
        return found

    text = _TAG.sub(ours, _NOT_OURS.sub("", text[text.index("<svg") :]))
    return Markup('<div class="chart" role="img" aria-label="{}">{}</div>').format(told, Markup(text))


def _pixels(drawn: Any) -> FrameArray:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _number_axis(axis: Any, most: int, digits: int = 2) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: figure(value, digits)))
    axis.set_minor_locator(NullLocator())


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
    with _drawing():
        drawn = _figure(_WIDTH, 320)
        axes = _axes(drawn, LEFT, 28, RIGHT, 274)
        for place, (name, points) in enumerate(shown.items()):
            x, middle, lower, upper = _thin(points)
            colour = LINES[place % len(LINES)]
            if len(x) == 1:
                axes.axhline(middle[0], color=colour, label=name)
                continue
            if not np.array_equal(lower, upper):
                axes.fill([*x, *x[::-1]], [*upper, *lower[::-1]], color=colour, alpha=0.18, linewidth=0, clip_on=False)
            axes.plot(x, middle, color=colour, label=name, clip_on=False)
        if log_y:
            axes.set_yscale("log")
        _number_axis(axes.xaxis, 8, 6)
        low, high = axes.get_ylim()
        if not log_y or high < 4 * low:
            _number_axis(axes.yaxis, 5)
        else:
            _log_axis(axes.yaxis, low, high)
        axes.set_ylim(low, high)
        axes.grid(axis="y", clip_on=False)
        axes.set_axisbelow(True)
        axes.set_xlabel(x_label, loc="right")
        axes.set_title(y_label + (" (log)" if log_y else ""), loc="left", fontsize=11, color=INK)
        if len(shown) > 1:
            drawn.legend(loc="lower left", bbox_to_anchor=(LEFT - 0.01, 0), ncols=6, frameon=False, borderpad=0)
        return _svg(drawn, f"{y_label} over {x_label}. {ends}")


def _log_axis(axis: Any, low: float, high: float) -> None:
    from matplotlib.ticker import FixedLocator

    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        ticks = [f * 10.0**e for e in exponents for f in factors if low <= f * 10.0**e <= high]
        if len(ticks) <= 7:
            break
    _number_axis(axis, 5)
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
    with _drawing():
        drawn = _figure(360, 210)
        _histogram(_axes(drawn, 0.12, 24, 0.97, 186), histogram, facts)
        return _svg(drawn, told)


def histogram_picture(facts: AdvantageFacts) -> FrameArray | None:
    """The advantages of every source side by side: [H, W, 3] uint8; None without a frame."""
    shown = [h for h in facts.histograms if h.frames]
    if not shown:
        return None
    with _drawing():
        drawn = _figure(400 * len(shown), 260)
        for place, histogram in enumerate(shown):
            axes = _axes(drawn, (place + 0.11) / len(shown), 44, (place + 0.96) / len(shown), 232)
            _histogram(axes, histogram, facts)
            axes.set_title(f"{histogram.source}: {histogram.frames:,} frames", loc="left", pad=22, fontsize=11)
        return _pixels(drawn)


def _histogram(axes: Any, histogram: Histogram, facts: AdvantageFacts) -> None:
    from matplotlib.ticker import FuncFormatter

    base = np.zeros(len(facts.edges) - 1)
    counts = (histogram.negative, histogram.positive, histogram.forced)
    for count, colour in zip(counts, LABELS, strict=True):
        top = base + np.asarray(count) / histogram.frames
        axes.stairs(top, facts.edges, baseline=base, fill=True, color=colour, linewidth=0, clip_on=False)
        base = top
    axes.set_xlim(facts.edges[0], facts.edges[-1])
    # One scale for all sources.
    axes.set_ylim(0, histogram_top(facts.histograms))
    _number_axis(axes.xaxis, 5)
    _number_axis(axes.yaxis, 3)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{figure(100 * value)} %"))
    axes.grid(axis="y", clip_on=False)
    axes.set_axisbelow(True)
    if facts.threshold is not None and facts.edges[0] <= facts.threshold <= facts.edges[-1]:
        place = (facts.threshold - facts.edges[0]) / (facts.edges[-1] - facts.edges[0])
        axes.axvline(facts.threshold, color=INK, linewidth=1.5, linestyle=(0, (4, 3)), clip_on=False)
        side = "right" if place > 0.6 else "left"
        text = f"threshold {figure(facts.threshold)}"
        axes.text(place, 1.03, text, transform=axes.transAxes, ha=side, fontsize=10)


def histogram_top(histograms: Sequence[Histogram]) -> float:
    """The upper end of an axis that holds the shares of every bin of every source, in (0, 1]."""
    tops = [float(np.sum([h.negative, h.positive, h.forced], axis=0).max()) / h.frames for h in histograms if h.frames]
    return min(1.06 * max(tops, default=1.0), 1.0) or 1.0


def label_kinds(strip: ValueStrip) -> IntArray | None:
    """[T] NEGATIVE, POSITIVE or FORCED; None where the episode has no labels."""
    if strip.positive is None:
        return None
    kinds = np.where(strip.positive, POSITIVE, NEGATIVE).astype(np.int64)
    if strip.forced is not None:
        kinds[strip.forced] = FORCED
    return kinds


def common_range(parts: Sequence[ArrayLike]) -> tuple[float, float]:
    """Ends of an axis that holds all finite values of `parts`, with a little air."""
    flat = np.concatenate([np.ravel(np.asarray(part, np.float64)) for part in parts] or [np.empty(0)])
    flat = flat[np.isfinite(flat)]
    if not flat.size:
        return -1.0, 0.0
    low, high = float(flat.min()), float(flat.max())
    air = 0.06 * (high - low) or abs(high) * 0.05 or 0.5
    return low - air, high + air


Ends = tuple[tuple[float, float], tuple[float, float]]
"""Of the axis of values and of that of advantages."""


def shared_ends(strips: Sequence[ValueStrip]) -> Ends:
    """One pair of axes for all strips."""
    bands = [s.value + side * s.spread for s in strips if s.spread is not None for side in (-1, 1)]
    advantages: list[Any] = [s.advantage for s in strips if s.advantage is not None]
    limits = [s.threshold for s in strips if s.threshold is not None]
    return common_range([*(s.value for s in strips), *bands]), common_range([*advantages, *limits])


def strip_chart(strip: ValueStrip, ends: Ends) -> Markup:
    """What belongs under a film strip of the page: value, advantage, key frames, labels, on the strip's time."""
    told = f"value: {_told(strip.value[0])} at the first step, {_told(strip.value[-1])} at the last"
    if strip.film.marks:
        marks = merge_sides(strip.film.marks)
        told += "; marked: " + ", ".join(f"{words(mark.name)} at step {mark.t}" for mark in marks)
    kinds = label_kinds(strip)
    if kinds is not None:
        told += "; labels: {} negative, {} positive, {} forced".format(*np.bincount(kinds, minlength=3))
    with _drawing():
        return _svg(strip_figure(strip, ends, _WIDTH, LEFT, RIGHT), told)


def value_picture(strip: ValueStrip, ends: Ends | None = None) -> FrameArray:
    """A film strip with the curves below it: [H, W, 3] uint8; `ends` of the axes, else those of its own values."""
    margin, inner = 56, 6
    top = captioned_strip(strip.film, strip.film.rows[0].frames)
    width = top.shape[1] + margin
    with _drawing():
        # The strip leaves a margin at both ends and no gap after its last frame.
        drawn = strip_figure(strip, ends or shared_ends([strip]), width, (margin + inner) / width, 1 - inner / width)
        below = _pixels(drawn)
    beside = np.full((top.shape[0], margin, 3), 255, np.uint8)
    return np.concatenate([np.concatenate([beside, top], axis=1), below[:, :width]], axis=0)


def strip_figure(strip: ValueStrip, ends: Ends, width: float, left: float, right: float) -> Any:
    """The figure under a film strip: a frame stands above the moment it shows.

    With n frames side by side, control step t of T lies at (1/2 + (n - 1) t / (T - 1)) / n of the axes' width.
    """
    film = strip.film
    count = len(film.steps)
    half = (film.length - 1) / (2 * (count - 1)) if count > 1 else 0.5
    limits = (-half, film.length - 1 + half)
    signs = _rows(strip, limits, (right - left) * width)
    head = _GAP + _SIGN * (1 + max((row for *_, row, _ in signs), default=-1))
    kinds = label_kinds(strip)
    has_advantage = strip.advantage is not None
    under = head + _PANEL
    high = under + has_advantage * (_GAP + _SLIM) + (kinds is not None) * (_GAP // 2 + _BAND) + 8
    drawn = _figure(width, high)
    axes = _axes(drawn, left, head, right, under)
    _curve(axes, strip, strip.value, strip.spread, limits, ends[0], f"value (models of iteration {strip.iteration})", 5)
    axes.title.set_position((0, 1))
    axes.title.set_y(1 + (head - _GAP + 4) / _PANEL)
    for t, text, tone, row, side in signs:
        # Text that would leave the chart stands on the other side of its line.
        bottom = 1 + (head - _GAP - _SIGN * (row + 1)) / _PANEL
        _sign(axes, t, tone, bottom + _SIGN / _PANEL)
        shift = (5 if side == "left" else -5) / ((right - left) * width) * (limits[1] - limits[0])
        axes.text(
            t + shift, bottom, f"{text} @{t}", transform=axes.get_xaxis_transform(), ha=side, color=_TONE_INK[tone]
        )
    if strip.advantage is not None:
        slim = _axes(drawn, left, under + _GAP, right, under + _GAP + _SLIM)
        under += _GAP + _SLIM
        if strip.threshold is not None:
            slim.axhline(strip.threshold, color=INK, linewidth=1.5, linestyle=(0, (4, 3)), clip_on=False)
        _curve(slim, strip, strip.advantage, None, limits, ends[1], "advantage", 3)
        for t, _, tone, _, _ in signs:
            _sign(slim, t, tone, 1.0)
    if kinds is not None:
        band = _axes(drawn, left, under + _GAP // 2, right, under + _GAP // 2 + _BAND, xlim=limits, ylim=(0, 1))
        band.set_axis_off()
        # Height tells the labels apart too.
        for kind, height in ((NEGATIVE, 0.45), (POSITIVE, 1.0), (FORCED, 0.75)):
            for first, past in stretches(kinds == kind):
                band.fill(
                    [first - 0.5, past - 0.5, past - 0.5, first - 0.5],
                    [0, 0, height, height],
                    color=LABELS[kind],
                    linewidth=0,
                    clip_on=False,
                )
    return drawn


def stretches(chosen: ArrayLike) -> list[tuple[int, int]]:
    """(first, one past the last) of each stretch that is True.

    Example:
        >>> stretches([False, True, True, False, True])
        [(1, 3), (4, 5)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(chosen, np.int8), [0]])))
    return [(int(a), int(b)) for a, b in pairwise(edges)][::2]


def _curve(
    axes: Any,
    strip: ValueStrip,
    values: NDArray[np.floating],
    spread: NDArray[np.floating] | None,
    limits: tuple[float, float],
    ends: tuple[float, float],
    label: str,
    ticks: int,
) -> None:
    """One curve; a value that is not finite leaves a hole in it. Where a person acts the ground is another."""
    time = np.arange(strip.film.length)
    if strip.source != "demo":
        for first, past in stretches(strip.intervened):
            axes.axvspan(first - 0.5, past - 0.5, color=SHADE, linewidth=0, clip_on=False)
    for first, past in stretches(np.isfinite(values)):
        x, y = time[first:past], values[first:past]
        if spread is not None:
            outline = [*(y + spread[first:past]), *(y - spread[first:past])[::-1]]
            axes.fill([*x, *x[::-1]], outline, color=LINES[0], alpha=0.18, linewidth=0, clip_on=False)
        # A lone point has no length: a short dash keeps it visible.
        alone = past - first == 1
        axes.plot([x[0] - 0.4, x[0] + 0.4] if alone else x, [y[0]] * 2 if alone else y, color=LINES[0], clip_on=False)
    axes.set_xlim(*limits)
    axes.set_ylim(*ends)
    axes.set_xticks([])
    _number_axis(axes.yaxis, ticks)
    axes.grid(axis="y", clip_on=False)
    axes.set_axisbelow(True)
    axes.set_title(label, loc="left", fontsize=11, color=INK, pad=5)


def _sign(axes: Any, t: int, tone: str, top: float) -> None:
    """An upright line at step t, to `top` in parts of the axes' height."""
    style = (0, (3, 3)) if tone == "good" else "solid"
    where = axes.get_xaxis_transform()
    axes.plot([t, t], [0, top], transform=where, color=_TONE_INK[tone], linewidth=1.5, linestyle=style, clip_on=False)


def _rows(strip: ValueStrip, limits: tuple[float, float], width: float) -> list[tuple[int, str, str, int, str]]:
    """(step, text, tone, row, side) of the key frames, in as many rows as keep their texts from covering each other."""
    ends: list[float] = []
    found = []
    for mark in sorted(merge_sides(strip.film.marks), key=lambda one: one.t):
        text = _plain(one_line(words(mark.name), _MOST_LETTERS))
        place = (mark.t - limits[0]) / (limits[1] - limits[0]) * width
        long = _LETTER * (len(text) + 5) + 5
        left = place - long if place + long > width else place
        row = next((n for n, end in enumerate(ends) if end <= left), len(ends))
        ends[row : row + 1] = [left + long]
        found.append((mark.t, text, mark.tone, row, "right" if left < place else "left"))
    return found


def _plain(text: str) -> str:
    """`text` without what no drawing can hold."""
    return "".join(letter if letter.isprintable() else "?" for letter in escaped(text))


def _told(value: float) -> str:
    return figure(float(value)) if math.isfinite(value) else "no value"
