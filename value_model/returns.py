"""Monte-Carlo returns: the target of every value model, in [-1, 0], higher is better.

Owns the two definitions of a return. Both are straight lines in time, so one description (slope, value at the last
frame, value past the end) serves returns and advantages alike. It must not know values or labels.

Letters: E episodes, N frames in all, T frames of one episode, t frame within it, F = 1 for a failure else 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recap.config import setting, validate
from recap.errors import ConfigError
from recap.types import BoolArray, FloatArray, IntArray
from value_model.episodes import check_offsets

_NAMED = 8
"""Episodes that an error lists."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReturnConfig:
    """Which return the value model learns."""

    kind: str = setting("recap", choices=("recap", "viva"), help="recap: steps to success; viva: remaining fraction")
    c_fail: float = setting(1.0, minimum=0, help="price of a failure over T_max (recap only)")

    def __post_init__(self) -> None:
        validate(self)
        if self.kind != "recap" and self.c_fail != 1.0:
            raise ConfigError(
                f"ReturnConfig.c_fail: {self.c_fail:g}, and kind '{self.kind}' has no such price, expected 1",
                hint="--set returns.c_fail=1",
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReturnLines:
    """The return of each episode as a line: G_t = last - slope * (T - 1 - t). [E] float64 each; NaN where aborted."""

    slope: NDArray[np.float64]
    """Gain per step; the reward of one step is -slope."""
    last: NDArray[np.float64]
    """G at the last frame, t = T - 1."""
    terminal: NDArray[np.float64]
    """G past the end, t = T."""


def returns(
    offsets: IntArray,
    success: BoolArray,
    max_steps: IntArray,
    config: ReturnConfig,
    *,
    ids: Sequence[str] | None = None,
    aborted: BoolArray | None = None,
) -> FloatArray:
    """The return of every frame.

    `recap`: G_t = -(T - t + C F) / (T_max + C) with C = c_fail T_max: in [-1, 0] by construction, nothing is clipped.
    `viva`: G_t = -((T - 1 - t) / (T - 1) + F) / 2, 1/2 standing for the fraction of an episode of a single frame: the
    episode's own length is the unit, so it carries no speed.

    Args:
        offsets: [E + 1].
        success: [E].
        max_steps: [E] T_max of each episode's task.
        config: which return.
        ids: E episode ids, to name an episode that is too long.
        aborted: [E]; the rows of aborted episodes are NaN.

    Returns:
        [N] float32 in [-1, 0].

    Raises:
        ConfigError: an episode is longer than its T_max, or the arrays do not fit together.
    """
    lines = return_lines(offsets, success, max_steps, config, ids=ids, aborted=aborted)
    return line_values(offsets, lines).astype(np.float32)


def return_lines(
    offsets: IntArray,
    success: BoolArray,
    max_steps: IntArray,
    config: ReturnConfig,
    *,
    ids: Sequence[str] | None = None,
    aborted: BoolArray | None = None,
) -> ReturnLines:
    """What `returns` says, as one line per episode. Arguments and errors as there."""
    check_offsets(offsets)
    lengths = np.diff(offsets)
    for name, array in (("success", success), ("max_steps", max_steps), ("aborted", aborted)):
        if array is not None and array.shape != lengths.shape:
            raise ConfigError(f"returns: {name} has shape {array.shape}, expected ({len(lengths)},)")
    failed = np.where(success, 0.0, 1.0)
    check_lengths(lengths, max_steps, config, ids=ids)
    if config.kind == "recap":
        price = config.c_fail * max_steps.astype(np.float64)
        slope = 1.0 / (max_steps + price)
        end = -price * failed * slope
        last = end - slope
    else:
        single = lengths == 1
        # An episode of one frame has no line; its slope is never used, as every look-ahead passes its end.
        slope = 0.5 / np.where(single, 1, lengths - 1)
        end = -0.5 * failed
        last = np.where(single, end - 0.25, end)
    if aborted is not None:
        slope, last, end = (np.where(aborted, np.nan, array) for array in (slope, last, end))
    # -0.0 would be an odd thing to read in a table.
    return ReturnLines(slope=slope, last=last + 0.0, terminal=end + 0.0)


def line_values(offsets: IntArray, lines: ReturnLines) -> NDArray[np.float64]:
    """[N] float64 returns along the lines."""
    lengths = np.diff(offsets)
    steps_left = np.repeat(offsets[1:] - 1, lengths) - np.arange(offsets[-1])
    return np.repeat(lines.last, lengths) - np.repeat(lines.slope, lengths) * steps_left


def check_lengths(
    lengths: IntArray, max_steps: IntArray, config: ReturnConfig, *, ids: Sequence[str] | None = None
) -> None:
    """Raises ConfigError for episodes [E] longer than their T_max [E], if the return is measured against it."""
    if config.kind != "recap":
        return
    if np.any(max_steps < 1):
        raise ConfigError(f"returns: T_max {int(np.min(max_steps))}, expected at least 1 step")
    longer = np.flatnonzero(lengths > max_steps)
    if len(longer):
        names = [f"{ids[place][:16] if ids else place}: {lengths[place]} steps" for place in longer]
        listed = "".join(f"\n  {name}" for name in names[:_NAMED])
        more = f"\n  and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        wanted = int(lengths[longer].max())
        limits = "/".join(map(str, sorted(set(max_steps[longer].tolist()))))
        raise ConfigError(
            f"{len(longer)} of {len(lengths)} episodes are longer than max_steps {limits} of their task, "
            f"the time limit that values are measured against:{listed}{more}",
            hint=f"set max_steps in the task's file to {wanted} or more, or leave these episodes out",
        )
