"""Published weights into the transformer: diffusers' layout, or the names of the original Wan / ViVa code.

Owns the translation of names. Nothing is loaded partly: a missing, unknown or misshapen tensor is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from recap.errors import ArtifactCorrupt, ConfigError
from recap.training.safetensor_files import (
    Stored,
    differences,
    fill,
    mismatch,
    shapes_of,
    stored_tensors,
    weight_files,
)

PREFIX = "video_model.wan_model."
_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
_TOP = {
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "patch_embedding": "patch_embedding",
    "head.head": "proj_out",
}
_BLOCK = {
    "self_attn": "attn1",
    "cross_attn": "attn2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    # The original numbers its norms by kind, diffusers by place: norm3 is the one before cross-attention.
    "norm3": "norm2",
}


def diffusers_name(name: str) -> str:
    """The diffusers name of a tensor that the original code calls `name`, prefix or not.

    Raises:
        ArtifactCorrupt: no such tensor is known.

    Example:
        >>> diffusers_name("video_model.wan_model.blocks.3.self_attn.o.weight")
        'blocks.3.attn1.to_out.0.weight'
    """
    short = name.removeprefix(PREFIX)
    if short == "head.modulation":
        return "scale_shift_table"
    block = re.fullmatch(r"blocks\.(\d+)\.(.+)", short)
    if block is None:
        stem, _, kind = short.rpartition(".")
        if stem in _TOP:
            return f"{_TOP[stem]}.{kind}"
    else:
        number, inside = block.groups()
        if inside == "modulation":
            return f"blocks.{number}.scale_shift_table"
        stem, _, kind = inside.rpartition(".")
        owner, _, part = stem.partition(".")
        if owner in ("self_attn", "cross_attn") and part in _ATTENTION:
            return f"blocks.{number}.{_BLOCK[owner]}.{_ATTENTION[part]}.{kind}"
        if stem in _BLOCK:
            return f"blocks.{number}.{_BLOCK[stem]}.{kind}"
    raise ArtifactCorrupt(f"weights: tensor '{name}' has no place in a Wan transformer")


def from_original(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the original code under diffusers' names."""
    return {diffusers_name(name): value for name, value in weights.items()}


def load_weights(transformer: nn.Module, path: Path) -> None:
    """Fills `transformer` from a diffusers folder or from one safetensors file in either layout.

    Raises:
        ArtifactCorrupt: a file that cannot be read, or a tensor that no Wan transformer has.
        ConfigError: no weights there, of two checkpoints, or not those of this transformer.
    """
    fill(transformer, check_weights(transformer, path))


def check_weights(transformer: nn.Module, path: Path) -> dict[str, Stored]:
    """Where each tensor is stored, from headers alone; raises as `load_weights`. May be on the meta device."""
    files = [path] if path.is_file() else weight_files(path, "diffusion_pytorch_model.safetensors")
    wanted, there = shapes_of(transformer), stored_tensors(files)
    if not set(there) <= set(wanted):
        there = stored_tensors(files, diffusers_name)
    if lines := differences(wanted, {name: stored.shape for name, stored in there.items()}):
        raise ConfigError(
            mismatch(lines, where=path, what="viva"),
            hint="compare the transformer sizes of the configuration with those of the weights",
        )
    return there
