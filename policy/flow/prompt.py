r"""How a family writes instruction, state and advantage condition into one prompt, and the tokens of many prompts.

Families differ in how they clean the instruction, where a value of the state on the edge of a bin belongs, and what
ends the prompt; a subclass of PromptForm says so. What cuts the text into tokens is the tokenizer's business. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy.conditioning import TEXTS
from policy.flow.tokenizer import LOCAL, Tokenizer, whole_prompts
from policy.flow.vocabulary import FIRST_BIN, MARKER, NUM_BINS, PAD, encode
from recap.errors import ConfigError
from recap.types import BoolArray, FloatArray

EDGES = np.linspace(-1, 1, 257)[:-1]
"""[256] lower edges of the bins of a normalised state."""


@dataclass(frozen=True, slots=True)
class PromptForm:
    """The text of one family."""

    ending: str
    """What follows the bins of the state."""
    after: str
    """What follows a condition, which stands on a line of its own after the state."""
    tokenizer: Tokenizer = LOCAL
    """What the weights were trained with."""

    def head(self, task: str) -> str:
        """All that stands before the state, e.g. "Task: fold the shirt": stripped, line ends become spaces."""
        return f"Task: {task.strip().replace('_', ' ').replace('\n', ' ')}"

    def bins(self, state: FloatArray) -> NDArray[np.int64]:
        """Bin of every normalised state value: -1 below -1, 0..255 over [-1, 1], 255 above."""
        return np.digitize(state, EDGES) - 1

    def text(self, task: str, bins: Sequence[int], *, condition: str = "") -> str:
        """The whole prompt. `condition` is inserted before its end, e.g. "Advantage: positive"."""
        return self.conditioned(f"{self.head(task)}{MARKER} {' '.join(map(str, bins))}{self.ending}", condition)

    def conditioned(self, text: str, condition: str) -> str:
        """A prompt without condition, with one: right before the actions as in pi*0.6, so that it bears on them alone.

        Raises:
            ConfigError: the text does not end as this form does.
        """
        if not text.endswith(self.ending):
            raise ConfigError(f"a prompt ends with {text[-16:]!r}: no place for a condition, expected {self.ending!r}")
        return f"{text.removesuffix(self.ending)};\n{condition}{self.after}" if condition else text

    def longest(self, task: str, states: int) -> int:
        """Tokens of the longest prompt that a task, so many state values and a condition can make."""
        numbers = self.tokenizer.encode([f" {value}" for value in range(-1, NUM_BINS - 1)])
        widest = max(range(NUM_BINS), key=lambda place: len(numbers[place])) - 1
        texts = [self.text(task, [widest] * states, condition=condition) for condition in TEXTS]
        return max(map(len, whole_prompts(self.tokenizer, texts)))

    def tokens(self, task: str, state: FloatArray, *, condition: str = "") -> NDArray[np.int64]:
        """[B, T] tokens of `text` for normalised states [B, S], without writing or cutting any text per row.

        Of the local vocabulary, in which every bin is one token; `mixed_tokens` knows any.
        """
        bins = self.bins(state)
        head, tail = _around_numbers(self, task, condition)
        rows = np.empty((len(bins), len(head) + bins.shape[1] + len(tail)), np.int64)
        rows[:, : len(head)] = head
        rows[:, len(head) : len(head) + bins.shape[1]] = bins + (FIRST_BIN + 1)
        rows[:, len(head) + bins.shape[1] :] = tail
        return rows

    def mixed_tokens(
        self,
        tasks: Sequence[str],
        which: NDArray[np.integer[Any]],
        state: FloatArray,
        condition: NDArray[np.integer[Any]],
    ) -> tuple[NDArray[np.int64], BoolArray | None]:
        """Tokens of prompts that differ in their instructions and conditions.

        Args:
            tasks: the instructions, in words.
            which: [B] the instruction of each row.
            state: [B, S] normalised states.
            condition: [B] codes of policy.conditioning.Condition.

        Returns:
            (tokens [B, T], padded on the right by PAD; [B, T] True where a token is written, or None where all are).

        Raises:
            ConfigError: an unknown code.
        """
        codes = sorted(set(np.asarray(condition).tolist()))
        if codes and not 0 <= codes[0] <= codes[-1] < len(TEXTS):
            raise ConfigError(
                f"conditions {codes}, expected codes 0..{len(TEXTS) - 1} of policy.conditioning.Condition"
            )
        if self.tokenizer is not LOCAL:
            bins = self.bins(state).tolist()
            told = zip(np.asarray(which).tolist(), bins, np.asarray(condition).tolist(), strict=True)
            texts = [self.text(tasks[one], row, condition=TEXTS[code]) for one, row, code in told]
            return padded(whole_prompts(self.tokenizer, texts))
        kinds = sorted(set(zip(np.asarray(which).tolist(), np.asarray(condition).tolist(), strict=True)))
        if len(kinds) == 1:
            return self.tokens(tasks[kinds[0][0]], state, condition=TEXTS[kinds[0][1]]), None
        parts = []
        for one, code in kinds:
            rows = np.flatnonzero((which == one) & (condition == code))
            parts.append((rows, self.tokens(tasks[one], state[rows], condition=TEXTS[code])))
        tokens = np.full((len(state), max(part.shape[1] for _, part in parts)), PAD, np.int64)
        written = np.zeros(tokens.shape, np.bool_)
        for rows, part in parts:
            tokens[rows, : part.shape[1]] = part
            written[rows, : part.shape[1]] = True
        return tokens, None if written.all() else written

    def tails(self, condition: str) -> list[list[int]]:
        """Tokens that end a prompt with `condition`, and those that end it without."""
        return self.tokenizer.encode([self.conditioned(self.ending, condition), self.ending])


def without_condition(
    tokens: NDArray[np.int64], lengths: NDArray[np.int64], tails: Sequence[Sequence[int]]
) -> NDArray[np.int64]:
    """The same prompts [B, T] without their condition, padded on the right.

    Args:
        tokens: [B, T] prompts that all end with the condition, padded on the right.
        lengths: [B] tokens of every prompt.
        tails: PromptForm.tails of the condition.

    Raises:
        ConfigError: a prompt does not end so.
    """
    tail, plain = map(list, tails)
    out = tokens.copy()
    for row, end in zip(out, lengths.tolist(), strict=True):
        if row[end - len(tail) : end].tolist() != tail:
            raise ConfigError(
                f"a prompt does not end with the condition's tokens {tail}", hint="use the bundle's own preprocessor"
            )
        row[end - len(tail) : end] = [*plain, *[PAD] * (len(tail) - len(plain))]
    return out


def padded(rows: Sequence[Sequence[int]]) -> tuple[NDArray[np.int64], BoolArray | None]:
    """(tokens [B, T], padded on the right by PAD; [B, T] True where a token is written, or None where all are)."""
    tokens = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    written = np.arange(tokens.shape[1]) < np.array([len(row) for row in rows])[:, None]
    for out, row in zip(tokens, rows, strict=True):
        out[: len(row)] = row
    return tokens, None if written.all() else written


@lru_cache(maxsize=64)
def _around_numbers(form: PromptForm, task: str, condition: str) -> tuple[list[int], list[int]]:
    whole = encode(form.text(task, [0], condition=condition))
    at = len(encode(f"{form.head(task)}{MARKER}"))
    return whole[:at], whole[at + 1 :]
