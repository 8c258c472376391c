"""The prompt is pi0.5's to the letter, and how it is cut into tokens does not move under saved bundles."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from policy.flow.vocabulary import (
    BIN_TOKENS,
    FIRST_BIN,
    NUM_BINS,
    PAD,
    PIECES,
    VOCAB_SIZE,
    decode,
    encode,
    tokenizer_json,
)
from policy.models.pi05.prompt import PROMPT


def test_prompt_text_is_pi05s() -> None:
    text = PROMPT.text(" fold_the\nshirt ", [-1, 0, 128, 255])
    assert text == "Task: fold the shirt, State: -1 0 128 255;\nAction: "


def test_condition_goes_before_the_action_line() -> None:
    text = PROMPT.text("fold the shirt", [7], condition="Advantage: positive")
    assert text == "Task: fold the shirt, State: 7;\nAdvantage: positive\nAction: "


def test_tokens_of_both_conditions_are_frozen() -> None:
    """pi*0.6's place: after the state, last before the actions; one token for it, one for the action line."""
    state = np.full((3, 2), -1.0, np.float32)
    tokens, written = PROMPT.mixed_tokens(("fold the shirt",), np.zeros(3, int), state, np.array([0, 1, 2]))
    assert tokens.tolist() == [
        [514, 563, 520, 597, 515, 258, 258, 516, PAD],
        [514, 563, 520, 597, 515, 258, 258, 517, 519],
        [514, 563, 520, 597, 515, 258, 258, 518, 519],
    ]
    assert written is not None
    assert written.sum(1).tolist() == [8, 9, 9]
    assert decode(tokens[0].tolist()) == "Task: fold the shirt, State: 0 0;\nAction: "
    assert decode(tokens[1].tolist()) == "Task: fold the shirt, State: 0 0;\nAdvantage: positive\nAction: "
    assert decode(tokens[2].tolist()) == "Task: fold the shirt, State: 0 0;\nAdvantage: negative\nAction: "


def test_every_bin_is_one_token() -> None:
    assert len(BIN_TOKENS) == NUM_BINS == 257
    for value in range(-1, 256):
        tokens = encode(PROMPT.text("fold the shirt", [value, 3]))
        assert len(tokens) == 8
        assert tokens[5] == FIRST_BIN + 1 + value
        assert tokens[6] == FIRST_BIN + 4


def test_bins_are_lerobots() -> None:
    state = np.linspace(-1.3, 1.3, 1001, dtype=np.float32)
    np.testing.assert_array_equal(PROMPT.bins(state), np.digitize(state, bins=np.linspace(-1, 1, 256 + 1)[:-1]) - 1)
    assert PROMPT.bins(np.array([-1.01, -1.0, 0.9999, 5.0], np.float32)).tolist() == [-1, 0, 255, 255]


def test_shirt_prompt_tokens() -> None:
    tokens = encode(PROMPT.text("fold the shirt", [1, 2, -1, 255], condition="Advantage: negative"))
    assert tokens == [514, 563, 520, 597, 515, 259, 260, 257, 513, 518, 519]
    assert decode(tokens) == PROMPT.text("fold the shirt", [1, 2, -1, 255], condition="Advantage: negative")


_PIECES_SHA256 = "70109a463345d7961413f0cf436b94a76fcea70d0d9673527798a46a5d993bbb"


def test_vocabulary_is_frozen() -> None:
    """Saved weights index this list: pieces may be appended while they fit, never moved."""
    assert len(PIECES) == 404
    assert hashlib.sha256(json.dumps(PIECES).encode()).hexdigest() == _PIECES_SHA256
    assert FIRST_BIN + len(PIECES) <= VOCAB_SIZE == 704


def test_vectorised_tokens_equal_the_text_cut_up() -> None:
    state = np.random.default_rng(0).uniform(-1.2, 1.2, (6, 14)).astype(np.float32)
    for task in ("fold the shirt", "organize 3 toilet_paper rolls", "Stack \u00e9migr\u00e9 boxes"):
        for condition in ("", "Advantage: positive"):
            rows = PROMPT.tokens(task, state, condition=condition)
            for row, bins in zip(rows, PROMPT.bins(state), strict=True):
                assert row.tolist() == encode(PROMPT.text(task, bins.tolist(), condition=condition))


def test_tokenizers_library_cuts_alike() -> None:
    """tokenizer.json in the bundle says the same as `encode`, byte fall-back included."""
    from tokenizers import Tokenizer

    other = Tokenizer.from_str(json.dumps(tokenizer_json()))
    for task in ("fold the shirt", "put 12 Caf\u00e9 cups\ton the table", "<weird> 999 ~"):
        text = PROMPT.text(task, [-1, 0, 99, 255], condition="Advantage: positive")
        assert other.encode(text).ids == encode(text)
        assert decode(encode(text)) == text
