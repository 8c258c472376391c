"""What a ViVa training needs, computed without doing it and without any file that it would start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from recap.hub import located
from recap.specs import RobotSpec
from recap.training.needs import Needs, training_needs
from recap.training.runtime import Runtime
from value_model.models.viva.checks import image_size
from value_model.models.viva.config import EncoderConfig, VivaConfig
from value_model.models.viva.encoder import LinearEncoder
from value_model.models.viva.frames import Layout, StateRange
from value_model.models.viva.learner import VivaLearner
from value_model.models.viva.model import build_transformer
from value_model.views import largest, view_positions

WAN22_VAE: Mapping[str, Any] = {
    "base_dim": 160, "decoder_base_dim": 256, "z_dim": 48, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
    "temperal_downsample": [False, True, True], "is_residual": True, "in_channels": 12, "out_channels": 12,
    "patch_size": 2, "scale_factor_temporal": 4, "scale_factor_spatial": 16, "latents_mean": [0.0] * 48,
    "latents_std": [1.0] * 48,
}  # fmt: skip
"""Sizes of Wan2.2's AutoencoderKLWan; its latents' own figures are not among them."""


def needs(config: VivaConfig, *, robot: RobotSpec, runtime: Runtime) -> Needs:
    """What one gradient step takes; latents are those of the cache where pictures are not shifted."""
    encoder, sizes = config.encoder, config.transformer
    views = len(view_positions(robot.camera_names, config.views, family="viva"))
    height, width = image_size(config, *largest(robot))
    cells, states = encoder.patch_pixels, len(robot.state_names)
    layout = Layout(
        views=views,
        channels=encoder.channels,
        height=height // cells,
        width=width // cells,
        state_dim=states,
        future_state=config.use_future_state,
    )
    with torch.device("meta"):
        transformer = build_transformer(sizes, encoder.channels)
        seer = LinearEncoder(
            torch.empty(encoder.channels, 3 * cells**2), torch.empty(encoder.channels), patch_pixels=cells
        )
    unit = StateRange(low=-torch.ones(states), high=torch.ones(states))
    prompt = torch.zeros(sizes.text_tokens, sizes.text_dim)
    learner = VivaLearner(transformer, seer, layout, unit, [prompt], config)
    count = config.batch_size
    batch = {
        "state": torch.zeros(count, states),
        "ahead": torch.zeros(count, states),
        "value": torch.zeros(count),
        "prompt": torch.zeros(count, dtype=torch.long),
    }
    if config.shift_pixels:
        batch["images"] = torch.zeros(count, views, height, width, 3, dtype=torch.uint8)
    else:
        batch["latents"] = torch.zeros(count, views, encoder.channels, layout.height, layout.width)
    on_device = [seer, _vae(encoder)] if encoder.kind == "wan_vae" else [seer]
    rows = learner.prepare(batch, torch.Generator().manual_seed(0))
    return training_needs(learner, rows, runtime, beside=on_device)


def _vae(config: EncoderConfig) -> nn.Module:
    """The autoencoder of a folder, or Wan2.2's where none is named, on the meta device: only its size is asked for."""
    from diffusers import AutoencoderKLWan

    settings: Mapping[str, Any] = WAN22_VAE
    if config.folder:
        settings = AutoencoderKLWan.load_config(located(config.folder), local_files_only=True)
    with torch.device("meta"):
        made: nn.Module = AutoencoderKLWan.from_config(settings)
    return made
