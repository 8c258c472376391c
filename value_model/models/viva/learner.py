"""The transformer with its flow-matching loss: what the fit loop trains.

    z_tau = (1 - tau) z0 + tau z1,  z1 ~ N(0, 1),  velocity target z1 - z0
    L = 0.5 * MSE(future state frame) + 1.0 * MSE(value frame)        (ViVa, section 3)

One noise level and one noise sample for both targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recap.training.augment import shift_images
from recap.training.fit import LossModule
from value_model.models.viva.config import VivaConfig
from value_model.models.viva.encoder import Encoder
from value_model.models.viva.frames import Layout, StateRange, clean_frames, target_frames
from value_model.models.viva.model import velocity


class VivaLearner(LossModule):
    """Network + loss. Only the transformer is trained."""

    def __init__(
        self,
        transformer: nn.Module,
        encoder: Encoder,
        layout: Layout,
        state_range: StateRange,
        prompts: Sequence[Tensor],
        config: VivaConfig,
    ) -> None:
        """Takes the prompt embeddings [L, D] that batches refer to by number."""
        super().__init__()
        self.transformer = transformer
        # Not a submodule: the loop must neither train nor checkpoint it.
        self._encoder = [encoder]
        self._prompts = torch.stack(list(prompts))
        self._layout, self._range, self._config = layout, state_range, config

    def forward(self, batch: Mapping[str, Any], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of both errors.

        Args:
            batch: images [B, V, h, w, 3] uint8, or latents [B, V, C, H, W]; state and ahead [B, S] (q_t, q_{t+K});
                value [B] in [-1, 0]; prompt [B], a number into the embeddings.
            generator: of image shifts, noise levels and noise.
        """
        layout, config = self._layout, self._config
        if "latents" in batch:
            views = torch.from_numpy(np.asarray(batch["latents"], dtype=np.float32))
        else:
            images = torch.from_numpy(np.asarray(batch["images"]))
            if config.shift_pixels:
                images = shift_images(images, config.shift_pixels, generator)
            views = self._encoder[0](images)
        state, ahead, value = (torch.from_numpy(np.asarray(batch[name])) for name in ("state", "ahead", "value"))
        clean = clean_frames(self._range.apply(state), views, layout)
        target = target_frames(self._range.apply(ahead), value, layout)
        tau = sample_tau(len(value), config.noise_shift, generator)
        noise = torch.randn(target.shape, generator=generator)
        level = tau[:, None, None, None, None]
        text = self._prompts[torch.from_numpy(np.asarray(batch["prompt"]))]
        out = velocity(self.transformer, clean, (1 - level) * target + level * noise, tau, text)
        errors = (out - (noise - target)).square().mean(dim=(0, 1, 3, 4))
        loss = config.weight_value * errors[-1]
        parts = {"value_error": errors[-1]}
        if layout.future_state:
            loss = loss + config.weight_state * errors[0]
            parts["state_error"] = errors[0]
        return loss, parts


def sample_tau(count: int, shift: float, generator: torch.Generator) -> Tensor:
    """[count] noise levels: u ~ U(0, 1), tau = shift u / (1 + (shift - 1) u); shift 1 is uniform."""
    uniform = torch.rand(count, generator=generator)
    return shift * uniform / (1 + (shift - 1) * uniform)
