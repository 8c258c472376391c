"""Published weights of SigLIP and of Gemma 3, from folders in transformers' layout.

Owns what such folders may have otherwise: the tensors of a model around the one that is read, under a prefix, and the
settings of it within config.json. What no checkpoint has (projector, state, query, head) keeps its start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3TextConfig, PreTrainedConfig, SiglipVisionConfig

from recap.errors import ConfigError
from recap.hub import located
from recap.training.safetensor_files import Stored, differences, fill, mismatch, shapes_of, stored_tensors, weight_files
from value_model.direct import Inputs
from value_model.models.vlm.config import VlmConfig
from value_model.models.vlm.model import VlmNetwork, language_model, vision_tower


@dataclass(frozen=True, kw_only=True, slots=True)
class _Published:
    """One of the two models as others publish it."""

    setting: str
    """Of its folder."""
    inside: str
    """Key of its settings in the config.json of a model around it."""
    config: type[PreTrainedConfig]
    anchor: str
    """A tensor that it always has."""
    prefixes: tuple[str, ...]
    """What may stand before its names."""
    unread: tuple[str, ...]
    """Patterns of its own tensors that are not used here."""
    decides: tuple[str, ...]
    """Settings that decide what it computes, whatever the shapes."""


VISION = _Published(
    setting="vision_start",
    inside="vision_config",
    config=SiglipVisionConfig,
    anchor="vision_model.embeddings.patch_embedding.weight",
    prefixes=("", "vision_tower.", "model.vision_tower."),
    unread=("vision_model.head.*",),
    decides=("num_attention_heads", "image_size", "patch_size", "hidden_act", "layer_norm_eps"),
)
TEXT = _Published(
    setting="text_start",
    inside="text_config",
    config=Gemma3TextConfig,
    anchor="embed_tokens.weight",
    prefixes=("", "model.", "language_model.model.", "model.language_model."),
    unread=(),
    decides=(
        *("num_attention_heads", "num_key_value_heads", "head_dim", "query_pre_attn_scalar", "layer_types"),
        *("rope_parameters", "rms_norm_eps", "hidden_activation", "attn_logit_softcapping"),
        "use_bidirectional_attention",
    ),
)
_AROUND = (
    "text_model.*",
    "logit_scale",
    "logit_bias",
    "*vision_tower.*",
    "*multi_modal_projector.*",
    "*lm_head.weight",
)
"""Patterns of what lies around either model in a checkpoint."""


def starting(config: VlmConfig, inputs: Inputs) -> VlmNetwork:
    """The network before its first step, from published weights where the settings name them."""
    network = VlmNetwork(config, inputs)
    if config.vision_start:
        fill(network.vision, _check(VISION, network.vision, config))
        fill(network.language, _check(TEXT, network.language, config))
    return network


def check_weights(config: VlmConfig) -> None:
    """Raises as `starting`, from config.json and the headers of the files alone.

    Raises:
        ArtifactCorrupt: a file that cannot be read.
        ConfigError: weights of other models or sizes, or none.
    """
    assert config.image_size is not None, "check asks for it"
    with torch.device("meta"):
        vision, language = vision_tower(config.vision, config.image_size), language_model(config.language)
    _check(VISION, vision, config)
    _check(TEXT, language, config)


def _check(published: _Published, network: Any, config: VlmConfig) -> Mapping[str, Stored]:
    """Where each tensor of the network is stored."""
    folder = located(getattr(config, published.setting))
    found = stored_tensors(weight_files(folder, "model.safetensors"))
    prefix = next((one for one in published.prefixes if one + published.anchor in found), published.prefixes[0])
    there = {name.removeprefix(prefix): stored for name, stored in found.items() if name.startswith(prefix)}
    wanted, others = shapes_of(network), found.keys() - {prefix + name for name in there}
    shapes = {name: stored.shape for name, stored in there.items()}
    around = {name: found[name].shape for name in others}
    lines = differences(wanted, shapes, prefix=prefix, unread=(*published.unread, *_AROUND))
    if lines := lines + differences({}, around, unread=_AROUND):
        raise ConfigError(
            mismatch(lines, where=folder, what=f"vlm ({published.setting})", named=12),
            hint="compare values.vlm.vision and values.vlm.language with the config.json of the weights",
        )
    given, own = _settings(published, folder), network.config
    for name in published.decides:
        if (got := getattr(given, name)) != (expected := getattr(own, name)):
            raise ConfigError(
                f"vlm: {folder / 'config.json'} says {name} = {got}, expected {expected}",
                hint="--set values.vlm.image_size=N   (that of the weights)"
                if name == "image_size"
                else "compare values.vlm.vision and values.vlm.language with the config.json of the weights",
            )
    return {name: there[name] for name in wanted}


def _settings(published: _Published, folder: Path) -> Any:
    try:
        stored = json.loads((folder / "config.json").read_bytes())
        return published.config.from_dict(stored.get(published.inside, stored))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"vlm: {published.setting} {folder}: no config.json of transformers there ({error})",
            hint="name a folder as transformers' save_pretrained leaves it",
        ) from error
