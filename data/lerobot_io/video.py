"""The pictures that belong to the rows of one episode, from a film, decoded as LeRobot decodes them (PyAV, rgb24).

Owns which picture belongs to a row: the one whose presentation time is nearest to the row's, within a tolerance. Its
number in the film says nothing: films begin late, hold several episodes, and lose or gain pictures at their ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from data.lerobot_io.files import OffTime, unreadable
from recap.errors import ConfigError
from recap.types import FrameArray

TOLERANCE_S = 1e-4
"""How far a picture's time may lie from its row's, by default: LeRobot's own tolerance."""


def read_frames(
    path: Path, times: Sequence[float], *, tolerance_s: float, shape: tuple[int, int], where: str
) -> Iterator[FrameArray]:
    """One picture [h, w, 3] uint8 RGB for each of `times`, in order.

    Args:
        path: the film.
        times: T seconds in the film's own presentation time, rising.
        tolerance_s: a picture that is not nearer than this to its time is not the row's.
        shape: (h, w) that info.json states.
        where: begins every complaint.

    Raises:
        ConfigError: no readable film, pictures of another size, times that do not rise, or none at one of `times`.
    """
    given = 0
    try:
        with _opened(path, where) as (container, stream, base):
            # One key frame too early rather than too late: what is decoded before the first row is dropped.
            container.seek(round(times[0] / base) - 1, backward=True, any_frame=False, stream=stream)
            frames = _timed(container, stream, base, path, where)
            first = next(frames, None)
            if first is not None and first[0] <= times[0] + tolerance_s:
                for picture in _pictures(_before(first, frames), times, tolerance_s, shape, path, where):
                    given += 1
                    yield picture
                return
    except _av().FFmpegError:
        # Pictures right behind a key frame may need one before it (open groups of pictures).
        pass
    # An index that misses the place (fragmented files have none): from the beginning.
    try:
        with _opened(path, where) as (container, stream, base):
            whole = _pictures(_timed(container, stream, base, path, where), times, tolerance_s, shape, path, where)
            yield from islice(whole, given, None)
    except _av().FFmpegError as error:
        raise ConfigError(f"{where}: {unreadable(path, 'a film', error)}") from error


@contextmanager
def _opened(path: Path, where: str) -> Iterator[tuple[Any, Any, float]]:
    # The container is named outright: a playlist under the name of a film is not followed.
    with _av().open(str(path), format="mp4", metadata_errors="replace") as container:
        if not container.streams.video:
            raise ConfigError(f"{where}: {path} holds no film")
        stream = container.streams.video[0]
        # PyAV follows a null pointer when it decodes a codec that it does not know.
        base = 0.0 if stream.codec_context is None else float(stream.time_base or 0)
        if base <= 0:
            raise ConfigError(f"{where}: {path} is of no known codec or has no time base")
        # Or damage is made up for from earlier pictures, without a word. Slices decoded side by side do not heed it.
        stream.thread_type = "FRAME"
        stream.codec_context.options = {"err_detect": "explode"}
        yield container, stream, base


def _timed(container: Any, stream: Any, base: float, path: Path, where: str) -> Iterator[tuple[float, Any]]:
    """(presentation time in seconds, picture) in the order of the film."""
    before = -np.inf
    for frame in container.decode(stream):
        if frame.pts is None:
            raise ConfigError(f"{where}: {path} has a picture without a time after {before:.4f} s")
        time = frame.pts * base
        if time <= before:
            raise ConfigError(f"{where}: {path}: times run back from {before:.4f} s to {time:.4f} s")
        before = time
        yield time, frame


def _before(first: tuple[float, Any], rest: Iterator[tuple[float, Any]]) -> Iterator[tuple[float, Any]]:
    yield first
    yield from rest


def _pictures(
    frames: Iterator[tuple[float, Any]],
    times: Sequence[float],
    tolerance_s: float,
    shape: tuple[int, int],
    path: Path,
    where: str,
) -> Iterator[FrameArray]:
    row = 0
    earlier: tuple[float, Any] | None = None
    later: tuple[float, Any] | None = None
    while row < len(times):
        # The nearest is the last one before the row's time or the first one at it or after it.
        while later is None or later[0] < times[row]:
            following = next(frames, None)
            if following is None:
                break
            earlier, later = later, following
        known = [one for one in (earlier, later) if one is not None]
        if not known:
            raise ConfigError(f"{where}: {path} holds no picture")
        time, frame = min(known, key=lambda one: abs(one[0] - times[row]))
        if not abs(time - times[row]) < tolerance_s:
            raise OffTime(
                f"{where}: row {row} stands for {times[row]:.4f} s of {path}, whose nearest picture lies at "
                f"{time:.4f} s, expected one within {tolerance_s:g} s",
                off_s=abs(time - times[row]),
            )
        if (frame.height, frame.width) != shape:
            raise ConfigError(
                f"{where}: {path}: the picture at {time:.4f} s is {(frame.height, frame.width)}, expected {shape}"
            )
        yield np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
        row += 1


def _av() -> Any:
    import av

    return av
