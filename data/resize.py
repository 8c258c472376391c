"""Resizing of uint8 images without torch: antialiased bilinear, aspect kept, black borders."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from recap.types import FrameArray


def letterbox(frames: FrameArray, height: int, width: int) -> FrameArray:
    """[T, h, w, 3] -> [T, height, width, 3] uint8: scaled to fit, centred, the rest black."""
    count, h, w, _ = frames.shape
    if (h, w) == (height, width):
        return frames
    scale = min(height / h, width / w)
    inner_h, inner_w = max(1, math.floor(h * scale + 0.5)), max(1, math.floor(w * scale + 0.5))
    rows, columns = _weights(h, inner_h), _weights(w, inner_w)
    top, left = (height - inner_h) // 2, (width - inner_w) // 2
    result = np.zeros((count, height, width, 3), dtype=np.uint8)
    for t in range(count):
        tall = np.einsum("oh,hwc->owc", rows, frames[t].astype(np.float32), optimize=True)
        small = np.einsum("pw,owc->opc", columns, tall, optimize=True)
        result[t, top : top + inner_h, left : left + inner_w] = np.floor(np.clip(small, 0, 255) + 0.5).astype(np.uint8)
    return result


def _weights(size: int, wanted: int) -> NDArray[np.float32]:
    # Triangle filter, widened by the scale when shrinking, so that no source pixel is skipped.
    step = size / wanted
    centre = (np.arange(wanted) + 0.5) * step - 0.5
    reach = max(step, 1.0)
    weights = np.maximum(0.0, 1.0 - np.abs(np.arange(size)[None, :] - centre[:, None]) / reach)
    normalised: NDArray[np.float32] = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalised
