"""Numbers and times as a reader wants them. Pure functions to plain text; no HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from recap.stats import Estimate

ABSENT = "n/a"
_GAP = "\u00a0"


def percent(share: float | None, digits: int = 0) -> str:
    """A share in [0, 1] as percent.

    Example:
        >>> percent(0.7).replace(_GAP, " ")
        '70 %'
    """
    return ABSENT if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f}{_GAP}%"


def share(value: float | None) -> str:
    """A share in [0, 1] as percent with three significant digits at most.

    Example:
        >>> share(0.225).replace(_GAP, " "), share(1.0).replace(_GAP, " ")
        ('22.5 %', '100 %')
    """
    return ABSENT if value is None else f"{figure(100 * value)}{_GAP}%"


def points(difference: float | None) -> str:
    """A difference of two shares, in [-1, 1], as percentage points with its sign.

    Example:
        >>> points(0.125).replace(_GAP, " "), points(-0.5).replace(_GAP, " "), points(0.0).replace(_GAP, " ")
        ('+12.5 points', '-50 points', '0 points')
    """
    return ABSENT if difference is None else f"{signed(100 * difference)}{_GAP}points"


def signed(value: float) -> str:
    """With its sign and one digit after the point at most.

    Example:
        >>> signed(12.04), signed(-0.04)
        ('+12', '0')
    """
    text = f"{value:+.1f}".removesuffix(".0")
    return "0" if text in ("+0", "-0") else text


def figure(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits, never in exponent form between 0.001 and 10 million.

    Example:
        >>> figure(131.4159), figure(0.01234), figure(12345)
        ('131', '0.0123', '12,345')
    """
    if value is None:
        return ABSENT
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size and not 1e-3 <= size < 1e7:
        return f"{value:.{digits - 1}e}"
    before = len(str(int(size))) if size >= 1 else 0
    after = max(digits - before, 0) if size >= 1 else digits - 1 - (math.floor(math.log10(size)) if size else 0)
    text = f"{value:,.{after}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


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
    return min(nice_end(max((max(-e.low, e.high) for e in estimates), default=1.0)), 1.0)


def duration(seconds: float | None) -> str:
    """Wall-clock seconds in the unit that suits their size.

    Example:
        >>> duration(192).replace(_GAP, " "), duration(4350).replace(_GAP, " ")
        ('3.2 min', '1 h 12 min')
    """
    if seconds is None:
        return ABSENT
    if seconds < 59.95:
        return f"{seconds:.1f}{_GAP}s"
    if seconds < 3570:
        return f"{seconds / 60:.1f}{_GAP}min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours}{_GAP}h {minutes}{_GAP}min"


def size(count: int) -> str:
    """Bytes as MB (10^6) or GB."""
    return f"{count / 1e9:.2f}{_GAP}GB" if count >= 1e9 else f"{count / 1e6:.1f}{_GAP}MB"


def when(utc_seconds: float) -> str:
    """A moment as date and minute in UTC."""
    return datetime.fromtimestamp(utc_seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")


def one_line(text: str, most: int = 80) -> str:
    r"""`text` for a picture, where it cannot be broken: white space of any kind becomes one space, what is long is cut.

    Example:
        >>> one_line("missed\r\n the sleeve"), one_line("folded again", most=8)
        ('missed the sleeve', 'folded..')
    """
    line = " ".join(text[: 4 * most].split())
    return line if len(line) <= most else line[: most - 2] + ".."


def words(identifier: str) -> str:
    """`missed_grasp_left` as `missed grasp left`."""
    return identifier.replace("_", " ")


def flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted path, text) of every leaf of a nested mapping, in order."""
    for key, item in value.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(item, Mapping) and item:
            yield from flatten(item, path)
        elif isinstance(item, (list, tuple)):
            yield path, ", ".join(str(part) for part in item) or "none"
        else:
            yield path, "none" if item is None or item == {} else str(item)
