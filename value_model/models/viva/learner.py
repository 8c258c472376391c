"""The transformer with its flow-matching loss: what the fit loop trains.

    z_tau = (1 - tau) z0 + tau z1,  z1 ~ N(0, 1),  velocity target z1 - z0
    L = 0.5 * MSE(future state frame) + 1.0 * MSE(value frame)        (ViVa, section 3)

One noise level and one noise sample for both targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recap.training.augment import sample_shifts, shift_images
from recap.training.fit import LossModule
from value_model.models.viva.config import VivaConfig
from value_model.models.viva.encoder import Encoder
from value_model.models.viva.frames import Layout, StateRange, clean_frames, target_frames
from value_model.models.viva.model import velocity


class VivaLearner(LossModule):
    """Network + loss. Only the transformer is trained; the encoder lies where it was put before."""

    prompts: Tensor
    low: Tensor
    high: Tensor

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
        self._layout, self._config = layout, config
        self.register_buffer("prompts", torch.stack(list(prompts)), persistent=False)
        self.register_buffer("low", state_range.low, persistent=False)
        self.register_buffer("high", state_range.high, persistent=False)

    def layers(self) -> Sequence[nn.Module]:
        """The transformer's blocks."""
        return tuple(self.transformer.get_submodule("blocks").children())

    def prepare(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """Adds image shifts, noise levels and noise.

        Args:
            batch: images [B, V, h, w, 3] uint8, or latents [B, V, C, H, W]; state and ahead [B, S] (q_t, q_{t+K});
                value [B] in [-1, 0]; prompt [B], a number into the embeddings.
            generator: of what is added.
        """
        rows, layout, config = super().prepare(batch, generator), self._layout, self._config
        count = len(rows["value"])
        if "images" in rows and config.shift_pixels:
            rows["shifts"] = sample_shifts(count, config.shift_pixels, generator)
        rows["tau"] = sample_tau(count, config.noise_shift, generator)
        shape = (count, layout.channels, layout.noisy, layout.height, layout.width)
        rows["noise"] = torch.randn(shape, generator=generator)
        return rows

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum of both errors, and each of them."""
        layout, config = self._layout, self._config
        if "latents" in rows:
            views = rows["latents"].float()
        else:
            images = shift_images(rows["images"], rows["shifts"]) if "shifts" in rows else rows["images"]
            views = self._encoder[0](images)
        state_range = StateRange(low=self.low, high=self.high)
        clean = clean_frames(state_range.apply(rows["state"]), views, layout)
        target = target_frames(state_range.apply(rows["ahead"]), rows["value"], layout)
        tau, noise = rows["tau"], rows["noise"]
        level = tau[:, None, None, None, None]
        text = self.prompts[rows["prompt"]]
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
