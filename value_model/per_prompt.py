"""A value model of one task, once per instruction: how a model that does not read instructions learns several tasks.

ViVa hears the instruction. A control that pooled all tasks into one curve would be weaker for that alone, and ViVa
would beat it by reading. So each instruction gets a model of its own; with one instruction it is that model and no
more.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.errors import ArtifactCorrupt, ConfigError
from recap.types import FloatArray
from value_model.bundle import fresh_bundle, read_description, write_description
from value_model.models import Experience, ValueData, ValueModel

Train = Callable[..., dict[str, float]]
Load = Callable[[Path], ValueModel]


class PerPrompt:
    """Labels each episode by the model of its instruction."""

    def __init__(self, models: dict[str, ValueModel]) -> None:
        """Takes {instruction: model}."""
        self.models = models

    def label(self, data: Experience, episode: int, *, draws: int, noise_seed: int) -> tuple[FloatArray, FloatArray]:
        """See ValueModel.label.

        Raises:
            ConfigError: no training episode had this instruction.
        """
        prompt = data.prompts[episode]
        if prompt not in self.models:
            raise ConfigError(
                f"episode {data.packed.episode_ids[episode]}: no training episode had its instruction {prompt!r}, "
                f"expected one of {sorted(self.models)}",
                hint="collect more episodes of that task, so that every fold holds some",
            )
        return self.models[prompt].label(data, episode, draws=draws, noise_seed=noise_seed)


def per_prompt(family: str, train_one: Train, load_one: Load) -> tuple[Train, Load]:
    """(train, load) of a family, from those of a model that reads no instruction.

    Args:
        family: name.
        train_one: as ValueFamily.train, for episodes of one instruction; what it says is kept in a folder of its own.
        load_one: as ValueFamily.load, of such a folder.
    """

    def train(
        config: Any, data: ValueData, episodes: NDArray[np.integer[Any]], *, out: Path, **given: Any
    ) -> dict[str, float]:
        prompts = sorted({data.prompts[int(episode)] for episode in episodes})
        if not prompts:
            raise ConfigError(f"{family}: no training episode")
        folder = fresh_bundle(out)
        figures = []
        for place, prompt in enumerate(prompts):
            own = np.array([e for e in episodes if data.prompts[int(e)] == prompt], dtype=np.int64)
            figures.append(train_one(config, data, own, out=folder / _part(place), **given))
        write_description(folder, family, prompts=prompts)
        return _pooled(figures)

    def load(path: Path) -> ValueModel:
        prompts = read_description(path, family=family).get("prompts")
        if not isinstance(prompts, list):
            raise ArtifactCorrupt(f"value bundle {path}: value.json lists no prompts")
        return PerPrompt({prompt: load_one(path / _part(place)) for place, prompt in enumerate(prompts)})

    return train, load


def _part(place: int) -> str:
    return f"prompt-{place}"


def _pooled(figures: list[dict[str, float]]) -> dict[str, float]:
    """Frames added up, every other figure its mean over frames."""
    frames = np.array([each["frames"] for each in figures])
    pooled = {name: float(np.average([each[name] for each in figures], weights=frames)) for name in figures[0]}
    return {**pooled, "frames": float(frames.sum())}
