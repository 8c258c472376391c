"""The clock: a value that depends on time alone. What a value model must beat to have seen anything.

V(t) = mean return at step t over the training episodes of the same instruction that reached it, smoothed over
neighbouring steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.config import setting, validate
from recap.errors import ArtifactCorrupt, ConfigError
from recap.protocols import Journal
from recap.types import FloatArray
from value_model.bundle import fresh_bundle, read_description, write_description
from value_model.models import VALUE_MODELS, ValueData, ValueFamily, training_rows
from value_model.per_prompt import per_prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockConfig:
    """Settings of the clock."""

    bandwidth: float = setting(3.0, above=0, help="standard deviation of the smoothing over time, control steps")

    def __post_init__(self) -> None:
        validate(self)


class Clock:
    """Mean return by step; past the longest training episode the last one holds."""

    def __init__(self, curve: FloatArray) -> None:
        """Takes the curve [L]."""
        self.curve = curve

    def label(self, data: ValueData, episode: int, *, draws: int, noise_seed: int) -> tuple[FloatArray, FloatArray]:
        """See ValueModel.label; draws and noise_seed change nothing."""
        del draws, noise_seed
        length = int(data.packed.offsets[episode + 1] - data.packed.offsets[episode])
        value = self.curve[np.minimum(np.arange(length), len(self.curve) - 1)]
        return value, np.zeros_like(value)


def _train(
    config: ClockConfig,
    data: ValueData,
    episodes: NDArray[np.integer[Any]],
    *,
    seed: int,
    scratch: Path,
    out: Path,
    journal: Journal,
    data_identity: str,
) -> dict[str, float]:
    """Closed form; see ValueFamily.train."""
    del seed, scratch, data_identity
    rows = training_rows(data, episodes)
    if not len(rows):
        raise ConfigError(f"clock: none of the {len(episodes)} training episodes has a return")
    step = data.frame_of[rows]
    count = np.bincount(step).astype(np.float64)
    total = np.bincount(step, weights=data.returns[rows].astype(np.float64))
    place = np.arange(len(count))
    kernel = np.exp(-0.5 * (np.subtract.outer(place, place) / config.bandwidth) ** 2)
    curve = (kernel @ total) / (kernel @ count)
    write_description(fresh_bundle(out), "clock", bandwidth=config.bandwidth, curve=curve.tolist())
    journal.progress(1, 1, "fits")
    fitted = curve[step] - data.returns[rows]
    return {"frames": float(len(rows)), "loss": float(np.mean(fitted**2))}


def _load(path: Path) -> Clock:
    """The curve of one instruction; ArtifactCorrupt if it is not whole."""
    try:
        return Clock(np.array(read_description(path, family="clock")["curve"], dtype=np.float32))
    except (ValueError, KeyError) as error:
        raise ArtifactCorrupt(f"value bundle {path}: value.json holds no curve ({error!r})") from error


train, load = per_prompt("clock", _train, _load)
VALUE_MODELS.add("clock", ValueFamily(name="clock", config=ClockConfig, train=train, load=load))
