"""What a study was made to find out, in words: which lines hold, which do not, which the cells leave open."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.study.config import IMITATION
from pipelines.study.figures import Figures, Measured
from recap.stats import Estimate

PAIRS = (
    ("viva", "random"),
    ("viva", IMITATION),
    ("viva", "vlm"),
    ("viva", "outcome"),
    ("viva", "clock"),
    ("viva", "state_only"),
    ("vlm", IMITATION),
)
"""(first, second): the first above the second."""
GAIN = 0.20
"""Success over imitation that the method must bring, as a rate."""
HIGH = 0.65
"""Of imitation: above it success leaves little room, and throughput may count instead."""
FASTER = 0.30
"""Throughput over imitation that counts then."""


def claims(figures: Figures) -> Iterator[str]:
    """One sentence per line to be shown, of those whose arms the study has."""
    for first, second in PAIRS:
        if {first, second} <= figures.planned:
            if second == "random" and figures.apart:
                # There random permutes no labels of viva: it draws a fixed share, and collects for itself.
                continue
            found = figures.success_difference(first, second)
            name = f"{first} above {second}, lower end above 0, pooled"
            yield f"{name}: {_verdict(found, found is not None and found.estimate.low > 0)}"
    if {"viva", IMITATION} <= figures.planned:
        yield f"viva gains at least {100 * GAIN:.0f} points on imitation, pooled: {_gain(figures)}"
    if {"flaw", IMITATION} <= figures.planned:
        for task in figures.config.tasks:
            found = figures.success_difference("flaw", IMITATION, task)
            name = f"the ceiling arm flaw gains at least {100 * GAIN:.0f} points on imitation at {task}"
            yield f"{name}: {_verdict(found, found is not None and found.estimate.value >= GAIN)}"


def _gain(figures: Figures) -> str:
    """Success must; or, where imitation is high, throughput must and success must not be lower."""
    found, imitation = figures.success_difference("viva", IMITATION), figures.success(IMITATION)
    if found is None or imitation is None:
        return _verdict(None, holds=False)
    own = found.estimate
    said = _verdict(found, own.value >= GAIN and own.low > 0)
    if imitation.estimate.value <= HIGH:
        return said
    faster = figures.throughput_change("viva", IMITATION)
    beside = f"; imitation is at {100 * imitation.estimate.value:.1f} %, above {100 * HIGH:.0f} %, so that throughput "
    if faster is None:
        return f"{said}{beside}counts as well, which has no size here"
    reached = faster.estimate.value >= FASTER and faster.estimate.low > 0 and own.value >= 0
    return f"{said}{beside}may reach +{100 * FASTER:.0f} % instead: {_verdict(faster, reached, unit='%')}"


def _verdict(found: Measured | None, holds: bool, *, unit: str = "points") -> str:  # noqa: FBT001
    """E.g. "HOLDS, +8.1 points [+2.0, +14.2]". With cells missing nothing holds or fails: it is open."""
    if found is None:
        return "OPEN, a task has no cell of both"
    figure = _figure(found.estimate, unit)
    if found.missing:
        return f"OPEN, {found.missing} training seeds are missing; so far {figure}"
    if holds:
        return f"HOLDS, {figure}"
    reverse = "; it is the other way round" if found.estimate.high < 0 else ""
    return f"DOES NOT HOLD, {figure}{reverse}"


def _figure(one: Estimate, unit: str) -> str:
    return f"{100 * one.value:+.1f} {unit} [{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
