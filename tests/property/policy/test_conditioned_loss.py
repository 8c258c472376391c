"""A condition changes the prompt of its own row and nothing else; padding it in a mixed batch changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.policies import TASK, SyntheticBatches, synthetic_stats
from torch import Tensor

from policy.conditioning import TEXTS, Condition
from policy.flow.initialise import initialise
from policy.flow.learner import FlowLearner, float_images
from policy.flow.prompt import without_condition
from policy.flow.scaling import PolicyStats
from policy.flow.vocabulary import FIRST_BIN, PAD
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.prompt import PROMPT
from policy.models.pi05.sizes import tiny
from recap.errors import ConfigError
from recap.training.fit import step_generator

CHUNK, ROWS = 6, 4
codes = st.lists(st.sampled_from([0, 1, 2]), min_size=ROWS, max_size=ROWS).map(lambda found: np.array(found, np.int8))


def make_learner() -> FlowLearner:
    network = Pi05Network(replace(tiny(), action_dim=14, cameras=3))
    initialise(network, seed=0, first_bin=FIRST_BIN)
    stats = PolicyStats.from_json(synthetic_stats(CHUNK, ()), relative=False)
    return FlowLearner(network, prompts=(TASK,), stats=stats, draws=2, shift_pixels=0)


LEARNER = make_learner()
BATCH: dict[str, Any] = dict(SyntheticBatches(batch_size=ROWS, chunk=CHUNK).batch(0))


def losses(condition: Any, rows: Any = slice(None)) -> Tensor:
    """[rows, K, H, A] losses with fixed noise and times, of some rows only."""
    state = LEARNER.stats.state.apply(BATCH["state"])
    tokens, written = PROMPT.mixed_tokens(
        (TASK,), np.zeros(len(state[rows]), int), state[rows], np.asarray(condition)[rows]
    )
    generator = step_generator(0, 0)
    noise = torch.randn(ROWS, 2, CHUNK, 14, generator=generator)
    time = torch.rand(ROWS, 2, generator=generator)
    return LEARNER.losses(
        float_images(torch.from_numpy(BATCH["images"][rows])),
        torch.from_numpy(tokens),
        LEARNER.prepare(BATCH, step_generator(0, 0))["action"][rows],
        noise[rows],
        time[rows],
        token_valid=None if written is None else torch.from_numpy(written),
    )


@given(condition=codes)
def test_a_mixed_batch_equals_its_rows_alone(condition: Any) -> None:
    """Rows alone have no padding at all: what the mixed batch adds for equal lengths has no weight."""
    with torch.no_grad():
        together = losses(condition)
        for row in range(ROWS):
            torch.testing.assert_close(together[row], losses(condition, [row])[0], rtol=2e-5, atol=2e-6)


@given(condition=codes, other=codes)
def test_only_rows_whose_condition_changes_change(condition: Any, other: Any) -> None:
    with torch.no_grad():
        moved = (losses(condition) - losses(other)).abs().amax((1, 2, 3)).numpy()
    assert np.all(moved[condition == other] < 2e-5)
    assert np.all(moved[condition != other] > 1e-4)


def test_gradient_of_a_mixed_batch_is_the_sum_over_its_rows() -> None:
    condition = np.array([Condition.NONE, Condition.POSITIVE, Condition.NEGATIVE, Condition.NONE], np.int8)
    found = []
    for groups in ([slice(None)], [[row] for row in range(ROWS)]):
        LEARNER.zero_grad()
        for rows in groups:
            losses(condition, rows).sum().backward()
        found.append({name: value.grad.clone() for name, value in LEARNER.named_parameters() if value.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        largest = found[1][name].abs().max()
        assert (value - found[1][name]).abs().max() <= 2e-4 * largest + 1e-5, name
    pad = found[0]["network.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"][PAD]
    assert not pad.any()
    LEARNER.zero_grad()


def test_absent_and_none_conditions_are_the_same_bits() -> None:
    plain, none, positive = (
        LEARNER(LEARNER.prepare({**BATCH, **field}, step_generator(0, 1)))[0]
        for field in ({}, {"condition": np.zeros(ROWS, np.int8)}, {"condition": np.ones(ROWS, np.int8)})
    )
    assert plain.item() == none.item() != positive.item()


@given(condition=codes)
def test_tokens_are_those_of_each_row_then_padding(condition: Any) -> None:
    state = np.linspace(-1, 1, ROWS * 14, dtype=np.float32).reshape(ROWS, 14)
    tokens, written = PROMPT.mixed_tokens((TASK,), np.zeros(len(state), int), state, condition)
    for row, code in enumerate(condition):
        alone = PROMPT.tokens(TASK, state[row : row + 1], condition=TEXTS[code])[0].tolist()
        assert tokens[row].tolist() == alone + [PAD] * (tokens.shape[1] - len(alone))
        assert written is None or written[row].sum() == len(alone)
    assert (written is None) == (len({TEXTS[code] == "" for code in condition}) == 1)


@given(row=st.integers(0, ROWS - 1), extra=st.integers(0, 3))
def test_leaving_the_condition_out_gives_the_plain_prompt(row: int, extra: int) -> None:
    state = np.linspace(-1, 1, ROWS * 14, dtype=np.float32).reshape(ROWS, 14)[row : row + 1]
    conditioned, plain = PROMPT.tokens(TASK, state, condition=TEXTS[1]), PROMPT.tokens(TASK, state)
    padded = np.pad(conditioned, ((0, 0), (0, extra)))
    out = without_condition(padded, np.array([conditioned.shape[1]]), PROMPT.tails(TEXTS[1]))
    assert out[0].tolist() == plain[0].tolist() + [PAD] * (1 + extra)
    with pytest.raises(ConfigError, match="does not end with the condition"):
        without_condition(plain, np.array([plain.shape[1]]), PROMPT.tails(TEXTS[1]))


def test_unknown_codes_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"conditions \[0, 3\]"):
        PROMPT.mixed_tokens((TASK,), np.zeros(2, int), np.zeros((2, 14), np.float32), np.array([0, 3]))
