"""Random changes of training images that mean nothing to the task. Knows no model and no data."""

from __future__ import annotations

import torch
from torch import Tensor


def shift_images(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Images [B, C, h, w, 3], every observation shifted by up to `pixels` each way; the rim is repeated.

    All C cameras of an observation move alike.
    """
    height, width = images.shape[2:4]
    moves = torch.randint(-pixels, pixels + 1, (len(images), 2), generator=generator)
    rows = (torch.arange(height) + moves[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width) + moves[:, 1:]).clamp(0, width - 1)
    out = torch.empty_like(images)
    for index in range(len(images)):
        torch.index_select(images[index].index_select(1, rows[index]), 2, columns[index], out=out[index])
    return out
