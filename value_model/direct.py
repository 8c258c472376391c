"""Value models that read the value straight off what is seen, without noise: the training and labelling they share.

A family brings a `DirectNetwork`, a loss and what its output means; here are its batches, the fit, the bundle and
labels in batches. A bundle is

    value.json             family, configuration, inputs, libraries
    network.safetensors    weights, and the range of the training states

Letters: B observations, V views, h x w pixels, S state dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from recap.config import content_settings, from_json, semantic_dict, to_json
from recap.contents import content_identity
from recap.errors import ArtifactCorrupt, ConfigError, RecapError
from recap.protocols import Journal
from recap.training.augment import sample_shifts, shift_images
from recap.training.config import FitConfig
from recap.training.fit import LossModule, fit
from recap.training.runtime import CPU, Runtime
from recap.types import FloatArray, IntArray
from value_model.bundle import check_tensors, fresh_bundle, read_description, write_description
from value_model.models import Experience, ValueData, training_rows
from value_model.models.viva.batches import ValueBatches
from value_model.models.viva.frames import StateRange
from value_model.views import view_positions

_WEIGHTS = "network.safetensors"


class DirectConfig(Protocol):
    """What the configuration of such a family has, beside what its network needs."""

    @property
    def views(self) -> tuple[str, ...]:
        """Cameras, in the order in which they are read; empty for all."""
        ...

    @property
    def shift_pixels(self) -> int:
        """Largest random shift of training images, each way."""
        ...

    @property
    def batch_size(self) -> int:
        """Frames per gradient step."""
        ...

    @property
    def fit(self) -> FitConfig:
        """How to optimise."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """What a network of such a family is given: it decides the sizes of the first layers."""

    views: tuple[str, ...]
    """V cameras, in order."""
    image_size: tuple[int, int]
    """(h, w) in pixels."""
    state_dim: int
    """S."""
    prompts: tuple[str, ...]
    """Instructions of the training data, sorted; a batch names them by number."""


class DirectNetwork(nn.Module):
    """A network from (images, state, instruction) to whatever its loss and its values are made of."""

    low: Tensor
    high: Tensor

    @property
    def layers(self) -> Sequence[nn.Module]:
        """Whose activations may be computed again (recap.training.recompute); none of a network that is shallow."""
        return ()

    @property
    def files(self) -> Mapping[str, bytes]:
        """{name: content} of what its bundle holds beside weights and description."""
        return {}

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self.register_buffer("low", -torch.ones(inputs.state_dim))
        self.register_buffer("high", torch.ones(inputs.state_dim))

    def normalised(self, state: Tensor) -> Tensor:
        """[B, S] in robot units -> [B, S], the range of the training states on [-1, 1]."""
        return StateRange(low=self.low, high=self.high).apply(state)

    def forward(self, images: Tensor, state: Tensor, prompt: Tensor) -> Tensor:
        """From images [B, V, h, w, 3] uint8, state [B, S] in robot units and the instruction's number [B]."""
        raise NotImplementedError

    def loss(self, out: Tensor, value: Tensor) -> Tensor:
        """Scalar, the mean over the batch, of what `forward` gave for frames of value [B]."""
        raise NotImplementedError

    def values(self, out: Tensor) -> Tensor:
        """[B] float32 values of what `forward` gave."""
        raise NotImplementedError


Build = Callable[[Any, Inputs], DirectNetwork]
"""build(config, inputs) -> the network, with starting weights from torch's global generator."""


