"""The clock: a value that depends on time alone. What a value model must beat to have seen anything.

V(t) = mean return at step t over the training episodes of the same instruction that reached it, smoothed over
neighbouring steps; past the longest of them it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.config import setting, validate
from value_model.bundle import read_arrays, write_arrays
from value_model.models import VALUE_MODELS, Noiseless, ValueData, ValueFamily, training_rows
from value_model.per_prompt import per_prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockConfig:
    """Settings of the clock."""

    bandwidth: float = setting(3.0, above=0, help="standard deviation of the smoothing over time, control steps")

    def __post_init__(self) -> None:
        validate(self)


def _train(
    config: ClockConfig, data: ValueData, episodes: NDArray[np.integer[Any]], *, out: Path, **_: Any
) -> dict[str, float]:
    """Closed form; see ValueFamily.train."""
    rows = training_rows(data, episodes, "clock")
    step = data.frame_of[rows]
    count = np.bincount(step).astype(np.float64)
    total = np.bincount(step, weights=data.returns[rows].astype(np.float64))
    place = np.arange(len(count))
    kernel = np.exp(-0.5 * (np.subtract.outer(place, place) / config.bandwidth) ** 2)
    curve = (kernel @ total) / (kernel @ count)
    write_arrays(out, "clock", {"curve": curve})
    fitted = curve[step] - data.returns[rows]
    return {"frames": float(len(rows)), "loss": float(np.mean(fitted**2))}


def _load(path: Path) -> Noiseless:
    curve = read_arrays(path, "clock", "curve")["curve"]
    return Noiseless(lambda data, episode: curve[np.minimum(data.frame_of[data.rows(episode)], len(curve) - 1)])


train, load = per_prompt("clock", _train, _load)
VALUE_MODELS.add("clock", ValueFamily(name="clock", config=ClockConfig, train=train, load=load))
