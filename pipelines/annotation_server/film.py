"""Episodes as sheets: all cameras of a step side by side in a cell, cells in rows on JPEG pages.

Owns sizes, encoding and a small memory of recent films. A sheet costs the browser one request for dozens of steps.
Shown to a person only: nothing is learned from these pixels.
"""

from __future__ import annotations

import io
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data.episode_file import Header, read_array, read_header
from data.episodes import EpisodeStore
from recap.errors import UnknownName
from recap.types import FrameArray

MAX_HEIGHT = 256
"""Pixels of a cell; smaller cameras are shown as they are."""
MIN_HEIGHT = 48
FILM_PIXELS = 256_000_000
"""Pixels of a whole film: long films of large cameras are shown smaller."""
SHEET_SIDE = 2048
"""Pixels of a sheet, each way, at most (one cell is never divided)."""
FILMS_KEPT = 4
_QUALITY = 90
_BLOCK = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Where step t is: sheet t // per_sheet, and there cell i = t % per_sheet in row i // columns."""

    cameras: tuple[str, ...]
    widths: tuple[int, ...]
    """Pixels per camera, in order of `cameras`."""
    height: int
    """Pixels, all cameras."""
    pitch_x: int
    """Pixels from cell to cell; a multiple of the JPEG block, so that cells do not bleed into each other."""
    pitch_y: int
    columns: int
    rows: int
    length: int
    """T."""

    @property
    def per_sheet(self) -> int:
        """Steps on a full sheet."""
        return self.columns * self.rows

    @property
    def sheets(self) -> int:
        """Sheets of the film."""
        return math.ceil(self.length / self.per_sheet)

    def to_json(self) -> dict[str, Any]:
        """As the page reads it."""
        return {**asdict(self), "per_sheet": self.per_sheet, "sheets": self.sheets}


def layout_of(header: Header) -> Layout:
    """The layout of an episode, from its header alone."""
    sizes = {camera: header.arrays[f"frames/{camera}"]["shape"][1:3] for camera in header.cameras}
    length = header.length
    aspect = sum(w / h for h, w in sizes.values())
    affordable = int(math.sqrt(FILM_PIXELS / (length * aspect)))
    height = max(1, min(max(h for h, _ in sizes.values()), MAX_HEIGHT, max(affordable, MIN_HEIGHT)))
    widths = tuple(max(1, round(w / h * height)) for h, w in sizes.values())
    pitch_x, pitch_y = (-(-size // _BLOCK) * _BLOCK for size in (sum(widths), height))
    return Layout(
        cameras=tuple(sizes),
        widths=widths,
        height=height,
        pitch_x=pitch_x,
        pitch_y=pitch_y,
        columns=max(1, min(SHEET_SIDE // pitch_x, length)),
        rows=max(1, SHEET_SIDE // pitch_y),
        length=length,
    )


def encode_sheets(frames_of: Callable[[str], FrameArray], layout: Layout) -> list[bytes]:
    """The JPEG sheets of a film.

    Args:
        frames_of: gives [T, h, w, 3] uint8 of a camera; one camera is held at a time.
        layout: as `layout_of` gives it.
    """
    from PIL import Image

    cells = np.zeros((layout.length, layout.pitch_y, layout.pitch_x, 3), np.uint8)
    left = 0
    for camera, width in zip(layout.cameras, layout.widths, strict=True):
        cells[:, : layout.height, left : left + width] = _scaled(frames_of(camera), layout.height, width)
        left += width
    sheets = []
    for begin in range(0, layout.length, layout.per_sheet):
        part = cells[begin : begin + layout.per_sheet]
        rows = math.ceil(len(part) / layout.columns)
        sheet = np.zeros((rows * layout.columns, *part.shape[1:]), np.uint8)
        sheet[: len(part)] = part
        grid = sheet.reshape(rows, layout.columns, layout.pitch_y, layout.pitch_x, 3).swapaxes(1, 2)
        buffer = io.BytesIO()
        picture = Image.fromarray(grid.reshape(rows * layout.pitch_y, layout.columns * layout.pitch_x, 3))
        picture.save(buffer, format="JPEG", quality=_QUALITY, subsampling=0)
        sheets.append(buffer.getvalue())
    return sheets


def _scaled(frames: FrameArray, height: int, width: int) -> FrameArray:
    """[T, h, w, 3] at `height` and `width`."""
    from PIL import Image

    if frames.shape[1:3] == (height, width):
        return frames
    size = (width, height)
    return np.stack([np.asarray(Image.fromarray(f).resize(size, Image.Resampling.BILINEAR)) for f in frames])


class Films:
    """Sheets of the episodes of a store; the latest few films are kept, encoded."""

    def __init__(self, store: EpisodeStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, _Once] = OrderedDict()

    def sheet(self, episode_id: str, number: int) -> bytes:
        """Sheet `number` (from 0) of an episode as JPEG; two requests at once make the film once.

        Raises:
            UnknownName: no such sheet.
            EpisodeCorrupt: the film is not what was committed.
        """
        with self._lock:
            film = self._kept.setdefault(episode_id, _Once(lambda: self._make(episode_id)))
            self._kept.move_to_end(episode_id)
            while len(self._kept) > FILMS_KEPT:
                self._kept.popitem(last=False)
        sheets = film.get()
        if not 0 <= number < len(sheets):
            raise UnknownName(f"episode {episode_id[:12]} has sheets 0..{len(sheets) - 1}, asked for {number}")
        return sheets[number]

    def _make(self, episode_id: str) -> list[bytes]:
        path = self._store.path(episode_id)
        header = read_header(path)
        # Not the whole episode: its numbers would cost as much again as its pictures.
        return encode_sheets(lambda camera: read_array(path, header, f"frames/{camera}"), layout_of(header))


class _Once:
    """A result made by the first thread that asks; the others wait for it. An error is not remembered."""

    def __init__(self, make: Callable[[], list[bytes]]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._result: list[bytes] | None = None

    def get(self) -> list[bytes]:
        with self._lock:
            if self._result is None:
                self._result = self._make()
            return self._result
