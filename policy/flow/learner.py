"""A network of prefix and action expert with its flow-matching loss: what the fit loop trains.

Owns how a raw batch becomes network inputs and what the loss is. Several (time, noise) draws per observation share
one prefix; actions past the end of an episode do not count (LeRobot's loss trains on them). An advantage condition
changes the words of the sample's prompt, or what is added to the expert's time condition, and nothing else: weight,
noise and targets are those of the sample without.

Letters: B observations, K draws, H action steps, A real action dimensions, F padded action width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from policy.conditioning import shares_of
from policy.flow.network import FlowNetwork
from policy.flow.scaling import PolicyStats
from recap.errors import ConfigError
from recap.training.augment import sample_shifts, shift_images
from recap.training.fit import LossModule
from recap.types import BoolArray, FrameArray

TIME_POWER, TIME_SCALE, TIME_OFFSET = 1.5, 0.999, 0.001
"""t ~ Beta(1.5, 1) * 0.999 + 0.001 (openpi). Beta(a, 1) is u ** (1 / a)."""


class FlowLearner(LossModule):
    """Network + loss."""

    def __init__(
        self, network: FlowNetwork, *, prompts: Sequence[str], stats: PolicyStats, draws: int, shift_pixels: int
    ) -> None:
        super().__init__()
        self.network = network
        self.prompts = tuple(prompts)
        self.stats = stats
        self.draws = draws
        self.shift_pixels = shift_pixels

    def layers(self) -> Sequence[nn.Module]:
        """Of the image tower, of the prefix and of the action expert."""
        return self.network.paligemma_with_expert.all_layers

    def prepare(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """Tokens of the prompts, normalised actions, and what is drawn: image shifts, times and noise.

        Args:
            batch: images [B, C, h, w, 3] uint8, state [B, S], action [B, H, A] (relative where configured),
                action_is_pad [B, H] bool; optional condition [B] (codes of policy.conditioning.Condition), level [B]
                (of the condition, in [-1, 1]), weight [B] (of the loss) and prompt [B] (which of `prompts`; without
                it the first).
            generator: of the draws.
        """
        rows = {"images": torch.from_numpy(np.asarray(batch["images"]))}
        count = len(rows["images"])
        if self.shift_pixels:
            rows["shifts"] = sample_shifts(count, self.shift_pixels, generator)
        tokens, written = self._prompt(batch)
        rows["tokens"] = torch.from_numpy(tokens)
        if written is not None:
            rows["written"] = torch.from_numpy(written)
        if self.network.condition is not None and "condition" in batch:
            rows["told"] = torch.from_numpy(shares_of(np.asarray(batch["condition"]), batch.get("level")))
        if "weight" in batch:
            rows["weight"] = torch.from_numpy(np.asarray(batch["weight"], np.float32))
        rows["action"] = torch.from_numpy(self.stats.action.apply(np.asarray(batch["action"])))
        rows["real"] = ~torch.from_numpy(np.asarray(batch["action_is_pad"]))
        rows["time"] = sample_times(count, self.draws, generator)
        shape = (count, self.draws, rows["action"].shape[1], self.network.sizes.action_dim)
        rows["noise"] = torch.randn(shape, generator=generator)
        return rows

    def row_weights(self, rows: Mapping[str, Tensor]) -> Tensor:
        """[B] real actions of each sample."""
        return rows["real"].sum(1)

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the velocity over real actions, each times its sample's weight; `rows` of `prepare`."""
        images, action = rows["images"], rows["action"]
        if "shifts" in rows:
            images = shift_images(images, rows["shifts"])
        padded = F.pad(action, (0, self.network.sizes.action_dim - action.shape[-1]))
        losses = self.losses(
            float_images(images),
            rows["tokens"],
            padded,
            rows["noise"],
            rows["time"],
            token_valid=rows.get("written"),
            told_B2=rows.get("told"),
        )
        losses = losses[..., : action.shape[-1]]
        if "weight" in rows:
            # Not divided by the batch's sum of weights: a batch of bad samples is to move little.
            losses = losses * rows["weight"][:, None, None, None]
        return masked_mean(losses, rows["real"]), {}

    def losses(
        self,
        images: Tensor,
        tokens: Tensor,
        action_BHF: Tensor,  # noqa: N803
        noise_BKHF: Tensor,  # noqa: N803
        time_BK: Tensor,  # noqa: N803
        *,
        token_valid: Tensor | None = None,
        told_B2: Tensor | None = None,  # noqa: N803
    ) -> Tensor:
        """Squared velocity errors [B, K, H, F], no action masked.

        `token_valid` [B, T] where prompts are padded; `told_B2` shares of conditions that enter by an embedding.
        """
        time = time_BK[..., None, None]
        action = action_BHF[:, None]
        prefix = self.network.prefix(images, tokens, token_valid=token_valid)
        velocity = self.network.velocity(prefix, time * noise_BKHF + (1 - time) * action, time_BK, told_B2)
        return (velocity - (noise_BKHF - action)).square()

    def _prompt(self, batch: Mapping[str, Any]) -> tuple[NDArray[np.int64], BoolArray | None]:
        state = self.stats.state.apply(np.asarray(batch["state"]))
        same = np.zeros(len(state), np.int64)
        which, condition = (np.asarray(batch.get(field, same)) for field in ("prompt", "condition"))
        if self.network.sizes.condition == "embedding":
            condition = same
        return self.network.form.mixed_tokens(self.prompts, which, state, condition)


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


def check_images(family: str, images: FrameArray, image_size: int) -> None:
    """ConfigError unless frames [..., h, w, 3] have the network's size."""
    if images.shape[-3:] != (image_size, image_size, 3):
        raise ConfigError(
            f"{family}: frames of shape {images.shape[-3:]}, expected ({image_size}, {image_size}, 3)",
            hint=f"letterbox them to {image_size} (FrameCache.view(image_size=...)), or set network.image_size",
        )
