"""How the report draws: matplotlib's settings, axes by units, and a figure as SVG in the page or as pixels beside it.

Matplotlib is loaded when the first chart is drawn, by its objects alone (no pyplot), and its settings are given back.
The same data give the same bytes. In the page a chart has the page's colours (dark ones too): see `_COLOURS`.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from markupsafe import Markup

from pipelines.report.formats import figure
from recap.types import FrameArray

WIDTH = 1000
"""Of a chart that fills the page, in units of a font of 11."""
LEFT, RIGHT = 0.06, 0.98
"""Where the curves of a chart that fills the page begin and end, in parts of its width."""
DASHED = (0, (4, 3))

LINES = ("#2459c4", "#b63a20", "#147553", "#7a3fb0", "#855600", "#0d7a8c")
INK, GRID, SHADE = "#5b636c", "#dfe0da", "#fbeecb"
LABELS = ("#d9775f", "#1c9a70", "#3f6fd8")
"""Of NEGATIVE, POSITIVE, FORCED."""
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


@contextmanager
def drawing() -> Iterator[None]:
    """The report's settings of matplotlib, in which charts are made and saved."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        # A letter that the font lacks is still a letter of the page, whose reader has other fonts.
        warnings.filterwarnings("ignore", message="Glyph")
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> Any:
    """An empty figure of so many units."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72)


def new_axes(drawn: Any, left: float, top: float, right: float, bottom: float, **how: Any) -> Any:
    """Axes between two edges, in parts of the width and in units from the top."""
    high = drawn.get_figheight() * 72
    return drawn.add_axes((left, 1 - bottom / high, right - left, (bottom - top) / high), **how)


def svg(drawn: Any, told: str) -> Markup:
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


def pixels(drawn: Any) -> FrameArray:
    """The figure as [H, W, 3] uint8, one pixel for each unit."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(drawn)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def number_axis(axis: Any, most: int, digits: int = 2) -> None:
    """About `most` round numbers along an axis."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

    axis.set_major_locator(MaxNLocator(nbins=most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: figure(value, digits)))
    axis.set_minor_locator(NullLocator())
