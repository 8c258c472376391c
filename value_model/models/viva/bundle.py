"""The bundle: a folder with all that labelling needs.

    value.json                 family, configuration, layout, cameras, prompts, libraries
    transformer/               diffusers' own layout: config.json and weights
    numbers.safetensors        state range, prompt embeddings, linear encoder

A pretrained image autoencoder is not copied: it stays where `encoder.folder` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recap.config import from_json, to_json
from recap.errors import ArtifactCorrupt, ConfigError, RecapError
from value_model.bundle import read_description, write_description
from value_model.models.viva.config import VivaConfig
from value_model.models.viva.encoder import Encoder, restore_encoder
from value_model.models.viva.frames import Layout, StateRange

_LIBRARIES = ("torch", "diffusers", "numpy", "recap-rl")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parts:
    """A trained ViVa, in memory."""

    config: VivaConfig
    layout: Layout
    views: tuple[str, ...]
    """Cameras in the order of their latent frames."""
    image_size: tuple[int, int]
    """(h, w) in pixels."""
    transformer: nn.Module
    encoder: Encoder
    state_range: StateRange
    prompts: Mapping[str, Tensor]
    """{prompt: [L, D]} of the training data."""


def write_bundle(path: Path, parts: Parts) -> None:
    """Writes the folder. Nothing is renamed: the caller commits it."""
    path.mkdir(parents=True)
    parts.transformer.save_pretrained(path / "transformer")  # type: ignore[operator]
    prompts = sorted(parts.prompts)
    numbers = {
        "state.low": parts.state_range.low,
        "state.high": parts.state_range.high,
        "prompts": torch.stack([parts.prompts[prompt] for prompt in prompts]),
        **{f"encoder.{name}": value for name, value in parts.encoder.tensors().items()},
    }
    save_file({name: value.detach().contiguous() for name, value in numbers.items()}, path / "numbers.safetensors")
    write_description(
        path,
        "viva",
        config=to_json(parts.config),
        layout=asdict(parts.layout),
        views=list(parts.views),
        image_size=list(parts.image_size),
        encoder=parts.encoder.identity,
        prompts=prompts,
        libraries={name: version(name) for name in _LIBRARIES},
    )


def read_bundle(path: Path) -> Parts:
    """Reads `write_bundle` back.

    Raises:
        ArtifactCorrupt: a file is missing or does not fit the others.
    """
    try:
        raw = read_description(path, family="viva")
        numbers = load_file(path / "numbers.safetensors")
        transformer, facts = WanTransformer3DModel.from_pretrained(
            path / "transformer", local_files_only=True, output_loading_info=True
        )
        wrong = sorted(facts["missing_keys"]) + sorted(facts["unexpected_keys"])
        if wrong or facts["mismatched_keys"]:
            raise ArtifactCorrupt(f"value bundle {path}: weights do not fit: {wrong or facts['mismatched_keys']}")
        config = from_json(VivaConfig, raw["config"])
        tensors = {name.removeprefix("encoder."): value for name, value in numbers.items() if "encoder." in name}
        encoder = restore_encoder(config.encoder, tensors, where=f"value bundle {path}")
        if encoder.identity != raw["encoder"]:
            raise ConfigError(
                f"value bundle {path}: trained with another encoder than lies in {config.encoder.folder or 'it'}",
                hint="put the one it was trained with back there",
            )
        return Parts(
            config=config,
            layout=Layout(**raw["layout"]),
            views=tuple(raw["views"]),
            image_size=(int(raw["image_size"][0]), int(raw["image_size"][1])),
            transformer=transformer.eval(),
            encoder=encoder,
            state_range=StateRange(low=numbers["state.low"], high=numbers["state.high"]),
            prompts=dict(zip(raw["prompts"], numbers["prompts"], strict=True)),
        )
    except RecapError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactCorrupt(f"value bundle {path}: unreadable ({type(error).__name__}: {error})") from error
