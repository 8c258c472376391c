"""The network: diffusers' Wan video transformer over the frames of one observation.

Owns its construction, its starting weights and the one call that hides diffusers. Knows no data and no loss.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from value_model.models.viva.config import TransformerSizes

TIME_SCALE = 1000.0
"""Wan counts noise levels 0..1000."""


def transformer_settings(sizes: TransformerSizes, channels: int) -> dict[str, Any]:
    """Arguments of WanTransformer3DModel."""
    return {
        "patch_size": (1, sizes.patch, sizes.patch),
        "num_attention_heads": sizes.heads,
        "attention_head_dim": sizes.head_dim,
        "in_channels": channels,
        "out_channels": channels,
        "text_dim": sizes.text_dim,
        "freq_dim": sizes.freq_dim,
        "ffn_dim": sizes.ffn_dim,
        "num_layers": sizes.layers,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
    }


def build_transformer(sizes: TransformerSizes, channels: int) -> Any:
    """The transformer with diffusers' own starting weights, on the current torch device."""
    return WanTransformer3DModel(**transformer_settings(sizes, channels))


def initialise(transformer: Any, *, seed: int) -> None:
    """Starting weights for training from scratch, as a pure function of `seed`.

    The patch embedding is orthogonal and the output its transpose, so that the network starts out passing the noise
    on: most of the velocity (noise - z0) is noise, and a small network has no steps to spend on learning to copy it.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in transformer.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0.0, 1 / math.sqrt(module.in_features), generator=generator)
                module.bias.zero_()
        embedding, output = transformer.patch_embedding, transformer.proj_out
        assert isinstance(embedding, nn.Conv3d)
        assert isinstance(output, nn.Linear)
        width, channels = embedding.weight.shape[:2]
        cells = math.prod(embedding.kernel_size)
        basis = torch.empty(width, channels * cells)
        nn.init.orthogonal_(basis, generator=generator)
        embedding.weight.copy_(basis.reshape_as(embedding.weight))
        assert embedding.bias is not None
        embedding.bias.zero_()
        # Output channels vary fastest in proj_out, input channels slowest in the convolution. The last norm brings
        # noise of unit cells to length sqrt(width); the gain undoes it.
        gain = math.sqrt(channels * cells / width)
        output.weight.copy_(gain * basis.reshape(width, channels, cells).permute(2, 1, 0).reshape_as(output.weight))
        output.bias.zero_()
        for block in transformer.blocks:
            table = block.scale_shift_table
            table.zero_()
            table[:, [2, 5]] = 0.2
        transformer.scale_shift_table.zero_()
        # The last norm is modulated by this output itself: near zero, or it would drown the noise passed on.
        transformer.condition_embedder.time_embedder.linear_2.weight.mul_(0.1)
        transformer.condition_embedder.time_proj.weight.mul_(0.2)


def velocity(transformer: nn.Module, clean: Tensor, noisy: Tensor, tau: Tensor, text: Tensor) -> Tensor:
    """The predicted z1 - z0 of the noisy frames.

    Args:
        transformer: WanTransformer3DModel.
        clean: [B, C, Fc, H, W] conditioning; takes the first places of the sequence.
        noisy: [B, C, Fn, H, W] frames at noise level `tau`.
        tau: [B] in [0, 1], shared by all tokens, clean ones included.
        text: [B, L, D] prompt.

    Returns:
        [B, C, Fn, H, W]
    """
    sequence = torch.cat([clean, noisy], dim=2)
    (out,) = transformer(sequence, tau * TIME_SCALE, text, return_dict=False)
    return out[:, :, clean.shape[2] :]  # type: ignore[no-any-return]
