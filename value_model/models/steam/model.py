"""The ensemble: N networks of their own, each of which sums up a frame and then compares two such sums.

    p_m(. | o_a, o_b)       distribution of member m over `bins` places x_i on [-1, 1]
    d_m(o_a, o_b) = sum_i p_m(i) x_i

Knows no data and no loss. Letters: M members, B pairs, V views, h x w pixels, S state dimensions, D width, P prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recap.errors import ConfigError
from value_model.models.steam.config import MemberSizes


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What the networks are built for."""

    views: int
    height: int
    """Pixels."""
    width: int
    state_dim: int
    prompts: int

    def cells(self, patch_pixels: int) -> int:
        """Cells per view after both convolutions; ConfigError if they do not divide the pictures."""
        cell = 2 * patch_pixels
        if self.height % cell or self.width % cell:
            raise ConfigError(
                f"steam: images of {self.height} x {self.width} pixels, expected multiples of {cell} "
                "(twice sizes.patch_pixels)"
            )
        return (self.height // cell) * (self.width // cell)


class Member(nn.Module):
    """One predictor of temporal offsets."""

    def __init__(self, sizes: MemberSizes, inputs: Inputs, bins: int) -> None:
        super().__init__()
        patch, channels = sizes.patch_pixels, sizes.channels
        self.look = nn.Sequential(
            nn.Conv2d(3, channels, patch, stride=patch),
            nn.GELU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.GELU(),
        )
        seen = inputs.views * inputs.cells(patch) * 2 * channels
        self.sum_up = nn.Sequential(nn.Linear(seen + inputs.state_dim, sizes.width), nn.LayerNorm(sizes.width))
        self.prompt = nn.Embedding(inputs.prompts, sizes.width)
        self.judge = nn.Sequential(nn.Linear(4 * sizes.width, sizes.hidden), nn.GELU(), nn.Linear(sizes.hidden, bins))

    def encode(self, images: Tensor, state: Tensor) -> Tensor:
        """Pictures [B, V, 3, h, w] in [-1, 1] and normalised states [B, S] -> frames [B, D]."""
        cells = self.look(images.flatten(0, 1)).reshape(len(images), -1)
        frames: Tensor = self.sum_up(torch.cat([cells, state], dim=1))
        return frames

    def compare(self, first: Tensor, second: Tensor, prompt: Tensor) -> Tensor:
        """Frames [B, D] twice and prompt numbers [B] -> logits [B, bins] of d(first, second)."""
        logits: Tensor = self.judge(torch.cat([first, second, second - first, self.prompt(prompt)], dim=1))
        return logits


class Ensemble(nn.Module):
    """M members side by side, and the range of the states that they read."""

    center: Tensor
    scale: Tensor
    places: Tensor

    def __init__(self, sizes: MemberSizes, inputs: Inputs, *, members: int, bins: int, seed: int) -> None:
        """Starting weights are a pure function of `seed`, other ones for every member."""
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.members = nn.ModuleList(Member(sizes, inputs, bins) for _ in range(members))
        self.register_buffer("center", torch.zeros(inputs.state_dim))
        self.register_buffer("scale", torch.ones(inputs.state_dim))
        self.register_buffer("places", torch.linspace(-1, 1, bins), persistent=False)

    def fit_range(self, state: Tensor) -> None:
        """Takes mean and deviation of training states [n, S]; a dimension that never moves is only centred."""
        spread = state.std(0, correction=0)
        self.center.copy_(state.mean(0))
        self.scale.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def encode(self, images: Tensor, state: Tensor) -> Tensor:
        """uint8 images [B, V, h, w, 3] and states [B, S] in robot units -> frames [M, B, D]."""
        pictures = images.movedim(-1, -3).float() / 127.5 - 1
        numbers = (state - self.center) / self.scale
        return torch.stack([member.encode(pictures, numbers) for member in self._members()])

    def compare(self, first: Tensor, second: Tensor, prompt: Tensor) -> Tensor:
        """Frames [M, B, D] twice and prompt numbers [B] -> logits [M, B, bins]."""
        rows = zip(self._members(), first, second, strict=True)
        return torch.stack([member.compare(a, b, prompt) for member, a, b in rows])

    def offset(self, logits: Tensor) -> Tensor:
        """The expected offset [M, B] in [-1, 1] of logits [M, B, bins]."""
        return logits.float().softmax(-1) @ self.places

    def way_left(self, logits: Tensor) -> Tensor:
        """The expected offset [M, B] in [0, 1] to a frame that is known not to lie behind: E[d | d >= 0]."""
        zero = len(self.places) // 2
        return logits[..., zero:].float().softmax(-1) @ self.places[zero:]

    def _members(self) -> list[Member]:
        return [member for member in self.members if isinstance(member, Member)]


def two_hot(offset: Tensor, bins: int) -> Tensor:
    """Offsets [B] in [-1, 1] -> [B, bins] with weight on the two nearest places, whose mean is the offset."""
    place = (offset + 1) / 2 * (bins - 1)
    return (1 - (place[:, None] - torch.arange(bins, device=offset.device)).abs()).clamp(min=0)
