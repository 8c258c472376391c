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
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recap.config import setting, to_json, validate
from recap.errors import ArtifactCorrupt, ConfigError
from recap.protocols import Journal
from recap.types import FloatArray
from value_model.bundle import fresh_bundle, write_description
from value_model.models import VALUE_MODELS, ValueData, ValueFamily, training_rows
from value_model.per_prompt import per_prompt

_BLOCK = 4096
_NAMES = ("center", "scale", "frequency", "phase", "weight", "mean")


@dataclass(frozen=True, kw_only=True, slots=True)
class StateOnlyConfig:
    """Settings of the regression."""

    features: int = setting(512, minimum=1, help="random Fourier features D")
    bandwidth: float = setting(3.0, above=0, help="length scale of the kernel, standard deviations of the state")
    ridge: float = setting(1e-4, above=0, help="penalty per training frame")

    def __post_init__(self) -> None:
        validate(self)


class StateOnly:
    """The regression; float64 inside."""

    def __init__(self, arrays: dict[str, NDArray[np.float64]]) -> None:
        """Takes center, scale [S], frequency [S, D], phase [D], weight [D], mean [1]."""
        self.arrays = arrays

    def predict(self, state: FloatArray) -> FloatArray:
        """[T, S] -> [T]."""
        a = self.arrays
        features = _features(state, a["center"], a["scale"], a["frequency"], a["phase"])
        value: FloatArray = (features @ a["weight"] + a["mean"]).astype(np.float32)
        return value

    def label(self, data: ValueData, episode: int, *, draws: int, noise_seed: int) -> tuple[FloatArray, FloatArray]:
        """See ValueModel.label; draws and noise_seed change nothing."""
        del draws, noise_seed
        packed = data.packed
        value = self.predict(packed.state[int(packed.offsets[episode]) : int(packed.offsets[episode + 1])])
        return value, np.zeros_like(value)


def _train(
    config: StateOnlyConfig,
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
    del scratch, data_identity
    rows = training_rows(data, episodes)
    if not len(rows):
        raise ConfigError(f"state_only: none of the {len(episodes)} training episodes has a return")
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
        phi = _features(state[piece], arrays["center"], arrays["scale"], arrays["frequency"], arrays["phase"])
        gram += phi.T @ phi
        moment += phi.T @ (target[piece] - arrays["mean"])
        journal.progress(min(start + _BLOCK, len(rows)), len(rows), "frames")
    arrays["weight"] = np.linalg.solve(gram + config.ridge * len(rows) * np.eye(config.features), moment)
    save_file(arrays, fresh_bundle(out) / "regression.safetensors")
    write_description(out, "state_only", config=to_json(config))
    error = StateOnly(arrays).predict(state) - target
    return {"frames": float(len(rows)), "loss": float(np.mean(error**2))}


def _load(path: Path) -> StateOnly:
    """The regression of one instruction; ArtifactCorrupt if it is not whole."""
    try:
        arrays = load_file(path / "regression.safetensors")
    except (OSError, SafetensorError) as error:
        raise ArtifactCorrupt(f"value bundle {path}: regression.safetensors: {error}") from error
    if set(arrays) != set(_NAMES):
        raise ArtifactCorrupt(f"value bundle {path}: regression.safetensors holds {sorted(arrays)}, expected {_NAMES}")
    return StateOnly(arrays)


def _features(
    state: FloatArray,
    center: NDArray[np.float64],
    scale: NDArray[np.float64],
    frequency: NDArray[np.float64],
    phase: NDArray[np.float64],
) -> NDArray[np.float64]:
    standard = (state.astype(np.float64) - center) / scale
    result: NDArray[np.float64] = np.sqrt(2 / len(phase)) * np.cos(standard @ frequency + phase)
    return result


train, load = per_prompt("state_only", _train, _load)
VALUE_MODELS.add("state_only", ValueFamily(name="state_only", config=StateOnlyConfig, train=train, load=load))
