"""Latent frames: how numbers become video latents and back.

A sequence is [blank, q_t, views..., (q_{t+K},) value]: everything up to the last view is clean, the rest is denoised.

Letters: B sequences, F frames, C channels, H x W latent cells, S state dimensions, V views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from value_model.models.viva.checks import check_cells


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Which latent frame is what, and how large they are."""

    views: int
    channels: int
    height: int
    width: int
    state_dim: int
    future_state: bool

    def __post_init__(self) -> None:
        check_cells(self.channels, self.height, self.width, self.state_dim)

    @property
    def cells(self) -> int:
        """C * H * W."""
        return self.channels * self.height * self.width

    @property
    def clean(self) -> int:
        """Frames that condition: blank, q_t and the views."""
        return 2 + self.views

    @property
    def noisy(self) -> int:
        """Frames that are denoised."""
        return 2 if self.future_state else 1

    @property
    def frames(self) -> int:
        """F."""
        return self.clean + self.noisy


def spread_numbers(numbers: Tensor, layout: Layout) -> Tensor:
    """[B, D] as latent frames [B, C, H, W]: tiled over the flattened (C, H, W), the last copy cut off."""
    copies = -(-layout.cells // numbers.shape[1])
    return numbers.repeat(1, copies)[:, : layout.cells].reshape(-1, layout.channels, layout.height, layout.width)


def gather_numbers(frame: Tensor, count: int) -> Tensor:
    """[B, C, H, W] -> [B, count]: the mean of all whole copies; inverts `spread_numbers`."""
    flat = frame.flatten(1)
    copies = flat.shape[1] // count
    numbers: Tensor = flat[:, : copies * count].unflatten(1, (copies, count)).mean(1)
    return numbers


def encode_value(value: Tensor, layout: Layout) -> Tensor:
    """[B] values in [-1, 0] -> [B, C, H, W], every cell x = 2 V + 1."""
    return (2 * value + 1)[:, None, None, None].expand(-1, layout.channels, layout.height, layout.width)


def decode_value(frame: Tensor) -> Tensor:
    """[B, C, H, W] -> [B]: (mean(x) - 1) / 2, not clamped: the share outside [-1, 0] is a health figure."""
    return (frame.flatten(1).mean(1) - 1) / 2


def clean_frames(state: Tensor, views: Tensor, layout: Layout) -> Tensor:
    """The conditioning [B, C, 2 + V, H, W] of normalised state [B, S] and view latents [B, V, C, H, W]."""
    blank = views.new_zeros(len(views), 1, layout.channels, layout.height, layout.width)
    return torch.cat([blank, spread_numbers(state, layout)[:, None], views], dim=1).transpose(1, 2)


def target_frames(ahead: Tensor, value: Tensor, layout: Layout) -> Tensor:
    """What is denoised, [B, C, 1 or 2, H, W], from normalised q_{t+K} [B, S] and values [B]."""
    frames: Sequence[Tensor] = [encode_value(value, layout)]
    if layout.future_state:
        frames = [spread_numbers(ahead, layout), *frames]
    return torch.stack(list(frames), dim=2)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StateRange:
    """Per-dimension range of the training states, mapped to [-1, 1]."""

    low: Tensor
    """[S]"""
    high: Tensor
    """[S]"""

    @classmethod
    def of(cls, state: Tensor) -> StateRange:
        """From training states [N, S]."""
        return cls(low=state.amin(0), high=state.amax(0))

    def apply(self, state: Tensor) -> Tensor:
        """[B, S] -> [B, S]; a dimension that never moved in training is only centred. Not clamped."""
        half = (self.high - self.low) / 2
        return (state - (self.high + self.low) / 2) / torch.where(half > 0, half, torch.ones_like(half))

    def invert(self, numbers: Tensor) -> Tensor:
        """The state that `apply` maps to `numbers`."""
        half = (self.high - self.low) / 2
        return numbers * torch.where(half > 0, half, torch.ones_like(half)) + (self.high + self.low) / 2
