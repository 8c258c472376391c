"""Film strips: evenly spaced frames of an attempt side by side, with the step under each and events marked; and PNG.

Example:
    >>> strip = film_strip(np.zeros((50, 64, 64, 3), np.uint8), count=10, scale=2)
    >>> strip.dtype, strip.shape[2]
    (dtype('uint8'), 3)
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipelines.report.formats import one_line
from pipelines.report.pictures import Film, Mark, merge_sides
from recap.errors import ConfigError
from recap.files import write_atomic
from recap.types import FrameArray

_PAPER = (255, 255, 255)
_INK = (60, 66, 72)
_MARK_INK = {1: (27, 127, 92), -1: (194, 69, 45), 0: (42, 98, 201)}
_GAP = 4
_MARGIN = 8


def evenly_spaced(length: int, count: int) -> list[int]:
    """At most `count` distinct indices of `range(length)`: the first, the last, and evenly between.

    Example:
        >>> evenly_spaced(101, 5), evenly_spaced(2, 5)
        ([0, 25, 50, 75, 100], [0, 1])
    """
    if length < 0 or count < 1:
        raise ConfigError(f"evenly_spaced: length {length} and count {count}, expected length >= 0 and count >= 1")
    if length <= count:
        return list(range(length))
    return [int(i) for i in np.linspace(0, length - 1, count).round()] if count > 1 else [0]


def nearest(index: int, shown: Sequence[int]) -> int:
    """Position in `shown` of the entry closest to `index`; the earlier one on a tie."""
    return min(range(len(shown)), key=lambda position: abs(shown[position] - index))


def film_strip(
    frames: FrameArray,
    *,
    count: int = 12,
    scale: int = 2,
    captions: Sequence[str] | None = None,
    marks: Sequence[tuple[int, str, int]] = (),
) -> FrameArray:
    """A strip of `count` evenly spaced frames on white paper.

    Args:
        frames: [T, h, w, 3] uint8 RGB, T >= 1.
        count: frames to show; all of them when T is smaller.
        scale: enlargement of each frame.
        captions: text under each shown frame; the frame's index when None.
        marks: (frame index in 0..T-1, name, kind), kind +1 milestone, -1 error, 0 neither; written under the
            shown frame that is closest in time.

    Returns:
        [H, W, 3] uint8 RGB.

    Raises:
        ConfigError: wrong shape or dtype, no frame, a caption too many or too few, a mark outside the film.
    """
    from PIL import Image, ImageDraw, ImageFont

    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or frames.shape[0] == 0:
        raise ConfigError(f"film_strip: frames {frames.dtype} {frames.shape}, expected uint8 [T >= 1, h, w, 3]")
    if scale < 1:
        raise ConfigError(f"film_strip: scale {scale}, expected >= 1")
    shown = evenly_spaced(frames.shape[0], count)
    texts = [str(index) for index in shown] if captions is None else list(captions)
    if len(texts) != len(shown):
        raise ConfigError(f"film_strip: {len(texts)} captions for {len(shown)} shown frames")
    under: dict[int, list[tuple[str, int]]] = {}
    for index, name, kind in marks:
        if not 0 <= index < frames.shape[0]:
            raise ConfigError(
                f"film_strip: mark '{name}' at frame {index}, the film has frames 0..{frames.shape[0] - 1}"
            )
        under.setdefault(nearest(index, shown), []).append((name.replace("_", " "), kind))

    height, width = frames.shape[1] * scale, frames.shape[2] * scale
    points = max(10, min(14, width // 9))
    font = ImageFont.load_default(size=points)
    line = int(points * 1.35)
    lines = 1 + max((len(names) for names in under.values()), default=0)
    paper = Image.new(
        "RGB",
        (2 * _MARGIN + len(shown) * (width + _GAP) - _GAP, 2 * _MARGIN + height + 4 + lines * line),
        _PAPER,
    )
    draw = ImageDraw.Draw(paper)
    for position, index in enumerate(shown):
        left = _MARGIN + position * (width + _GAP)
        picture = Image.fromarray(np.ascontiguousarray(frames[index]))
        paper.paste(picture.resize((width, height), Image.Resampling.BICUBIC), (left, _MARGIN))
        top = _MARGIN + height + 4
        draw.text((left + width / 2, top), _fit(draw, texts[position], font, width), fill=_INK, font=font, anchor="ma")
        for row, (name, kind) in enumerate(under.get(position, []), start=1):
            ink = _MARK_INK[int(np.sign(kind))]
            text = _fit(draw, name, font, width + _GAP)
            draw.text((left + width / 2, top + row * line), text, fill=ink, font=font, anchor="ma")
        if position in under:
            # The gravest event colours the frame's edge: an error outranks a milestone.
            gravest = min((kind for _, kind in under[position]), key=lambda kind: (kind >= 0, -abs(kind)))
            draw.rectangle(
                (left, _MARGIN, left + width - 1, _MARGIN + height - 1),
                outline=_MARK_INK[int(np.sign(gravest))],
                width=max(2, width // 48),
            )
    return np.asarray(paper, dtype=np.uint8)


def captioned_strip(film: Film, frames: FrameArray, marks: Sequence[Mark] = ()) -> FrameArray:
    """The shown frames of a film, [n, h, w, 3], with step and second under each: [H, W, 3] uint8."""
    return film_strip(
        frames,
        count=len(film.steps),
        scale=max(1, round(128 / frames.shape[2])),
        captions=[f"{step} ({step / film.rate_hz:.1f} s)" for step in film.steps],
        marks=[(nearest(mark.t, film.steps), mark.name, mark.kind) for mark in marks],
    )


def film_picture(film: Film) -> FrameArray:
    """The film as one picture, cameras above each other: [H, W, 3] uint8."""
    return captioned_strip(film, stack_cameras([row.frames for row in film.rows]), merge_sides(film.marks))


def stack_cameras(rows: Sequence[FrameArray]) -> FrameArray:
    """Cameras of one film above each other, each [n, h_i, w_i, 3], brought to the width of the first.

    One line of paper keeps them apart.

    Returns:
        [n, H, w_0, 3] uint8.
    """
    from PIL import Image

    width = rows[0].shape[2]
    scaled: list[FrameArray] = []
    for row in rows:
        if row.shape[2] != width:
            height = max(1, round(row.shape[1] * width / row.shape[2]))
            row = np.stack([np.asarray(Image.fromarray(frame).resize((width, height))) for frame in row])
        if scaled:
            scaled.append(np.full((row.shape[0], 1, width, 3), _PAPER, np.uint8))
        scaled.append(row)
    return np.concatenate(scaled, axis=1)


def png_bytes(image: FrameArray, *, max_side: int | None = None) -> bytes:
    """[h, w, 3] uint8 as a PNG file, shrunk to `max_side` pixels where it is larger."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    if max_side is not None and max(picture.size) > max_side:
        picture.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def data_uri(frame: FrameArray, max_side: int) -> str:
    """[h, w, 3] uint8 as a data: address of a PNG with sides of at most `max_side` pixels."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(frame, max_side=max_side)).decode()


def save_png(image: FrameArray, path: Path) -> Path:
    """Writes [h, w, 3] uint8 to `path` in one rename and returns it."""
    write_atomic(path, png_bytes(image), durable=False)
    return path


def _fit(draw: object, text: str, font: object, width: float) -> str:
    """`text` on one line, cut with an ellipsis where it is wider than `width` pixels."""
    measure = draw.textlength  # type: ignore[attr-defined]
    whole = one_line(text)
    if measure(whole, font=font) <= width:
        return whole
    while whole and measure(whole + "..", font=font) > width:
        whole = whole[:-1]
    return whole + ".."