class DirectLearner(LossModule):
    """A network with its loss; training images are shifted."""

    def __init__(self, network: DirectNetwork, shift_pixels: int) -> None:
        super().__init__()
        self.network, self._shift_pixels = network, shift_pixels

    def layers(self) -> Sequence[nn.Module]:
        """Those of the network."""
        return self.network.layers

    def prepare(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """Adds image shifts to images [B, V, h, w, 3], state [B, S], value [B] and the instruction's number [B]."""
        seen = {name: batch[name] for name in ("images", "state", "value", "prompt")}
        rows = super().prepare(seen, generator)
        if self._shift_pixels:
            rows["shifts"] = sample_shifts(len(rows["value"]), self._shift_pixels, generator)
        return rows

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The network's loss, and the mean squared error of its values."""
        images = shift_images(rows["images"], rows["shifts"]) if "shifts" in rows else rows["images"]
        out = self.network(images, rows["state"], rows["prompt"])
        error = (self.network.values(out.detach()) - rows["value"]).square().mean()
        return self.network.loss(out, rows["value"]), {"value_error": error}


class Direct:
    """A trained model; see ValueModel."""

    def __init__(self, family: str, network: DirectNetwork, inputs: Inputs, runtime: Runtime = CPU) -> None:
        self.family, self.network, self.inputs, self.runtime = family, network, inputs, runtime
        runtime.place(network)

    def label(self, data: Experience, episode: int, *, draws: int, noise_seed: int) -> tuple[FloatArray, FloatArray]:
        """See ValueModel.label: all frames in batches, no noise, so the spread is 0.

        Raises:
            ConfigError: the data has other cameras, image sizes, state dimensions or prompts than the training data.
        """
        del draws, noise_seed
        packed, inputs = data.packed, self.inputs
        if packed.image_size != inputs.image_size or packed.state.shape[1] != inputs.state_dim:
            raise ConfigError(
                f"{self.family}: images {packed.image_size} and {packed.state.shape[1]} state values, "
                f"the model was trained on {inputs.image_size} and {inputs.state_dim}"
            )
        views = np.array(view_positions(packed.cameras, inputs.views, family=self.family), dtype=np.int64)
        place = data.rows(episode)
        rows = np.arange(place.start, place.stop, dtype=np.int64)
        pieces = [rows[at : at + self.runtime.label_batch] for at in range(0, len(rows), self.runtime.label_batch)]
        prompt = data.prompts[episode]
        value = np.concatenate([self.values(packed.gather(p, views), packed.state[p], prompt) for p in pieces])
        return value, np.zeros_like(value)

    def values(self, images: NDArray[np.uint8], state: FloatArray, prompt: str) -> FloatArray:
        """[B] values of one batch of images [B, V, h, w, 3], state [B, S] and one instruction in words."""
        if prompt not in self.inputs.prompts:
            raise ConfigError(
                f"{self.family}: prompt {prompt!r} was not in the training data, only {list(self.inputs.prompts)}",
                hint="label episodes of the tasks that the model was trained on",
            )
        runtime, number = self.runtime, self.inputs.prompts.index(prompt)
        seen = (torch.from_numpy(images), torch.from_numpy(np.array(state)), torch.full((len(state),), number))
        with torch.inference_mode(), runtime.autocast():
            found: FloatArray = self.network.values(self.network(*map(runtime.move, seen))).cpu().numpy()
        return found


def train_direct(
    family: str,
    build: Build,
    config: DirectConfig,
    data: ValueData,
    episodes: NDArray[np.integer[Any]],
    *,
    seed: int,
    scratch: Path,
    out: Path,
    journal: Journal,
    data_identity: str,
    runtime: Runtime = CPU,
) -> dict[str, float]:
    """Trains a network that `build` makes and writes the bundle to `out`; see ValueFamily.train.

    Returns:
        steps, parameters, frames, and loss if a step was taken; equal for a resumed and an uninterrupted run.

    Raises:
        ConfigError: nothing to learn from, or data and config do not fit.
        ResumeRefused: `scratch` holds a checkpoint of another training, or an incomplete one.
    """
    packed = data.packed
    rows = training_rows(data, episodes, family)
    views = np.array(view_positions(packed.cameras, config.views, family=family), dtype=np.int64)
    inputs = Inputs(
        views=tuple(packed.cameras[view] for view in views),
        image_size=packed.image_size,
        state_dim=int(packed.state.shape[1]),
        prompts=tuple(sorted(set(data.prompts))),
    )
    network = starting_network(build, config, inputs, seed=seed)
    state_range = StateRange.of(torch.from_numpy(packed.state[rows]))
    network.low.copy_(state_range.low)
    network.high.copy_(state_range.high)
    result = fit(
        DirectLearner(network, config.shift_pixels),
        batches_of(data, rows, views, inputs, config.batch_size, seed),
        config.fit,
        seed=seed,
        scratch=scratch,
        journal=journal,
        runtime=runtime,
        fingerprint={
            "value_model": semantic_dict(config),
            "data": data_identity,
            "episodes": sorted(packed.episode_ids[int(e)] for e in episodes),
            # Their content: where they lie is in no setting that counts.
            **{name: content_identity(path) for name, path in content_settings(config)},
        },
    )
    if runtime.rank == 0:
        write_direct(out, family, config, network, inputs)
    runtime.barrier()
    return {**result.figures, "frames": float(len(rows))}


def starting_network(build: Build, config: DirectConfig, inputs: Inputs, *, seed: int) -> DirectNetwork:
    """The network before its first step, a pure function of its arguments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config, inputs)


def batches_of(
    data: ValueData, rows: IntArray, views: IntArray, inputs: Inputs, batch_size: int, seed: int
) -> ValueBatches:
    """Batches of raw images of the rows, by number."""
    numbers = np.array([inputs.prompts.index(prompt) for prompt in data.prompts])
    return ValueBatches(data, rows, views=views, prompt_numbers=numbers, batch_size=batch_size, seed=seed, latents=None)


def write_direct(path: Path, family: str, config: DirectConfig, network: DirectNetwork, inputs: Inputs) -> None:
    """Writes the bundle; what lay there is gone. Nothing is renamed: the caller commits it."""
    fresh_bundle(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, path / _WEIGHTS)
    for name, content in network.files.items():
        (path / name).write_bytes(content)
    libraries = {name: version(name) for name in ("torch", "transformers", "numpy", "recap-rl")}
    write_description(path, family, config=to_json(config), inputs=asdict(inputs), libraries=libraries)


def load_direct(path: Path, family: str, config_class: type[Any], build: Build, *, runtime: Runtime = CPU) -> Direct:
    """Reads `write_direct` back.

    Raises:
        ArtifactCorrupt: a file is missing or does not fit the others; weights of another network by their names.
        ConfigError: there is no such device.
    """
    try:
        raw = read_description(path, family=family)
        found, said = load_file(path / _WEIGHTS), raw["inputs"]
        height, width = said["image_size"]
        inputs = Inputs(
            views=tuple(said["views"]),
            image_size=(int(height), int(width)),
            state_dim=int(said["state_dim"]),
            prompts=tuple(said["prompts"]),
        )
        network = starting_network(build, from_json(config_class, raw["config"]), inputs, seed=0)
    except RecapError:
        raise
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ArtifactCorrupt(f"value bundle {path}: unreadable ({type(error).__name__}: {error})") from error
    check_tensors(path, found, network.state_dict())
    network.load_state_dict(found)
    return Direct(family, network.eval(), inputs, runtime)
