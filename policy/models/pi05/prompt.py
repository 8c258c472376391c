r"""pi0.5's prompt and the tokens of the local tokenizer.

Owns the exact text `Task: {task}, State: {bins};\nAction: ` and how it is cut: every state bin is ONE token, known
words are one token each, anything else falls back to bytes, so no text is ever lost. Needs no hub, no torch.
The full-size network uses PaliGemma's tokenizer instead; the text is the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policy.conditioning import NEGATIVE, POSITIVE, TEXTS
from recap.errors import ConfigError
from recap.types import BoolArray, FloatArray

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


def state_bins(state: FloatArray) -> NDArray[np.int64]:
    """Bin of every normalised state value: -1 below -1, 0..255 over [-1, 1], 255 above.

    Example:
        >>> state_bins(np.array([-1.5, -1.0, 0.0, 1.0, 9.0], np.float32)).tolist()
        [-1, 0, 128, 255, 255]
    """
    return np.digitize(state, np.linspace(-1, 1, 257)[:-1]) - 1


def clean_task(task: str) -> str:
    """The task as it enters the prompt: stripped, underscores and line ends become spaces."""
    return task.strip().replace("_", " ").replace("\n", " ")


def prompt_text(task: str, bins: Sequence[int], *, condition: str = "") -> str:
    r"""The whole prompt. `condition` is inserted before the action line, e.g. "Advantage: positive".

    Example:
        >>> prompt_text("fold the_shirt", [0, 128])
        'Task: fold the shirt, State: 0 128;\nAction: '
    """
    return condition_prompt(f"Task: {clean_task(task)}, State: {' '.join(map(str, bins))}{ACTION_LINE}", condition)


def condition_prompt(text: str, condition: str) -> str:
    r"""A prompt without condition, with one: pi*0.6 writes it last before the actions, so that it bears on them alone.

    Example:
        >>> condition_prompt("Task: fold, State: 0;\nAction: ", "Advantage: positive")
        'Task: fold, State: 0;\nAdvantage: positive\nAction: '

    Raises:
        ConfigError: the text does not end with the action line.
    """
    if not text.endswith(ACTION_LINE):
        raise ConfigError(f"a prompt ends with {text[-16:]!r}: no place for a condition, expected {ACTION_LINE!r}")
    return f"{text.removesuffix(ACTION_LINE)};\n{condition}\nAction: " if condition else text


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


def prompt_tokens(task: str, state: FloatArray, *, condition: str = "") -> NDArray[np.int64]:
    """[B, T] tokens of `prompt_text` for normalised states [B, S], without writing or cutting any text per row."""
    bins = state_bins(state)
    head, tail = _around_numbers(task, condition)
    rows = np.empty((len(bins), len(head) + bins.shape[1] + len(tail)), np.int64)
    rows[:, : len(head)] = head
    rows[:, len(head) : len(head) + bins.shape[1]] = bins + (FIRST_BIN + 1)
    rows[:, len(head) + bins.shape[1] :] = tail
    return rows


def conditioned_prompt_tokens(
    task: str, state: FloatArray, condition: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.int64], BoolArray | None]:
    """Tokens of prompts that differ in their conditions; see `mixed_prompt_tokens`."""
    return mixed_prompt_tokens((task,), np.zeros(len(state), np.int64), state, condition)


def mixed_prompt_tokens(
    tasks: Sequence[str], which: NDArray[np.integer[Any]], state: FloatArray, condition: NDArray[np.integer[Any]]
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
        raise ConfigError(f"conditions {codes}, expected codes 0..{len(TEXTS) - 1} of policy.conditioning.Condition")
    kinds = sorted(set(zip(np.asarray(which).tolist(), np.asarray(condition).tolist(), strict=True)))
    if len(kinds) == 1:
        return prompt_tokens(tasks[kinds[0][0]], state, condition=TEXTS[kinds[0][1]]), None
    groups = [(np.flatnonzero((which == one) & (condition == code)), tasks[one], TEXTS[code]) for one, code in kinds]
    parts = [(rows, prompt_tokens(task, state[rows], condition=text)) for rows, task, text in groups]
    tokens = np.full((len(state), max(part.shape[1] for _, part in parts)), PAD, np.int64)
    written = np.zeros(tokens.shape, np.bool_)
    for rows, part in parts:
        tokens[rows, : part.shape[1]] = part
        written[rows, : part.shape[1]] = True
    return tokens, None if written.all() else written


def unconditioned_tokens(tokens: NDArray[np.int64], lengths: NDArray[np.int64], *, condition: str) -> NDArray[np.int64]:
    """The same prompts [B, T] without their condition, padded on the right.

    Args:
        tokens: [B, T] prompts that all end with `condition` and the action line, padded on the right.
        lengths: [B] tokens of every prompt.
        condition: words of the condition.

    Raises:
        ConfigError: a prompt does not end so.
    """
    tail, plain = encode(condition_prompt(ACTION_LINE, condition)), encode(ACTION_LINE)
    out = tokens.copy()
    for row, end in zip(out, lengths.tolist(), strict=True):
        if row[end - len(tail) : end].tolist() != tail:
            raise ConfigError(
                f"a prompt does not end with the condition {condition!r}", hint="use the bundle's own preprocessor"
            )
        row[end - len(tail) : end] = [*plain, *[PAD] * (len(tail) - len(plain))]
    return out


@lru_cache(maxsize=64)
def _around_numbers(task: str, condition: str) -> tuple[list[int], list[int]]:
    whole = encode(prompt_text(task, [0], condition=condition))
    at = len(encode(f"Task: {clean_task(task)}{MARKER}"))
    return whole[:at], whole[at + 1 :]


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
