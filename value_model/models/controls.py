"""Controls: what privileged knowledge would give, and noise.

`oracle` reads the simulator's progress and gives the mean return of training frames of the same instruction that had
got as far: a value on the scale of returns, so that advantages past the end of an episode mean what they mean for any
model. `random` is noise; its advantages are noise too, but past the end they are return minus noise and so still tell
success from failure. Labels that mean nothing are those of the arm `random` (value_model/arms.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.config import setting, validate
from recap.errors import ConfigError
from recap.types import FloatArray
from value_model.bundle import fresh_bundle, read_arrays, read_description, write_arrays, write_description
from value_model.models import VALUE_MODELS, Experience, Noiseless, ValueData, ValueFamily, training_rows
from value_model.per_prompt import per_prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleConfig:
    """Settings of the oracle."""

    bins: int = setting(25, minimum=2, maximum=1000, help="steps into which progress is cut")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class RandomConfig:
    """Settings of the random control."""

    low: float = setting(-1.0, minimum=-1, maximum=0, help="values are uniform between this and 0")

    def __post_init__(self) -> None:
        validate(self)


def _truth(data: Experience, episode: int) -> FloatArray:
    """[T] true progress of an episode."""
    episode_id = data.packed.episode_ids[episode]
    if data.truth is None:
        raise ConfigError("oracle: this data holds no simulator truth", hint="it exists for simulated episodes only")
    progress = np.asarray(data.truth(episode_id), dtype=np.float32)
    length = len(data.packed.state[data.rows(episode)])
    if progress.shape != (length,):
        raise ConfigError(f"oracle: truth of episode {episode_id} has shape {progress.shape}, expected ({length},)")
    if np.isnan(progress).any():
        raise ConfigError(f"oracle: the world of episode {episode_id} has no measure of progress", hint="--value viva")
    return progress


class Random:
    """Uniform values, a function of (noise_seed, episode, frame, draw)."""

    def __init__(self, low: float) -> None:
        self.low = low

    def label(self, data: Experience, episode: int, *, draws: int, noise_seed: int) -> tuple[FloatArray, FloatArray]:
        """See ValueModel.label; ConfigError for draws < 1."""
        if draws < 1:
            raise ConfigError(f"random: draws = {draws}, expected >= 1")
        length = len(data.packed.state[data.rows(episode)])
        text = f"random-value:{noise_seed}:{data.packed.episode_ids[episode]}"
        key = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype="<u8")
        words = np.stack(
            [
                np.random.Philox(key=key, counter=np.array([0, 0, 0, d], dtype=np.uint64)).random_raw(length)
                for d in range(draws)
            ]
        )
        values = (self.low * (words >> np.uint64(11)) * 2.0**-53).astype(np.float32)
        return values.mean(0), values.std(0)


def _train_oracle(
    config: OracleConfig, data: ValueData, episodes: NDArray[np.integer[Any]], *, out: Path, **_: Any
) -> dict[str, float]:
    rows = training_rows(data, episodes, "oracle")
    packed = data.packed
    progress = np.full(packed.num_frames, np.nan, dtype=np.float32)
    for episode in np.unique(packed.episode_of[rows]).tolist():
        progress[data.rows(episode)] = _truth(data, episode)
    place = np.minimum((progress[rows] * config.bins).astype(np.int64), config.bins - 1)
    count = np.bincount(place, minlength=config.bins)
    total = np.bincount(place, data.returns[rows].astype(np.float64), minlength=config.bins)
    seen = np.flatnonzero(count)
    middles = (seen + 0.5) / config.bins
    write_arrays(out, "oracle", {"progress": middles, "value": total[seen] / count[seen]})
    return {"frames": float(len(rows))}


def _load_oracle(path: Path) -> Noiseless:
    """Between the middles of the bins on a straight line."""
    curve = {name: each.astype(np.float32) for name, each in read_arrays(path, "oracle", "progress", "value").items()}
    return Noiseless(lambda data, episode: np.interp(_truth(data, episode), curve["progress"], curve["value"]))


def _train_random(
    config: RandomConfig, data: ValueData, episodes: NDArray[np.integer[Any]], *, out: Path, **_: Any
) -> dict[str, float]:
    write_description(fresh_bundle(out), "random", low=config.low)
    return {}


def _load_random(path: Path) -> Random:
    return Random(float(read_description(path, family="random")["low"]))


_train, _load = per_prompt("oracle", _train_oracle, _load_oracle)
VALUE_MODELS.add("oracle", ValueFamily(name="oracle", config=OracleConfig, train=_train, load=_load, privileged=True))
VALUE_MODELS.add("random", ValueFamily(name="random", config=RandomConfig, train=_train_random, load=_load_random))
