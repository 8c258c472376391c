"""Training a STEAM ensemble from experience to a bundle on disk. Resumable; deterministic with one thread.

    L = mean over members m and pairs of  - sum_i twohot(d)_i log p_m(i | o_a, o_b)

All members see the same pairs and differ by their starting weights. A failure teaches nothing: its frames have an
order, but no offset of theirs is progress. What the paper leaves open is said where it is decided: pairs.py, label.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recap.config import semantic_dict
from recap.protocols import Journal
from recap.training.augment import sample_shifts, shift_images
from recap.training.fit import LossModule, fit
from recap.training.runtime import CPU, Runtime
from recap.types import IntArray
from value_model.models import ValueData, training_rows
from value_model.models.steam.bundle import Goals, Parts, write_bundle
from value_model.models.steam.config import SteamConfig
from value_model.models.steam.model import Ensemble, Inputs, two_hot
from value_model.models.steam.pairs import PairBatches, successful_rows
from value_model.views import view_positions


class SteamLearner(LossModule):
    """The ensemble with its loss."""

    def __init__(self, ensemble: Ensemble, config: SteamConfig) -> None:
        super().__init__()
        self.ensemble, self._config = ensemble, config

    def prepare(self, batch: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """Adds image shifts, the same for both frames of a pair: cameras stand still within an episode.

        Args:
            batch: images [B, 2 V, h, w, 3] uint8, those of frame a first; state [B, 2, S]; offset [B] in [-1, 1];
                prompt [B], a number.
            generator: of the shifts.
        """
        rows = super().prepare(batch, generator)
        if self._config.shift_pixels:
            rows["shifts"] = sample_shifts(len(rows["offset"]), self._config.shift_pixels, generator)
        return rows

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """The cross-entropy, and the mean error of the expected offset."""
        ensemble = self.ensemble
        images = shift_images(rows["images"], rows["shifts"]) if "shifts" in rows else rows["images"]
        frames = ensemble.encode(images.unflatten(1, (2, -1)).flatten(0, 1), rows["state"].flatten(0, 1))
        first, second = frames.unflatten(1, (-1, 2)).unbind(2)
        logits = ensemble.compare(first, second, rows["prompt"])
        target = two_hot(rows["offset"], logits.shape[-1])
        loss = -(target * logits.float().log_softmax(-1)).sum(-1).mean()
        return loss, {"offset_error": (ensemble.offset(logits) - rows["offset"]).abs().mean()}


def train(
    config: SteamConfig,
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
    """Trains and writes the bundle to `out`; see ValueFamily.train. Of the returns it reads only whether there is one.

    Returns:
        steps, parameters, frames, and loss if a step was taken; equal for a resumed and an uninterrupted run.

    Raises:
        ConfigError: no success to learn from, or data and config do not fit.
        ResumeRefused: `scratch` holds a checkpoint of another training, or an incomplete one.
    """
    packed = data.packed
    rows = successful_rows(data, training_rows(data, episodes, "steam"))
    views = np.array(view_positions(packed.cameras, config.views, family="steam"), dtype=np.int64)
    teachers = np.unique(packed.episode_of[rows])
    prompts = sorted({data.prompts[int(e)] for e in teachers})
    height, width = packed.image_size
    inputs = Inputs(
        views=len(views), height=height, width=width, state_dim=int(packed.state.shape[1]), prompts=len(prompts)
    )
    ensemble = Ensemble(config.sizes, inputs, members=config.members, bins=config.bins, seed=seed)
    ensemble.fit_range(torch.from_numpy(packed.state[rows]))
    # An episode of another instruction teaches nothing and is in no pair.
    numbers = np.array([prompts.index(prompt) if prompt in prompts else -1 for prompt in data.prompts], dtype=np.int64)
    batches = PairBatches(
        data,
        rows,
        views=views,
        prompt_numbers=numbers,
        near_share=config.near_share,
        batch_size=config.batch_size,
        seed=seed,
    )
    result = fit(
        SteamLearner(ensemble, config),
        batches,
        config.fit,
        seed=seed,
        scratch=scratch,
        journal=journal,
        runtime=runtime,
        fingerprint={
            "value_model": semantic_dict(config),
            "data": data_identity,
            "episodes": [packed.episode_ids[int(e)] for e in teachers],
            "lookahead": data.lookahead[teachers].tolist(),
        },
    )
    if runtime.rank == 0:
        goals = goal_rows(data, teachers, numbers, config.goals)
        write_bundle(
            out,
            Parts(
                config=config,
                inputs=inputs,
                views=tuple(packed.cameras[v] for v in views),
                ensemble=ensemble,
                prompts=tuple(prompts),
                goals=Goals(
                    images=torch.from_numpy(packed.gather(goals, views)),
                    state=torch.from_numpy(packed.state[goals]),
                    prompt=torch.from_numpy(numbers[packed.episode_of[goals]]),
                ),
            ),
        )
    runtime.barrier()
    return {**result.figures, "frames": float(len(rows))}


def goal_rows(data: ValueData, teachers: IntArray, prompt_numbers: IntArray, count: int) -> IntArray:
    """The last rows of up to `count` successful episodes of each prompt, spread evenly over them; in order."""
    chosen: list[int] = []
    for number in range(int(prompt_numbers[teachers].max()) + 1):
        own = teachers[prompt_numbers[teachers] == number]
        places = np.unique(np.linspace(0, len(own) - 1, min(count, len(own))).astype(np.int64))
        chosen += (data.packed.offsets[own[places] + 1] - 1).tolist()
    return np.array(chosen, dtype=np.int64)
