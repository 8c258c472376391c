"""What the LeRobot policy classes of recap share: PI05Policy's interface over a network of recap.

For LeRobot's own tools (evaluation, its trainer); recap itself acts and trains without importing this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lerobot.policies.common.flow_matching import sample_noise, sample_time_beta
from lerobot.policies.pi05.modeling_pi05 import PI05Policy
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION, OBS_LANGUAGE_ATTENTION_MASK, OBS_LANGUAGE_TOKENS
from torch import Tensor

from data.resize import letterbox
from policy.conditioning import code_of, shares_of
from policy.flow.learner import masked_mean
from policy.flow.lerobot.config import FlowPolicyConfig
from policy.flow.network import FlowNetwork, Prefix
from policy.flow.prompt import without_condition
from policy.flow.vocabulary import PAD


class Core(FlowNetwork):
    """A network under the calls that PI05Policy makes of its model. Subclassed with the network of a family."""

    def __init__(self, config: FlowPolicyConfig) -> None:
        super().__init__(config.network)
        self.config = config

    def sample_noise(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        result: Tensor = sample_noise(shape, device)
        return result

    def sample_time(self, bsize: int, device: torch.device) -> Tensor:
        config = self.config
        result: Tensor = sample_time_beta(
            bsize,
            device,
            alpha=config.time_sampling_beta_alpha,
            beta=config.time_sampling_beta_beta,
            scale=config.time_sampling_scale,
            offset=config.time_sampling_offset,
        )
        return result

    def forward(
        self,
        images: list[Tensor],
        img_masks: list[Tensor],
        tokens: Tensor,
        masks: Tensor,
        actions: Tensor,
        noise: Tensor,
        time: Tensor,
    ) -> Tensor:
        """Squared velocity errors [B, H, A], one draw per observation."""
        at = time[:, None, None]
        noisy = at * noise + (1 - at) * actions
        told = None
        if self.condition is not None:
            codes = np.full(len(tokens), code_of(self.config.condition))
            told = torch.from_numpy(shares_of(codes)).to(tokens.device)
        prefix = self._prefix(images, img_masks, tokens, masks)
        velocity = self.velocity(prefix, noisy[:, None], time[:, None], told)
        return (noise - actions - velocity[:, 0]).square()

    @torch.no_grad()
    def sample_actions(
        self,
        images: list[Tensor],
        img_masks: list[Tensor],
        tokens: Tensor,
        masks: Tensor,
        noise: Tensor | None = None,
        num_steps: int | None = None,
    ) -> Tensor:
        """[B, H, A] normalised actions, by the mixed flow where the config's guidance is not 1."""
        config = self.config
        if noise is None:
            shape = (len(tokens), config.chunk_size, config.max_action_dim)
            noise = self.sample_noise(shape, tokens.device)
        noise = config.noise_scale * noise
        steps = num_steps or config.num_inference_steps
        if config.guidance == 1.0 or config.network.condition == "embedding":
            prefix = self._prefix(images, img_masks, tokens, masks)
            return self.sample(prefix, noise[:, None], steps, guidance=config.guidance, condition=config.condition)[
                :, 0
            ]
        lengths = masks.sum(1).cpu().numpy()
        tails = config.prompt_tails or self.form.tails(config.condition)
        plain = torch.from_numpy(without_condition(tokens.cpu().numpy(), lengths, tails))
        tokens = torch.cat([tokens, plain.to(tokens.device)])
        features, seen = self.embed_images(torch.stack(images, dim=1)), torch.stack(img_masks, dim=1)
        prefix = self.prefix_after(
            torch.cat([features, features]),
            tokens,
            image_valid=torch.cat([seen, seen]),
            token_valid=tokens != PAD,
        )
        return self.sample(prefix, noise[:, None], steps, guidance=config.guidance, condition=config.condition)[:, 0]

    def _prefix(self, images: list[Tensor], img_masks: list[Tensor], tokens: Tensor, masks: Tensor) -> Prefix:
        return self.prefix(
            torch.stack(images, dim=1), tokens, image_valid=torch.stack(img_masks, dim=1), token_valid=masks.bool()
        )


class FlowPolicy(PI05Policy):
    """A policy of recap, of any size. Subclassed with its type's name, config class and core.

    Differs from PI05Policy in four ways: padded actions do not count in the loss, pictures of another size are scaled
    as recap does it, a folder that does not fit is an error (PI05Policy prints a warning and returns untrained
    weights), and RTC is not offered.
    """

    core: ClassVar[type[Core]]

    def __init__(self, config: FlowPolicyConfig, **kwargs: Any) -> None:
        PreTrainedPolicy.__init__(self, config)
        config.validate_features()
        self.config = config
        self.rtc_processor = None
        if config.rtc_config is not None:
            raise ValueError(f"{self.name} has no real-time chunking: leave rtc_config empty")
        self.model = self.core(config)
        self.model.to(config.device)
        self.reset()

    def supports_rtc(self) -> bool:
        return False

    @classmethod
    def from_pretrained(
        cls, pretrained_name_or_path: str | Path, *, config: Any = None, strict: bool = True, **kwargs: Any
    ) -> FlowPolicy:
        """Loads a folder; missing or unexpected weights are an error."""
        load = PreTrainedPolicy.from_pretrained.__func__
        result: FlowPolicy = load(cls, pretrained_name_or_path, config=config, strict=strict, **kwargs)
        return result

    def forward(self, batch: dict[str, Tensor], reduction: str = "mean") -> tuple[Tensor, dict[str, Any]]:
        """LeRobot's training call: (loss, figures). Actions marked in `action_is_pad` do not count."""
        images, img_masks = self._preprocess_images(batch)
        actions = self.prepare_action(batch)
        noise = self.model.sample_noise(actions.shape, actions.device)
        time = self.model.sample_time(actions.shape[0], actions.device)
        losses = self.model(
            images,
            img_masks,
            batch[OBS_LANGUAGE_TOKENS],
            batch[OBS_LANGUAGE_ATTENTION_MASK],
            actions,
            noise,
            time,
        )[:, :, : self.config.output_features[ACTION].shape[0]]
        pad = batch.get("action_is_pad")
        real = torch.ones(losses.shape[:2], dtype=torch.bool, device=losses.device) if pad is None else ~pad
        if reduction == "none":
            weight = real[..., None].to(losses.dtype)
            per_sample = (losses * weight).sum((1, 2)) / (weight.sum((1, 2)) * losses.shape[2])
            return per_sample, {"loss": per_sample.mean().item()}
        loss = masked_mean(losses[:, None], real)
        return loss, {"loss": loss.item()}

    def _preprocess_images(self, batch: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        size = self.config.network.image_size
        seen = {name: _letterboxed(batch[name], size) for name in self.config.image_features if name in batch}
        result: tuple[list[Tensor], list[Tensor]] = super()._preprocess_images({**batch, **seen})
        return result


def _letterboxed(images: Tensor, size: int) -> Tensor:
    """[B, 3, h, w] in [0, 1] -> [B, 3, size, size], by the pixels that recap trains and acts on."""
    if images.shape[-2:] == (size, size):
        return images
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    scaled = torch.from_numpy(letterbox(pixels, size, size)).to(images.device)
    return scaled.permute(0, 3, 1, 2).to(images.dtype) / 255
