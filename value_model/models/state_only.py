"""Value from proprioception alone, without pictures and without time: the second thing a value model must beat.

Ridge regression of the return on random Fourier features of the standardised state, in closed form, one per
instruction:

    phi(q) = sqrt(2 / D) cos(W q + b),  W ~ N(0, 1 / bandwidth^2),  b ~ U(0, 2 pi)
    w = (Phi' Phi + ridge n I)^-1 Phi' (G - mean G)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.config import setting, validate
from recap.types import FloatArray
from value_model.bundle import read_arrays, write_arrays
from value_model.models import VALUE_MODELS, Noiseless, ValueData, ValueFamily, training_rows
from value_model.per_prompt import per_prompt

Arrays = dict[str, NDArray[Any]]
_BLOCK = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class StateOnlyConfig:
    """Settings of the regression."""

    features: int = setting(512, minimum=1, help="random Fourier features D")
    bandwidth: float = setting(3.0, above=0, help="length scale of the kernel, standard deviations of the state")
    ridge: float = setting(1e-4, above=0, help="penalty per training frame")

    def __post_init__(self) -> None:
        validate(self)


def _train(
    config: StateOnlyConfig, data: ValueData, episodes: NDArray[np.integer[Any]], *, seed: int, out: Path, **_: Any
) -> dict[str, float]:
    """Closed form, float64; see ValueFamily.train."""
    rows = training_rows(data, episodes, "state_only")
    state, target = data.packed.state[rows], data.returns[rows].astype(np.float64)
    exact = state.astype(np.float64)
    spread = exact.std(0)
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, 0x57A7E], dtype=np.uint64)))
    arrays = {
        "center": exact.mean(0),
        "scale": np.where(spread > 0, spread, 1.0),
        "frequency": rng.normal(0.0, 1 / config.bandwidth, (exact.shape[1], config.features)),
        "phase": rng.uniform(0.0, 2 * np.pi, config.features),
        "mean": np.array([target.mean()]),
    }
    gram = np.zeros((config.features, config.features))
    moment = np.zeros(config.features)
    for start in range(0, len(rows), _BLOCK):
        piece = slice(start, start + _BLOCK)
        phi = _features(arrays, state[piece])
        gram += phi.T @ phi
        moment += phi.T @ (target[piece] - arrays["mean"])
    arrays["weight"] = np.linalg.solve(gram + config.ridge * len(rows) * np.eye(config.features), moment)
    write_arrays(out, "state_only", arrays)
    return {"frames": float(len(rows)), "loss": float(np.mean((_predict(arrays, state) - target) ** 2))}


def _load(path: Path) -> Noiseless:
    arrays = read_arrays(path, "state_only", "center", "scale", "frequency", "phase", "weight", "mean")
    return Noiseless(lambda data, episode: _predict(arrays, data.packed.state[data.rows(episode)]))


def _predict(arrays: Arrays, state: FloatArray) -> FloatArray:
    """[T, S] -> [T], from center, scale [S], frequency [S, D], phase [D], weight [D], mean [1]."""
    value: FloatArray = (_features(arrays, state) @ arrays["weight"] + arrays["mean"]).astype(np.float32)
    return value


def _features(arrays: Arrays, state: FloatArray) -> NDArray[np.float64]:
    standard = (state.astype(np.float64) - arrays["center"]) / arrays["scale"]
    phase = arrays["phase"]
    result: NDArray[np.float64] = np.sqrt(2 / len(phase)) * np.cos(standard @ arrays["frequency"] + phase)
    return result


train, load = per_prompt("state_only", _train, _load)
VALUE_MODELS.add("state_only", ValueFamily(name="state_only", config=StateOnlyConfig, train=train, load=load))
