"""From text to tokens: the local vocabulary, or the tokenizer file of published weights.

PaliGemma's tokenizer, which pi0.5 and GigaBrain-0 were trained with, is a `tokenizer.json` of the `tokenizers`
library. It travels in the bundle, byte for byte; no hub is asked. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from policy.flow.vocabulary import VOCAB_SIZE, encode, tokenizer_json
from recap.training.tokenizer import FILE_NAME as FILE_NAME
from recap.training.tokenizer import FileTokenizer as FileTokenizer


class Tokenizer(Protocol):
    """Cuts prompts."""

    @property
    def start(self) -> tuple[int, ...]:
        """Tokens that every prompt begins with."""

    @property
    def size(self) -> int:
        """Rows that a token embedding must have."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text alone, without `start`."""

    @property
    def content(self) -> Mapping[str, Any] | bytes:
        """Of the file tokenizer.json."""


class LocalTokenizer:
    """policy.flow.vocabulary: for networks that are trained from scratch."""

    start: tuple[int, ...] = ()
    size = VOCAB_SIZE

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenizer.encode."""
        return [encode(text) for text in texts]

    @property
    def content(self) -> Mapping[str, Any]:
        """Tokenizer.content."""
        return tokenizer_json()


LOCAL = LocalTokenizer()


def whole_prompts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of each text with what every prompt begins with."""
    return [[*tokenizer.start, *ids] for ids in tokenizer.encode(texts)]
