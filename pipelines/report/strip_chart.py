"""Curves, key frames and labels under a film strip, on its time: a frame stands above the moment it shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import ArrayLike, NDArray

from pipelines.report.drawing import (
    DASHED,
    INK,
    LABELS,
    LEFT,
    LINES,
    RIGHT,
    SHADE,
    WIDTH,
    drawing,
    new_axes,
    new_figure,
    number_axis,
    pixels,
    svg,
)
from pipelines.report.filmstrip import captioned_strip
from pipelines.report.formats import figure, one_line, words
from pipelines.report.pictures import ValueStrip, merge_sides
from recap.texts import escaped
from recap.types import FrameArray, IntArray

NEGATIVE, POSITIVE, FORCED = 0, 1, 2
"""Labels of a frame."""

_TONE_INK = {"plain": LINES[0], "bad": LINES[1], "good": LINES[2]}
_SIGN, _PANEL, _SLIM, _BAND, _GAP = 17, 150, 64, 16, 22
"""Heights under a film strip: a line of marks, a panel, a low one, the labels, and the air above each."""
_LETTER = 6.6
"""Width of a letter of a mark's text, at most."""
_MOST_LETTERS = 34


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
    with drawing():
        return svg(strip_figure(strip, ends, WIDTH, LEFT, RIGHT), told)


def value_picture(strip: ValueStrip, ends: Ends | None = None) -> FrameArray:
    """A film strip with the curves below it: [H, W, 3] uint8; `ends` of the axes, else those of its own values."""
    margin, inner = 56, 6
    top = captioned_strip(strip.film, strip.film.rows[0].frames)
    width = top.shape[1] + margin
    with drawing():
        # The strip leaves a margin at both ends and no gap after its last frame.
        drawn = strip_figure(strip, ends or shared_ends([strip]), width, (margin + inner) / width, 1 - inner / width)
        below = pixels(drawn)
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
    drawn = new_figure(width, high)
    axes = new_axes(drawn, left, head, right, under)
    _curve(axes, strip, strip.value, strip.spread, limits, ends[0], f"value (models of iteration {strip.iteration})", 5)
    for t, text, tone, row, side in signs:
        # Text that would leave the chart stands on the other side of its line.
        bottom = 1 + (head - _GAP - _SIGN * (row + 1)) / _PANEL
        _sign(axes, t, tone, bottom + _SIGN / _PANEL)
        shift = (5 if side == "left" else -5) / ((right - left) * width) * (limits[1] - limits[0])
        axes.text(
            t + shift, bottom, f"{text} @{t}", transform=axes.get_xaxis_transform(), ha=side, color=_TONE_INK[tone]
        )
    if strip.advantage is not None:
        slim = new_axes(drawn, left, under + _GAP, right, under + _GAP + _SLIM)
        under += _GAP + _SLIM
        if strip.threshold is not None:
            slim.axhline(strip.threshold, color=INK, linewidth=1.5, linestyle=DASHED, clip_on=False)
        _curve(slim, strip, strip.advantage, None, limits, ends[1], "advantage", 3)
        for t, _, tone, _, _ in signs:
            _sign(slim, t, tone, 1.0)
    if kinds is not None:
        band = new_axes(drawn, left, under + _GAP // 2, right, under + _GAP // 2 + _BAND, xlim=limits, ylim=(0, 1))
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
    number_axis(axes.yaxis, ticks)
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
