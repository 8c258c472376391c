"""The families of value models: one file or folder each, registering itself. Nothing lists them.

Owns what a family must offer and what it is given. Importing this package costs neither torch nor diffusers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recap.errors import ConfigError
from recap.registry import Registry
from recap.training.runtime import CPU, Runtime
from recap.types import BoolArray, FloatArray, IntArray
from value_model.bundle import read_description

if TYPE_CHECKING:  # it opens zarr files: a run that only looks at settings never needs it
    from data.framecache import FrameView
    from recap.training.needs import Needs


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Experience:
    """Episodes as a trained value model sees them. Rows stand in the order of `packed`."""

    packed: FrameView
    """N frames of E episodes: images [N, C, h, w, 3] uint8, state [N, S]."""
    prompts: tuple[str, ...]
    """E instructions, in words."""
    truth: Callable[[str], FloatArray] | None = None
    """Episode id -> [T] true progress. Privileged: given only to families that say so, for controls."""

    def rows(self, episode: int) -> slice:
        """Rows of the episode at position `episode`."""
        return slice(int(self.packed.offsets[episode]), int(self.packed.offsets[episode + 1]))

    @property
    def frame_of(self) -> IntArray:
        """[N] step t of each row within its episode."""
        packed = self.packed
        return np.arange(packed.num_frames, dtype=np.int64) - packed.offsets[packed.episode_of]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ValueData(Experience):
    """Experience with what is known of it in training only."""

    returns: FloatArray
    """[N] targets in [-1, 0]; NaN for episodes that nothing may be learned from (aborted)."""
    lookahead: IntArray
    """[E] K = N of each episode's task, control steps."""
    success: BoolArray
    """[E] True for the episodes that reached their goal, demonstrations and rollouts alike."""


class ValueModel(Protocol):
    """A trained value model."""

    def label(self, data: Experience, episode: int, *, draws: int, noise_seed: int) -> tuple[FloatArray, FloatArray]:
        """Values of all T frames of one episode.

        Args:
            data: experience, without its returns.
            episode: position e in `data.packed.episode_ids`.
            draws: M noise draws per frame (ignored by models without noise).
            noise_seed: noise is counter-based from (noise_seed, episode id, frame, draw): values do not depend on
                batching or on which worker labels.

        Returns:
            value [T] float32, mean over draws, not clamped; spread [T] float32, standard deviation over draws (0 for
            one draw).
        """
        ...


@runtime_checkable
class GivesAdvantages(ValueModel, Protocol):
    """A value model that says how good the action at t was by itself, not as a difference of its values.

    Its advantages stand in place of A_t = sum of rewards + V(o_{t+K}) - V(o_t) wherever labels are made or judged; its
    values remain for curves and figures. Any other model lacks the method, and the difference is taken.
    """

    def advantage(self, data: Experience, episode: int, *, lookahead: int) -> FloatArray:
        """Advantages of all T frames of one episode; they depend on no noise.

        Args:
            data: experience, without its returns.
            episode: position e in `data.packed.episode_ids`.
            lookahead: K of the episode's task, control steps.

        Returns:
            [T] float32, higher is better. Only their order within a task matters: thresholds are quantiles.
        """
        ...


@dataclass(frozen=True, slots=True)
class Noiseless:
    """A ValueModel without noise, from the function (data, episode) -> values [T]: more draws change nothing."""

    values: Callable[[Experience, int], NDArray[np.floating[Any]]]

    def label(self, data: Experience, episode: int, *, draws: int, noise_seed: int) -> tuple[FloatArray, FloatArray]:
        """See ValueModel.label."""
        del draws, noise_seed
        value = self.values(data, episode).astype(np.float32)
        return value, np.zeros_like(value)


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueFamily:
    """What a value model folder offers to the pipelines. Name, config, train and load are all it must."""

    name: str
    config: type[Any]
    """Frozen configuration class."""
    train: Callable[..., dict[str, float]]
    """train(config, data: ValueData, episodes [n] positions to learn from, *, seed, scratch, out, journal,
    data_identity) -> figures; writes the bundle folder `out` (with value.json naming the family). It names what it
    uses and takes the rest as `**others`. Nothing of labelling (draws, noise) is among them, ever."""
    load: Callable[..., ValueModel]
    """load(path) -> the model of a bundle folder."""
    licences: Mapping[str, str] = field(default_factory=dict)
    """{setting that names published weights: what is known of their licence where nothing that lies with them says}"""
    networks: bool = False
    """Computes with torch: its train and load take a further argument, runtime= (see `at`)."""
    presets: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """{size: preset(steps=) -> settings}: "tiny" for tests, "small" for simulation, with so many gradient steps. A
    family without a size is used with its default settings."""
    image_size: Callable[[Any, int, int], tuple[int, int]] = lambda config, height, width: (height, width)
    """image_size(config, height, width) -> the smallest (h, w) that it takes and that holds such pictures."""
    check: Callable[..., None] = lambda config, *, prompts, robot: None
    """check(config, prompts=, robot=) raises ConfigError for what it cannot be trained for. Costs no torch."""
    check_files: Callable[[Any], None] = lambda config: None
    """The same for weights that it starts from, by names and shapes. May import torch."""
    needs: Callable[..., Needs] | None = None
    """needs(config, *, prompts, robot, runtime) -> what a training needs, without doing it. None: nobody knows."""
    gives_advantages: bool = False
    """Its models are GivesAdvantages."""
    privileged: bool = False
    """Reads the simulator's truth: a control, never a contender."""

    def at(self, runtime: Runtime) -> dict[str, Runtime]:
        """The argument that tells train and load where to compute; none for a family without networks."""
        return {"runtime": runtime} if self.networks else {}


VALUE_MODELS: Registry[ValueFamily] = Registry("value model", packages=("value_model.models",))


def family_of(config: Any) -> ValueFamily:
    """The family that a configuration belongs to.

    Raises:
        ConfigError: no registered family has configurations of that class.
    """
    for family in map(VALUE_MODELS.get, VALUE_MODELS.names()):
        if type(config) is family.config:
            return family
    known = ", ".join(VALUE_MODELS.names())
    raise ConfigError(f"{type(config).__name__} belongs to no value model family; registered: {known}")


def load_value_model(path: Path, *, runtime: Runtime = CPU) -> ValueModel:
    """The model of any bundle folder, by the family its value.json names, computing as `runtime` says.

    Raises:
        ArtifactCorrupt: the folder has no readable value.json.
        UnknownName: no such family.
    """
    family = VALUE_MODELS.get(read_description(path)["family"])
    return family.load(path, **family.at(runtime))


def training_rows(data: ValueData, episodes: NDArray[np.integer[Any]], family: str) -> IntArray:
    """Rows of the pack that belong to `episodes` (positions) and have a return.

    Raises:
        ConfigError: there is none, so `family` has nothing to learn from.
    """
    rows = np.flatnonzero(np.isin(data.packed.episode_of, episodes) & np.isfinite(data.returns)).astype(np.int64)
    if not len(rows):
        raise ConfigError(f"{family}: none of the {len(episodes)} training episodes has a return")
    return rows
