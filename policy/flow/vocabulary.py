r"""The tokens of the local tokenizer, for networks that are trained from scratch.

Owns how a prompt is cut: every state bin is ONE token, known words are one token each, anything else falls back to
bytes, so no text is ever lost. Needs no hub, no torch. Networks of the published size use PaliGemma's tokenizer
instead; the text is the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from policy.conditioning import NEGATIVE, POSITIVE
from recap.errors import ConfigError

NUM_BINS = 257
"""Bins -1..255: pi0.5 cuts [-1, 1] into 256 and gives -1 to anything below."""

PAD = 0
_BYTES = 1
FIRST_BIN = _BYTES + 256
"""Token id of bin -1."""
MARKER = ", State:"
ACTION_LINE = ";\nAction: "
_TEMPLATE = ("Task:", MARKER, ACTION_LINE, f";\n{POSITIVE}", f";\n{NEGATIVE}", "\nAction: ")
_WORDS = (
    "the a an and then of in on onto into to from with by at up down over under out off left right top bottom middle "
    "front back side near far first second third last each both one two three all it its "
    "fold unfold pick place put take grasp release open close lift lower push pull turn rotate move stack "
    "assemble organize sort arrange insert remove flatten smooth hang wipe pour clean pack unpack load unload "
    "shirt pants towel cloth sleeve sleeves leg legs waist hem half box flap flaps lid corner corners edge edges "
    "table shelf bin basket tray drawer cabinet toilet paper roll rolls cup plate bowl bottle lid coffee "
    "portafilter grinder beans red green blue yellow white black gray small large big object objects robot arm arms "
    "gripper hand hands neatly carefully slowly quickly inside outside along center"
)
WORDS = tuple(dict.fromkeys(f" {word}" for word in _WORDS.split()))
BIN_TOKENS = tuple(f" {value}" for value in range(-1, NUM_BINS - 1))
PIECES = (*BIN_TOKENS, *_TEMPLATE, *WORDS)
"""Text of token FIRST_BIN + i."""
VOCAB_SIZE = 704

if FIRST_BIN + len(PIECES) > VOCAB_SIZE:
    raise ConfigError(f"the vocabulary has {FIRST_BIN + len(PIECES)} tokens and room for {VOCAB_SIZE}")

_ID = {piece: FIRST_BIN + index for index, piece in enumerate(PIECES)}
MARKER_ID = _ID[MARKER]
"""Token after which the numbers of the state follow."""
_CUT = re.compile("|".join(re.escape(piece) for piece in sorted(PIECES, key=len, reverse=True)))


def encode(text: str) -> list[int]:
    """Token ids; the longest known piece first, bytes where none fits.

    Example:
        >>> decode(encode("Task: tidy the shirt"))
        'Task: tidy the shirt'
    """
    tokens: list[int] = []
    end = 0
    for match in _CUT.finditer(text):
        tokens += [_BYTES + byte for byte in text[end : match.start()].encode()]
        tokens.append(_ID[match.group()])
        end = match.end()
    return tokens + [_BYTES + byte for byte in text[end:].encode()]


def decode(tokens: Sequence[int]) -> str:
    """The text of token ids; padding vanishes."""
    raw = b""
    for token in tokens:
        if token >= FIRST_BIN:
            raw += PIECES[token - FIRST_BIN].encode()
        elif token != PAD:
            raw += bytes([token - _BYTES])
    return raw.decode()


def tokenizer_json() -> dict[str, Any]:
    """The same cutting for the `tokenizers` library: bytes by an empty BPE, pieces as added tokens."""
    vocab = {"<pad>": PAD, **{symbol: _BYTES + byte for byte, symbol in enumerate(_byte_symbols())}}
    added = [
        {
            "id": token,
            "content": piece,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": token == PAD,
        }
        for token, piece in ((PAD, "<pad>"), *enumerate(PIECES, start=FIRST_BIN))
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": [],
        },
    }


def _byte_symbols() -> list[str]:
    """The printable character by which byte-level BPE writes each byte: itself, or the next free one from 256 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    symbols, free = [], 256
    for byte in range(256):
        symbols.append(chr(byte if byte in printable else free))
        free += byte not in printable
    return symbols
