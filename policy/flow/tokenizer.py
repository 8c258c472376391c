"""From text to tokens: the local vocabulary, or the tokenizer file of published weights.

PaliGemma's tokenizer, which pi0.5 and GigaBrain-0 were trained with, is a `tokenizer.json` of the `tokenizers`
library. It travels in the bundle, byte for byte; no hub is asked. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from policy.flow.vocabulary import PAD, VOCAB_SIZE, encode, tokenizer_json
from recap.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

FILE_NAME = "tokenizer.json"
_START, _PADDING = "<bos>", "<pad>"


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


class FileTokenizer:
    """A file of the `tokenizers` library, read when the first text is cut.

    Prompts begin with <bos>, as openpi, LeRobot and giga-models have them, whatever post-processor the file names.
    Special tokens that an instruction spells out ("<eos>") are cut as the characters that they are.
    """

    def __init__(self, content: bytes | Path) -> None:
        """Takes the file, or what is in it."""
        self._given = content

    @cached_property
    def content(self) -> bytes:
        """Tokenizer.content."""
        if isinstance(self._given, bytes):
            return self._given
        try:
            return self._given.read_bytes()
        except OSError as error:
            raise ConfigError(f"tokenizer {self._given}: {error.strerror}", hint=_HINT) from error

    @cached_property
    def start(self) -> tuple[int, ...]:
        """Tokenizer.start; ConfigError if the file has no <bos>, or its padding is not token 0."""
        begin, padding = (self._library.token_to_id(name) for name in (_START, _PADDING))
        if begin is None or padding != PAD:
            raise ConfigError(
                f"tokenizer {self._where}: {_START} is {begin} and {_PADDING} is {padding}, expected both, and "
                f"{_PADDING} to be {PAD}",
                hint=_HINT,
            )
        return (begin,)

    @property
    def size(self) -> int:
        """Tokenizer.size: of the vocabulary proper. PaliGemma adds tokens for pictures beyond it, which no text has."""
        return int(self._library.get_vocab_size(with_added_tokens=False))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenizer.encode; ConfigError for a text with an ordinary token that was added beyond the vocabulary."""
        rows = [cut.ids for cut in self._library.encode_batch(list(texts), add_special_tokens=False)]
        for text, row in zip(texts, rows, strict=True):
            if row and max(row) >= self.size:
                raise ConfigError(f"tokenizer {self._where}: {text!r} holds {self._library.id_to_token(max(row))!r}")
        return rows

    @cached_property
    def _library(self) -> Library:
        from tokenizers import Tokenizer as Library

        content = self.content
        try:
            library = Library.from_buffer(content)
        except Exception as error:  # what the library raises is Exception itself
            raise ConfigError(f"tokenizer {self._where}: {error}", hint=_HINT) from error
        library.no_padding()
        library.no_truncation()
        library.encode_special_tokens = True
        return library

    @property
    def _where(self) -> str:
        return "in a bundle" if isinstance(self._given, bytes) else str(self._given)


def whole_prompts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Tokens of each text with what every prompt begins with."""
    return [[*tokenizer.start, *ids] for ids in tokenizer.encode(texts)]


_HINT = "expected the tokenizer.json of PaliGemma, for the `tokenizers` library"
