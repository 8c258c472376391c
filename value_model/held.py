"""The episodes that a value model is judged on: values, returns, advantages and truth of the same frames.

Owns the selection and what is derived from values once. It must not know which figures are taken from it.

Letters: E episodes, N frames in all, K look-ahead in control steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from recap.errors import ConfigError, HealthError
from recap.types import BoolArray, FloatArray, IntArray
from value_model.advantage import advantages
from value_model.episodes import EpisodeFacts
from value_model.gae import Horizon
from value_model.metrics import Floats
from value_model.returns import ReturnConfig
from value_model.returns import returns as returns_of

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Held:
    """The episodes under judgement, none aborted, all of one task."""

    facts: EpisodeFacts
    value: Floats
    returns: Floats
    advantage: Floats
    progress: Floats
    """[N] NaN where the truth is not known."""
    episode: IntArray
    """[N]."""
    lookahead: int
    positive_fraction: float
    horizon: Horizon

    @property
    def bare_return(self) -> Floats:
        """[N] return of the whole episode, G_0: its outcome and its speed, and no value."""
        return np.repeat(self.returns[self.facts.offsets[:-1]], self.facts.lengths)

    @property
    def step(self) -> IntArray:
        """[N] t of each row."""
        return np.arange(self.facts.num_frames) - self.facts.offsets[self.episode]

    @property
    def before_end(self) -> IntArray:
        """Rows whose look-ahead stays within the episode."""
        rows = np.arange(self.facts.num_frames)
        return np.flatnonzero(rows + self.lookahead < self.facts.offsets[1:][self.episode])

    def per_episode(self, frame_numbers: Floats) -> Floats:
        """[E] sums over the frames of each episode."""
        return np.add.reduceat(frame_numbers, self.facts.offsets[:-1])


def prepare(
    values: FloatArray,
    facts: EpisodeFacts,
    *,
    lookahead: int,
    returns: ReturnConfig,
    positive_fraction: float,
    progress: FloatArray | None,
    horizon: Horizon,
    given: FloatArray | None = None,
) -> tuple[Held, BoolArray, BoolArray]:
    """What is judged, which episodes [E] that is and which rows [N]."""
    if len(facts.task_ids) > 1:
        raise ConfigError(f"values of {len(facts.task_ids)} tasks at once: judge each on its own (evaluate_tasks)")
    if values.shape != (facts.num_frames,):
        raise ConfigError(f"values have shape {values.shape}, expected ({facts.num_frames},)")
    keep = ~facts.aborted
    if not keep.any():
        raise ConfigError(f"no episodes to judge values on: {facts.num_episodes} given, all aborted")
    rows = facts.rows(keep)
    kept = facts.subset(keep)
    value = values[rows].astype(np.float64)
    episode = np.repeat(np.arange(kept.num_episodes, dtype=np.int64), kept.lengths)
    bad = np.flatnonzero(~np.isfinite(value))
    if len(bad):
        place = int(episode[bad[0]])
        raise HealthError(
            f"{len(bad)} of {len(value)} values are NaN or infinite, the first at step "
            f"{int(bad[0] - kept.offsets[place])} of episode {kept.ids[place]}",
            hint="look at the value step's loss: it has probably diverged",
        )
    shape = (kept.offsets, kept.success, kept.max_steps)
    known, own = rows_of(progress, rows, "progress"), rows_of(given, rows, "given advantages")
    held = Held(
        facts=kept,
        value=value,
        returns=returns_of(*shape, returns, ids=kept.ids).astype(np.float64),
        advantage=advantages(
            value.astype(np.float32), *shape, lookahead, returns, ids=kept.ids, horizon=horizon
        ).astype(np.float64)
        if own is None
        else own,
        progress=np.full(len(value), np.nan) if known is None else known,
        episode=episode,
        lookahead=lookahead,
        positive_fraction=positive_fraction,
        horizon=horizon,
    )
    return held, keep, rows


def rows_of(array: FloatArray | None, rows: BoolArray, name: str) -> Floats | None:
    """The rows [N] that are kept, of an array that may not be there; ConfigError for another length."""
    if array is None:
        return None
    if array.shape != rows.shape:
        raise ConfigError(f"{name} have shape {array.shape}, expected {rows.shape}")
    return array[rows].astype(np.float64)


def of_kept(each: Sequence[ItemT] | None, keep: BoolArray, what: str) -> list[ItemT] | None:
    """Those of the episodes with keep [E], from one per episode."""
    if each is None:
        return None
    if len(each) != len(keep):
        raise ConfigError(f"{what} of {len(each)} episodes, expected {len(keep)}")
    return [each[place] for place in np.flatnonzero(keep)]
