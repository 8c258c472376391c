"""Frames of a film as images inside the page."""

from __future__ import annotations

import base64

from pipelines.report.filmstrip import png_bytes
from recap.types import FrameArray

MOST_PIXELS = 192
"""Longest side of a frame inside the page; the pictures beside it keep the camera's size."""


def data_uri(frame: FrameArray, *, max_side: int = MOST_PIXELS) -> str:
    """[h, w, 3] uint8 as a data: address of a PNG."""
    return "data:image/png;base64," + base64.b64encode(png_bytes(frame, max_side=max_side)).decode()
