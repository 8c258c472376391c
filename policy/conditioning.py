"""What a policy is told of the advantage of its actions: the words, their codes, and which sample hears them.

pi*0.6 writes "Advantage: positive" or "Advantage: negative" into the prompt and leaves it out for 30 % of the samples,
so that one network holds the conditional and the unconditional policy. Owns the words and the draw. Knows neither
where labels come from nor how a network reads a prompt; no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap.errors import ConfigError
from recap.hashing import canonical_json, digest_array, sha256_hex
from recap.protocols import BatchSource
from recap.types import BoolArray, FloatArray

POSITIVE = "Advantage: positive"
NEGATIVE = "Advantage: negative"

_STREAM = 0x7461_6773


class Condition(IntEnum):
    """Code of a sample's condition in batch["condition"] (int8)."""

    NONE = 0
    POSITIVE = 1
    NEGATIVE = 2


TEXTS = ("", POSITIVE, NEGATIVE)
"""Words of every Condition, by its code."""


def shares_of(condition: NDArray[np.integer[Any]], level: FloatArray | None = None) -> FloatArray:
    """[B, 2] how much of (positive, negative) every sample hears: (1, 0), (0, 1), nothing, or a mixture.

    Args:
        condition: [B] codes of Condition.
        level: [B] in [-1, 1]; a sample that hears anything hears (1 + level) / 2 and (1 - level) / 2.

    Raises:
        ConfigError: an unknown code.
    """
    if np.any((condition < 0) | (condition >= len(TEXTS))):
        raise ConfigError(f"conditions {sorted(set(condition.tolist()))}, expected codes of {Condition.__qualname__}")
    if level is not None:
        return np.where(condition[:, None] == Condition.NONE, 0, np.stack([1 + level, 1 - level], 1) / 2).astype("f4")
    return np.stack([condition == Condition.POSITIVE, condition == Condition.NEGATIVE], 1).astype(np.float32)


def code_of(text: str) -> Condition:
    """The code of a condition's words.

    Raises:
        ConfigError: they are the words of none.
    """
    if text not in TEXTS:
        raise ConfigError(f"condition {text!r}, expected one of {', '.join(map(repr, TEXTS))}")
    return Condition(TEXTS.index(text))


class PromptedBatches:
    """The batches of another source, with the field "prompt": which of several instructions each sample follows.

    Args:
        batches: any source whose batches have the field "episode" [B].
        prompts: the instructions, in the order that their numbers mean.
        of_episode: the instruction of every episode of the source.

    Raises:
        ConfigError: an episode follows an instruction that is not listed.
    """

    def __init__(self, batches: BatchSource, prompts: Sequence[str], of_episode: Sequence[str]) -> None:
        unknown = sorted(set(of_episode) - set(prompts))
        if unknown:
            raise ConfigError(f"episodes with the instruction {unknown[0]!r}, expected one of {list(prompts)}")
        self.batches = batches
        self._codes = np.array([list(prompts).index(prompt) for prompt in of_episode], np.int64)

    def batch(self, step: int) -> Mapping[str, Any]:
        """Batch number `step` of the source and "prompt" int64 [B]."""
        batch = self.batches.batch(step)
        return {**batch, "prompt": self._codes[np.asarray(batch["episode"])]}


class WeightedBatches:
    """The batches of another source, with the field "weight": the factor on the loss of each sample.

    Args:
        batches: any source whose batches have the field "index" [B], row of the pack.
        weight: [N] factor of every row, >= 0.

    Raises:
        ConfigError: a factor that is negative or not finite.
    """

    def __init__(self, batches: BatchSource, weight: FloatArray) -> None:
        if weight.ndim != 1 or not np.all(np.isfinite(weight) & (weight >= 0)):
            raise ConfigError(f"WeightedBatches: weights of shape {weight.shape}, expected [N] finite numbers >= 0")
        self.batches, self.weight = batches, weight

    def batch(self, step: int) -> Mapping[str, Any]:
        """Batch number `step` of the source and "weight" float32 [B]."""
        batch = self.batches.batch(step)
        return {**batch, "weight": _of_rows(self.weight, batch)}


