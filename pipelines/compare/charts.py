"""Charts of a comparison: models below each other with their intervals, and value curves under one film strip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from markupsafe import Markup

from pipelines.compare.figures import Compared
from pipelines.report.drawing import DASHED, INK, LINES, drawing, new_axes, new_figure, number_axis, svg
from pipelines.report.formats import figure, one_line, words
from pipelines.report.pictures import Film, ValueStrip
from pipelines.report.strip_chart import shared_ends, strip_chart
from recap.types import BoolArray, FloatArray, Source

_WIDTH, _ROW, _LEFT = 480, 22, 0.36
_MOST_LETTERS = 22


def intervals_chart(rows: Sequence[Compared]) -> Markup:
    """One figure of several models: a point and its interval each; a dashed line through the first.

    Args:
        rows: at least one with a value.
    """
    shown = [row for row in rows if row.value is not None]
    told = f"{words(rows[0].figure)}: " + "; ".join(f"{row.model} {figure(row.value)}" for row in shown)
    with drawing():
        high = 30 + _ROW * len(shown) + 26
        drawn = new_figure(_WIDTH, high)
        axes = new_axes(drawn, _LEFT, 26, 0.96, high - 24)
        for place, row in enumerate(shown):
            colour = LINES[0] if place == 0 else LINES[1] if row.differs else INK
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place, place], color=colour, linewidth=2, clip_on=False)
            axes.plot([row.value], [place], marker="o", markersize=6, color=colour, clip_on=False)
        axes.axvline(shown[0].value, color=INK, linewidth=1, linestyle=DASHED)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.set_yticks(range(len(shown)), [one_line(row.model, _MOST_LETTERS) for row in shown])
        number_axis(axes.xaxis, 4, 3)
        axes.grid(axis="x", clip_on=False)
        axes.set_axisbelow(True)
        axes.set_title(words(rows[0].figure), loc="left", fontsize=11, color=INK)
        return svg(drawn, told)


def curves(
    film: Film,
    source: Source,
    intervened: BoolArray,
    values: Mapping[str, Sequence[tuple[FloatArray, FloatArray]]],
    iteration: int,
) -> list[tuple[str, Markup]]:
    """[(model, chart)] of what each said along a film, on one pair of axes.

    Args:
        film: its marks are drawn into every chart.
        source: of the episode.
        intervened: [T] a person acted.
        values: {model: [S] (value [T], spread [T] over noise draws)}; of several seeds their mean is drawn, and the
            band is their standard deviation.
        iteration: whose models these are.
    """
    strips: dict[str, ValueStrip] = {}
    for model, seeds in values.items():
        table = np.stack([value for value, _ in seeds])
        spread: Any = table.std(axis=0) if len(seeds) > 1 else seeds[0][1]
        strips[model] = ValueStrip(
            film=replace(film, title=model),
            iteration=iteration,
            source=source,
            value=table.mean(axis=0),
            spread=spread,
            intervened=intervened,
        )
    ends = shared_ends(list(strips.values()))
    return [(model, strip_chart(strip, ends)) for model, strip in strips.items()]
