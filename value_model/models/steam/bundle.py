"""The bundle: a folder with all that labelling needs.

value.json              family, configuration, sizes, cameras, prompts, libraries
weights.safetensors     the ensemble, and the range of the states
goals.safetensors       final frames of successes: images, states, the number of their prompt
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from recap.config import from_json, to_json
from recap.errors import ArtifactCorrupt, RecapError
from value_model.bundle import check_tensors, fresh_bundle, read_description, write_description
from value_model.models.steam.config import SteamConfig
from value_model.models.steam.model import Ensemble, Inputs

_LIBRARIES = ("torch", "numpy", "recap-rl")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Goals:
    """G final frames of successful training episodes."""

    images: Tensor
    """[G, V, h, w, 3] uint8."""
    state: Tensor
    """[G, S]"""
    prompt: Tensor
    """[G] number of the instruction."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Parts:
    """A trained STEAM ensemble, in memory."""

    config: SteamConfig
    inputs: Inputs
    views: tuple[str, ...]
    """Cameras in the order in which they are read."""
    ensemble: Ensemble
    prompts: tuple[str, ...]
    """P instructions of the training data, by number."""
    goals: Goals


def write_bundle(path: Path, parts: Parts) -> None:
    """Writes the folder; what lay there is gone. Nothing is renamed: the caller commits it."""
    fresh_bundle(path)
    _save(parts.ensemble.state_dict(), path / "weights.safetensors")
    _save({name: getattr(parts.goals, name) for name in ("images", "state", "prompt")}, path / "goals.safetensors")
    write_description(
        path,
        "steam",
        config=to_json(parts.config),
        inputs=asdict(parts.inputs),
        views=list(parts.views),
        prompts=list(parts.prompts),
        libraries={name: version(name) for name in _LIBRARIES},
    )


def read_bundle(path: Path) -> Parts:
    """Reads `write_bundle` back.

    Raises:
        ArtifactCorrupt: a file is missing or does not fit the others; weights of another network by their names.
    """
    try:
        raw = read_description(path, family="steam")
        config = from_json(SteamConfig, raw["config"])
        inputs = Inputs(**raw["inputs"])
        ensemble = Ensemble(config.sizes, inputs, members=config.members, bins=config.bins, seed=0)
        weights = load_file(path / "weights.safetensors")
        check_tensors(path, weights, ensemble.state_dict())
        ensemble.load_state_dict(weights)
        goals = Goals(**load_file(path / "goals.safetensors"))
        expected = (inputs.views, inputs.height, inputs.width, 3)
        if tuple(goals.images.shape[1:]) != expected or goals.state.shape[1] != inputs.state_dim:
            raise ArtifactCorrupt(f"value bundle {path}: goals of shape {tuple(goals.images.shape)}, not {expected}")
        return Parts(
            config=config,
            inputs=inputs,
            views=tuple(raw["views"]),
            ensemble=ensemble.eval(),
            prompts=tuple(raw["prompts"]),
            goals=goals,
        )
    except RecapError:
        raise
    except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
        raise ArtifactCorrupt(f"value bundle {path}: unreadable ({type(error).__name__}: {error})") from error


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
