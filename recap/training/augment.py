"""Random changes of training images that mean nothing to the task. Knows no model and no data."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_shifts(count: int, pixels: int, generator: torch.Generator) -> Tensor:
    """[count, 2] rows and columns to shift by, each up to `pixels` either way; on the generator's device, the CPU."""
    return torch.randint(-pixels, pixels + 1, (count, 2), generator=generator)


def shift_images(images: Tensor, shifts: Tensor) -> Tensor:
    """Images [B, C, h, w, 3], every observation shifted by its `shifts` [B, 2]; the rim is repeated.

    All C cameras of an observation move alike.
    """
    height, width = images.shape[2:4]
    rows = (torch.arange(height, device=images.device) + shifts[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + shifts[:, 1:]).clamp(0, width - 1)
    out = torch.empty_like(images)
    for index in range(len(images)):
        torch.index_select(images[index].index_select(1, rows[index]), 2, columns[index], out=out[index])
    return out
