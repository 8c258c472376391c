"""The tokenizer file of published weights: a `tokenizer.json` of the `tokenizers` library, as Gemma's and PaliGemma's.

It travels in the bundle, byte for byte; no hub is asked. No torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from recap.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Library

FILE_NAME = "tokenizer.json"
PADDING = 0
"""Token that fills up a prompt."""
_START, _PADDING = "<bos>", "<pad>"
_HINT = "expected the tokenizer.json of the weights, Gemma's or PaliGemma's, for the `tokenizers` library"


def opened(path: Path) -> FileTokenizer:
    """The tokenizer of a file, opened once per process as long as the file stays what it is."""
    try:
        stat = path.stat()
    except OSError:  # reading it says what is wrong
        return FileTokenizer(path)
    return _opened(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _opened(path: Path, size: int, changed_ns: int) -> FileTokenizer:
    # PaliGemma's takes a second to open, and settings are checked once per --set and more.
    del size, changed_ns
    return FileTokenizer(path)


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
        """What is in the file."""
        if isinstance(self._given, bytes):
            return self._given
        try:
            return self._given.read_bytes()
        except OSError as error:
            raise ConfigError(f"tokenizer {self._given}: {error.strerror}", hint=_HINT) from error

    @cached_property
    def start(self) -> tuple[int, ...]:
        """Tokens that every prompt begins with; ConfigError if the file has no <bos>, or its padding is not token 0."""
        begin, padding = (self._library.token_to_id(name) for name in (_START, _PADDING))
        if begin is None or padding != PADDING:
            raise ConfigError(
                f"tokenizer {self._where}: {_START} is {begin} and {_PADDING} is {padding}, expected both, and "
                f"{_PADDING} to be {PADDING}",
                hint=_HINT,
            )
        return (begin,)

    @property
    def size(self) -> int:
        """Rows that a token embedding must have: of the vocabulary proper. Texts have none beyond it."""
        return int(self._library.get_vocab_size(with_added_tokens=False))

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokens of each text alone, without `start`; ConfigError for an ordinary token added beyond the vocabulary."""
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
