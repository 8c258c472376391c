"""Statistics of state and action, for normalisation. No image is decoded to make them.

Quantiles (1 %, 99 %) as pi0.5 uses them, beside mean, std, min and max; for actions also relative to the state at the
start of their chunk. Figures depend on the numbers only: not on the order in which episodes were recorded or read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.episodes import EpisodeStore
from recap.errors import ConfigError
from recap.files import write_atomic
from recap.hashing import canonical_json
from recap.types import FloatArray

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Moments:
    """Per-dimension figures, each [D] float64, in the units of the quantity."""

    q01: NDArray[np.float64]
    q99: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    """Population standard deviation; 0 for a dimension that never moves."""
    min: NDArray[np.float64]
    max: NDArray[np.float64]

    def to_json(self) -> dict[str, list[float]]:
        """{figure: [D numbers]}."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], where: str) -> Moments:
        """Reads `to_json` back; ConfigError names a missing or unknown figure, or a differing length."""
        names = [field.name for field in fields(cls)]
        if sorted(value) != sorted(names):
            raise ConfigError(f"{where}: figures {sorted(value)}, expected {sorted(names)}")
        arrays = {name: np.array(value[name], dtype=np.float64) for name in names}
        if len({array.shape for array in arrays.values()}) != 1 or arrays["mean"].ndim != 1:
            raise ConfigError(
                f"{where}: figures of shapes { {n: a.shape for n, a in arrays.items()} }, expected one [D]"
            )
        return cls(**arrays)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stats:
    """What a policy needs to scale its inputs and outputs."""

    state: Moments
    """[S]"""
    action: Moments
    """[A] absolute."""
    relative_action: Moments | None
    """[A] as in a training batch: action[t + k] - state[t] on `relative_dims`, absolute on the others, over every t and
    every k < chunk inside the episode. None if `relative_dims` is empty."""
    relative_dims: tuple[int, ...]
    chunk: int
    """H of the relative figures."""
    frames: int
    episodes: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, exact."""
        return {
            "format": FORMAT,
            "state": self.state.to_json(),
            "action": self.action.to_json(),
            "relative_action": None if self.relative_action is None else self.relative_action.to_json(),
            "relative_dims": list(self.relative_dims),
            "chunk": self.chunk,
            "frames": self.frames,
            "episodes": self.episodes,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Stats:
        """Reads `to_json` back; ConfigError names what does not fit."""
        wanted = {"format"} | {field.name for field in fields(cls)}
        if set(value) != wanted or value["format"] != FORMAT:
            raise ConfigError(
                f"stats: fields {sorted(value)} of format {value.get('format')}, expected {sorted(wanted)} of {FORMAT}"
            )
        relative = value["relative_action"]
        return cls(
            state=Moments.from_json(value["state"], "stats.state"),
            action=Moments.from_json(value["action"], "stats.action"),
            relative_action=None if relative is None else Moments.from_json(relative, "stats.relative_action"),
            relative_dims=tuple(int(dim) for dim in value["relative_dims"]),
            chunk=int(value["chunk"]),
            frames=int(value["frames"]),
            episodes=int(value["episodes"]),
        )

    def save(self, path: Path) -> None:
        """Writes JSON to `path`, durably."""
        write_atomic(path, canonical_json(self.to_json()))

    @classmethod
    def load(cls, path: Path) -> Stats:
        """Reads `save` back."""
        import json

        return cls.from_json(json.loads(path.read_text()))


def compute_stats(
    episodes: Iterable[tuple[FloatArray, FloatArray]], *, chunk: int, relative_dims: Sequence[int] = ()
) -> Stats:
    """Statistics of episodes given as (state [T, S], action [T, A]), in the order of their ids.

    `relative_dims` are the action dimensions to take relative to the state of the same number: all but the grippers.

    Raises:
        ConfigError: no episode, `chunk` < 1, or a relative dimension that state or action lacks.
    """
    pairs = list(episodes)
    if not pairs:
        raise ConfigError("statistics of no episode")
    if chunk < 1:
        raise ConfigError(f"chunk is {chunk}, expected >= 1")
    state = np.concatenate([pair[0] for pair in pairs])
    action = np.concatenate([pair[1] for pair in pairs])
    dims = check_relative_dims(relative_dims, state.shape[1], action.shape[1])
    return Stats(
        state=_moments(state),
        action=_moments(action),
        relative_action=_relative_moments(pairs, chunk, dims) if dims else None,
        relative_dims=dims,
        chunk=chunk,
        frames=len(state),
        episodes=len(pairs),
    )


def stats_of_store(store: EpisodeStore, ids: Iterable[str], *, chunk: int, relative_dims: Sequence[int] = ()) -> Stats:
    """`compute_stats` of stored episodes; reads their numbers only."""
    numbers = (store.numbers(episode_id) for episode_id in sorted(set(ids)))
    return compute_stats(((state, action) for state, action, _ in numbers), chunk=chunk, relative_dims=relative_dims)


def check_relative_dims(relative_dims: Sequence[int], state_dim: int, action_dim: int) -> tuple[int, ...]:
    """Sorted `relative_dims`; ConfigError if one is not a dimension of both state and action."""
    dims = tuple(sorted(set(relative_dims)))
    for dim in dims:
        if not 0 <= dim < min(state_dim, action_dim):
            raise ConfigError(f"relative_dims: {dim}, expected 0..{min(state_dim, action_dim) - 1} (state and action)")
    return dims


def _moments(values: FloatArray) -> Moments:
    return _stack([_column(values[:, dim]) for dim in range(values.shape[1])])


def _relative_moments(pairs: Sequence[tuple[FloatArray, FloatArray]], chunk: int, dims: tuple[int, ...]) -> Moments:
    # One dimension at a time: N * H numbers of one column fit in memory where N * H * A would not.
    columns = []
    for dim in range(pairs[0][1].shape[1]):
        pieces = []
        for state, action in pairs:
            for ahead in range(min(chunk, len(state))):
                target = action[ahead:, dim]
                pieces.append(target - state[: len(target), dim] if dim in dims else target)
        columns.append(_column(np.concatenate(pieces)))
    return _stack(columns)


def _column(values: FloatArray) -> tuple[float, ...]:
    # Sorted, so that sums do not depend on the order of recording.
    exact = np.sort(values.astype(np.float64))
    q01, q99 = np.quantile(exact, (0.01, 0.99))
    return float(q01), float(q99), float(exact.mean()), float(exact.std()), float(exact[0]), float(exact[-1])


def _stack(columns: Sequence[tuple[float, ...]]) -> Moments:
    q01, q99, mean, std, low, high = (np.array(figure, dtype=np.float64) for figure in zip(*columns, strict=True))
    return Moments(q01=q01, q99=q99, mean=mean, std=std, min=low, max=high)
