"""The pi0.5 network with its flow-matching loss: what the fit loop trains.

Owns how a raw batch becomes network inputs and what the loss is. Several (time, noise) draws per observation share
one prefix; actions past the end of an episode do not count (LeRobot's loss trains on them). A tag changes the words
of the sample's prompt and nothing else: weight, noise and targets are those of the untagged sample.

Letters: B observations, K draws, H action steps, A real action dimensions, F padded action width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from policy.models.pi05.network import Pi05Network
from policy.models.pi05.prompt import mixed_prompt_tokens, prompt_tokens
from policy.models.pi05.scaling import PolicyStats
from recap.errors import ConfigError
from recap.training.augment import shift_images
from recap.training.fit import LossModule
from recap.types import FloatArray, FrameArray

TIME_POWER, TIME_SCALE, TIME_OFFSET = 1.5, 0.999, 0.001
"""t ~ Beta(1.5, 1) * 0.999 + 0.001 (openpi). Beta(a, 1) is u ** (1 / a)."""


class Pi05Learner(LossModule):
    """Network + loss. `forward(batch, generator)` is the only way to the loss."""

    def __init__(
        self, network: Pi05Network, *, prompts: Sequence[str], stats: PolicyStats, draws: int, shift_pixels: int
    ) -> None:
        super().__init__()
        self.network = network
        self.prompts = tuple(prompts)
        self.stats = stats
        self.draws = draws
        self.shift_pixels = shift_pixels

    def forward(self, batch: Mapping[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the velocity over real actions.

        Args:
            batch: images [B, C, h, w, 3] uint8, state [B, S], action [B, H, A] (relative where configured),
                action_is_pad [B, H] bool; optional tag [B] (codes of policy.conditioning.Tag) and prompt [B] (which of
                `prompts`; without it the first).
            generator: of image shifts, times and noise.
        """
        images = torch.from_numpy(np.asarray(batch["images"]))
        if self.shift_pixels:
            images = shift_images(images, self.shift_pixels, generator)
        tokens, written = self._prompt(batch)
        action = self._target(np.asarray(batch["action"]))
        time = sample_times(len(action), self.draws, generator)
        shape = (len(action), self.draws, *action.shape[1:])
        noise = torch.randn(shape, generator=generator)
        losses = self.losses(float_images(images), tokens, action, noise, time, token_valid=written)
        real = ~torch.from_numpy(np.asarray(batch["action_is_pad"]))
        loss = masked_mean(losses[..., : batch["action"].shape[-1]], real)
        return loss, {}

    def losses(
        self,
        images: Tensor,
        tokens: Tensor,
        action_BHF: Tensor,  # noqa: N803
        noise_BKHF: Tensor,  # noqa: N803
        time_BK: Tensor,  # noqa: N803
        *,
        token_valid: Tensor | None = None,
    ) -> Tensor:
        """Squared velocity errors [B, K, H, F], no action masked; `token_valid` [B, T] where prompts are padded."""
        time = time_BK[..., None, None]
        action = action_BHF[:, None]
        prefix = self.network.prefix(images, tokens, token_valid=token_valid)
        velocity = self.network.velocity(prefix, time * noise_BKHF + (1 - time) * action, time_BK)
        return (velocity - (noise_BKHF - action)).square()

    def _prompt(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor | None]:
        state = self.stats.state.apply(np.asarray(batch["state"]))
        if "tag" not in batch and "prompt" not in batch:
            return torch.from_numpy(prompt_tokens(self.prompts[0], state)), None
        same = np.zeros(len(state), np.int64)
        which, tag = (np.asarray(batch.get(field, same)) for field in ("prompt", "tag"))
        tokens, written = mixed_prompt_tokens(self.prompts, which, state, tag)
        return torch.from_numpy(tokens), None if written is None else torch.from_numpy(written)

    def _target(self, action: FloatArray) -> Tensor:
        scaled = torch.from_numpy(self.stats.action.apply(action))
        return F.pad(scaled, (0, self.network.sizes.action_dim - scaled.shape[-1]))


def masked_mean(losses_BKHA: Tensor, real_BH: Tensor) -> Tensor:  # noqa: N803
    """Mean of losses [B, K, H, A] over the steps where real [B, H] is True; each real step counts alike."""
    weight = real_BH[:, None, :, None].to(losses_BKHA.dtype)
    return (losses_BKHA * weight).sum() / (weight.sum() * losses_BKHA.shape[1] * losses_BKHA.shape[3])


def sample_times(batch: int, draws: int, generator: torch.Generator) -> Tensor:
    """[B, K] flow times; the K times of an observation are stratified, which evens the loss out at no cost."""
    uniform = (torch.arange(draws) + torch.rand(batch, draws, generator=generator)) / draws
    return uniform ** (1 / TIME_POWER) * TIME_SCALE + TIME_OFFSET


def float_images(images: Tensor) -> Tensor:
    """uint8 [B, C, h, w, 3] -> float [B, C, 3, h, w] in [-1, 1], channels-last in memory."""
    return images.permute(0, 1, 4, 2, 3).to(torch.float32).mul_(2.0 / 255.0).sub_(1.0)


def check_images(images: FrameArray, image_size: int) -> None:
    """ConfigError unless frames [..., h, w, 3] have the network's size."""
    if images.shape[-3:] != (image_size, image_size, 3):
        raise ConfigError(
            f"pi05: frames of shape {images.shape[-3:]}, expected ({image_size}, {image_size}, 3)",
            hint=f"letterbox them to {image_size} (FrameCache.view(image_size=...)), or set network.image_size",
        )