class ConditionedBatches:
    """The batches of another source, with the field "condition".

    Example:
        batches = ConditionedBatches(TrainingBatches(...), labels.arrays["positive"], seed=0)
        batches.batch(12)["condition"]          # int8 [B]: the same codes whenever it is asked for

    Args:
        batches: any source; with labels its batches need the field "index" [B], row of the pack.
        positive: [N] bool, label of every row; None: every sample is positive (iteration 0).
        level: [N] in [-1, 1], how positive every row is, instead of labels: batches then have the field "level"
            float32 [B] too, and every sample that hears anything has the code POSITIVE.
        dropout: share of samples that hear no condition, in [0, 1]; 1 trains the unconditional policy alone.
        seed: of the draw, >= 0.

    Raises:
        ConfigError: dropout or seed out of range, or labels that are not a vector of bools.
    """

    def __init__(
        self,
        batches: BatchSource,
        positive: BoolArray | None,
        *,
        level: FloatArray | None = None,
        dropout: float = 0.3,
        seed: int,
    ) -> None:
        if not 0 <= dropout <= 1 or seed < 0:
            raise ConfigError(f"ConditionedBatches: dropout {dropout}, seed {seed}: expected within [0, 1] and >= 0")
        if positive is not None and (positive.ndim != 1 or positive.dtype != np.bool_):
            raise ConfigError(
                f"ConditionedBatches: labels of shape {positive.shape} and type {positive.dtype}, expected [N] bool"
            )
        if level is not None and (positive is not None or level.ndim != 1 or not np.all(np.abs(level) <= 1)):
            raise ConfigError("ConditionedBatches: expected labels or levels, and levels [N] in [-1, 1]")
        self.batches = batches
        self.positive, self.level = positive, level
        self.dropout = dropout
        self.seed = seed

    @property
    def identity(self) -> str:
        """sha256 of labels, dropout and seed: belongs to the identity of the training data."""
        labels = None if self.positive is None else digest_array("positive", self.positive)
        drawn = {"positive": labels, "dropout": float(self.dropout), "seed": self.seed}
        graded = {} if self.level is None else {"level": digest_array("level", self.level)}
        return sha256_hex(canonical_json(drawn | graded))

    def batch(self, step: int) -> Mapping[str, Any]:
        """Batch number `step` of the source and "condition" int8 [B] (codes of Condition).

        Raises:
            ConfigError: the batch has no "index", or a row beyond the labels.
        """
        batch = self.batches.batch(step)
        count = len(batch["state"])
        condition = np.full(count, Condition.POSITIVE, np.int8)
        if self.positive is not None:
            condition[~_of_rows(self.positive, batch)] = Condition.NEGATIVE
        condition[self._dropped(step, count)] = Condition.NONE
        graded = {} if self.level is None else {"level": _of_rows(self.level, batch)}
        return {**batch, "condition": condition, **graded}

    def _dropped(self, step: int, count: int) -> NDArray[np.bool_]:
        # Raw counter-based words, as in data.batches: no state runs through training, and no version of numpy matters.
        philox = np.random.Philox(key=np.array([self.seed, _STREAM], np.uint64), counter=[0, step, 0, 0])
        uniform = (philox.random_raw(count) >> np.uint64(11)) * 2.0**-53
        return np.asarray(uniform < self.dropout)


def _of_rows(values: NDArray[Any], batch: Mapping[str, Any]) -> NDArray[Any]:
    """[B] the values [N] of a batch's rows."""
    if "index" not in batch:
        raise ConfigError(f'batches without "index" cannot be labelled; got {sorted(batch)}')
    index = np.asarray(batch["index"])
    if index.min() < 0 or index.max() >= len(values):
        raise ConfigError(
            f"row {index.max()} of the pack, but {len(values)} labels",
            hint="label the same episodes as the batches are drawn from",
        )
    found: NDArray[Any] = values[index]
    return found
