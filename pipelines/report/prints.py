"""The main pictures as images for use elsewhere: value strips and histograms of advantages, on white paper.

Owns drawing with Pillow. The page draws the same things by itself; here they are pixels. Knows no store and no page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.report.figures import AdvantageFacts
from pipelines.report.filmstrip import film_strip
from pipelines.report.formats import figure, one_line, words
from pipelines.report.pictures import ValueStrip, merge_sides
from pipelines.report.strip_chart import FORCED, NEGATIVE, POSITIVE, TimeAxis, common_range, label_kinds, runs
from recap.types import FrameArray

_PAPER, _INK, _GRID, _BLUE = (255, 255, 255), (60, 66, 72), (223, 224, 218), (36, 89, 196)
_SHADE = (251, 238, 203)
_TONES = {1: (20, 117, 83), -1: (182, 58, 32), 0: _BLUE}
_KINDS = {NEGATIVE: (217, 119, 95), POSITIVE: (28, 154, 112), FORCED: (63, 111, 216)}
_MARGIN, _PLOT, _BAND, _LINE = 8, 180, 18, 17
_FRAME_GAP = 4
_HEAD = 20


def value_picture(strip: ValueStrip, *, ends: tuple[float, float] | None = None) -> FrameArray:
    """A film strip with the value below each moment, its key frames, human spans and labels: [H, W, 3] uint8.

    Args:
        strip: at least one camera and frame.
        ends: of the value axis; those of the strip's own values when None.
    """
    from PIL import Image, ImageDraw, ImageFont

    film = strip.film
    frames = film.rows[0].frames
    top = film_strip(
        frames,
        count=len(film.steps),
        scale=max(1, round(128 / frames.shape[2])),
        captions=[f"{step} ({step / film.rate_hz:.1f} s)" for step in film.steps],
    )
    low, high = ends or common_range([strip.value])
    axis = TimeAxis(length=film.length, frames=len(film.steps))
    # The strip leaves a margin at both ends and no gap after its last frame.
    left, width = _MARGIN - _FRAME_GAP / 2, top.shape[1] - 2 * _MARGIN + _FRAME_GAP
    signs = sorted(merge_sides(film.marks), key=lambda mark: mark.t)
    font = ImageFont.load_default(size=13)
    plot_top = top.shape[0] + _HEAD + _LINE * len(signs)
    paper = Image.new("RGB", (top.shape[1], plot_top + _PLOT + _BAND + 2 * _MARGIN), _PAPER)
    paper.paste(Image.fromarray(top), (0, 0))
    draw = ImageDraw.Draw(paper)

    def across(t: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(left + width * axis.place(t))

    def down(value: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(plot_top + _PLOT * (high - np.asarray(value, np.float64)) / (high - low))

    if strip.source != "demo":
        for a, b, on in runs(strip.intervened):
            if on:
                draw.rectangle((*_span(across, a, b, plot_top), plot_top + _PLOT), fill=_SHADE)
    draw.rectangle((left, plot_top, left + width, plot_top + _PLOT), outline=_GRID)
    draw.text((left + 4, top.shape[0]), f"value, {figure(low, 2)} to {figure(high, 2)}", fill=_INK, font=font)
    for place, mark in enumerate(signs):
        x, tone = float(across(mark.t)), _TONES[(mark.kind > 0) - (mark.kind < 0)]
        row = top.shape[0] + _HEAD + _LINE * place
        draw.line((x, row, x, plot_top + _PLOT), fill=tone, width=2)
        side = "ra" if x > left + 0.7 * width else "la"
        draw.text(
            (x - 4 if side == "ra" else x + 4, row),
            f"{one_line(words(mark.name))} @{mark.t}",
            fill=tone,
            font=font,
            anchor=side,
        )
    _curve(draw, across(np.arange(film.length)), down(strip.value))
    kinds = label_kinds(strip)
    if kinds is not None:
        foot = plot_top + _PLOT + _MARGIN + _BAND
        for a, b, kind in runs(kinds):
            draw.rectangle((*_span(across, a, b, foot - _BAND // (1 + (kind == NEGATIVE))), foot), fill=_KINDS[kind])
    return np.asarray(paper, dtype=np.uint8)


def histogram_picture(facts: AdvantageFacts) -> FrameArray | None:
    """The advantages of every source side by side, stacked by label: [H, W, 3] uint8; None without a frame."""
    from PIL import Image, ImageDraw, ImageFont

    shown = [h for h in facts.histograms if h.frames]
    if not shown:
        return None
    bins = len(facts.edges) - 1
    width, height = 8 * bins, 220
    font = ImageFont.load_default(size=13)
    paper = Image.new("RGB", (len(shown) * (width + 3 * _MARGIN) + _MARGIN, height + 3 * _HEAD), _PAPER)
    draw = ImageDraw.Draw(paper)
    stacks = [np.cumsum([h.negative, h.positive, h.forced], axis=0) / h.frames for h in shown]
    top = max(float(stack.max()) for stack in stacks)
    for place, (histogram, stack) in enumerate(zip(shown, stacks, strict=True)):
        left, foot = _MARGIN + place * (width + 3 * _MARGIN), _HEAD + height
        draw.text((left, 2), f"{histogram.source}: {histogram.frames:,} frames", fill=_INK, font=font)
        # From the top of the stack down: the lower parts cover the higher.
        for kind in (FORCED, POSITIVE, NEGATIVE):
            for number, share in enumerate(stack[kind]):
                if share > 0:
                    x = left + 8 * number
                    draw.rectangle((x, foot - (height - _HEAD) * share / top, x + 6, foot), fill=_KINDS[kind])
        draw.line((left, foot, left + width, foot), fill=_INK)
        low, high = facts.edges[0], facts.edges[-1]
        draw.text((left, foot + 4), figure(low, 2), fill=_INK, font=font)
        draw.text((left + width, foot + 4), figure(high, 2), fill=_INK, font=font, anchor="ra")
        if facts.threshold is not None and low <= facts.threshold <= high:
            limit = left + width * (facts.threshold - low) / (high - low)
            draw.line((limit, _HEAD, limit, foot), fill=_INK, width=2)
            draw.text((limit, foot + _HEAD), f"threshold {figure(facts.threshold)}", fill=_INK, font=font, anchor="ma")
    return np.asarray(paper, dtype=np.uint8)


def shared_ends(strips: Sequence[ValueStrip]) -> tuple[float, float]:
    """Ends of one value axis for all strips."""
    bands = [s.value + side * s.spread for s in strips if s.spread is not None for side in (-1, 1)]
    return common_range([*(s.value for s in strips), *bands])


def _span(across: Any, first: int, past: int, top: float) -> tuple[float, float, float]:
    left, right = across([first - 0.5, past - 0.5])
    return float(left), float(top), max(float(right) - 1, float(left))


def _curve(draw: Any, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> None:
    """The finite stretches of a curve."""
    for a, b, on in runs(np.isfinite(ys)):
        if on and b - a > 1:
            draw.line([(float(x), float(y)) for x, y in zip(xs[a:b], ys[a:b], strict=True)], fill=_BLUE, width=3)
        elif on:
            draw.ellipse((xs[a] - 2, ys[a] - 2, xs[a] + 2, ys[a] + 2), fill=_BLUE)
