"""Several instructions in one batch: each row hears its own, conditioned or not, and nothing else of it changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.policies import SyntheticBatches, synthetic_stats

from policy.conditioning import POSITIVE, TEXTS, ConditionedBatches, PromptedBatches
from policy.flow.initialise import initialise
from policy.flow.learner import FlowLearner
from policy.flow.scaling import PolicyStats
from policy.flow.vocabulary import FIRST_BIN, PAD
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.prompt import PROMPT
from policy.models.pi05.sizes import tiny
from recap.errors import ConfigError
from recap.training.fit import step_generator

PROMPTS = ("fold the shirt", "organize the toilet paper rolls", "tidy up")
CHUNK, ROWS = 6, 4


def of_rows(highest: int) -> Any:
    return st.lists(st.integers(0, highest), min_size=ROWS, max_size=ROWS).map(lambda found: np.array(found, np.int64))


@given(which=of_rows(len(PROMPTS) - 1), condition=of_rows(len(TEXTS) - 1))
def test_tokens_are_those_of_each_row_then_padding(which: Any, condition: Any) -> None:
    state = np.linspace(-1, 1, ROWS * 14, dtype=np.float32).reshape(ROWS, 14)
    tokens, written = PROMPT.mixed_tokens(PROMPTS, which, state, condition)
    for row, (one, code) in enumerate(zip(which, condition, strict=True)):
        alone = PROMPT.tokens(PROMPTS[one], state[row : row + 1], condition=TEXTS[code])[0].tolist()
        assert tokens[row].tolist() == alone + [PAD] * (tokens.shape[1] - len(alone))
        assert written is None or written[row].sum() == len(alone)


def learner(prompts: tuple[str, ...]) -> FlowLearner:
    network = Pi05Network(replace(tiny(), action_dim=14, cameras=3))
    initialise(network, seed=0, first_bin=FIRST_BIN)
    stats = PolicyStats.from_json(synthetic_stats(CHUNK, ()), relative=False)
    return FlowLearner(network, prompts=prompts, stats=stats, draws=2, shift_pixels=0)


BATCH: dict[str, Any] = dict(SyntheticBatches(batch_size=ROWS, chunk=CHUNK).batch(0))


def loss(prompts: tuple[str, ...], **fields: Any) -> float:
    made = learner(prompts)
    value, _ = made(made.prepare({**BATCH, **fields}, step_generator(0, 0)))
    return float(value.detach())


def test_a_batch_of_one_of_several_is_that_of_a_learner_of_one() -> None:
    for number, prompt in enumerate(PROMPTS):
        assert loss(PROMPTS, prompt=np.full(ROWS, number)) == loss((prompt,))
    assert loss(PROMPTS) == loss(PROMPTS[:1]), "without the field the first is meant"


def test_rows_of_two_tasks_weigh_alike() -> None:
    """All rows have as many real actions here, so that the loss of a mixed batch is the mean of its rows' losses."""
    fields = {"action_is_pad": np.zeros((ROWS, CHUNK), np.bool_)}
    which = np.array([0, 1, 0, 1])

    def each(prompts: tuple[str, ...], number: Any) -> torch.Tensor:
        made = learner(prompts)
        seen: list[torch.Tensor] = []
        whole = made.losses
        made.losses = lambda *a, **k: (seen.append(found := whole(*a, **k)), found)[1]  # type: ignore[method-assign]
        made(made.prepare({**BATCH, **fields, "prompt": number}, step_generator(0, 0)))
        return seen[0].detach().flatten(1).mean(1)

    mixed = each(PROMPTS, which)
    alone = [each(PROMPTS, np.full(ROWS, number)) for number in (0, 1)]
    expected = torch.stack([alone[number][row] for row, number in enumerate(which.tolist())])
    torch.testing.assert_close(mixed, expected, rtol=1e-5, atol=1e-6)


def test_the_number_of_each_sample_is_that_of_its_episode() -> None:
    class TwoEpisodes:
        def batch(self, step: int) -> dict[str, Any]:
            return {**BATCH, "episode": np.array([1, 0, 1, 1]), "index": np.arange(ROWS)}

    source = PromptedBatches(TwoEpisodes(), PROMPTS, (PROMPTS[2], PROMPTS[0]))
    assert source.batch(0)["prompt"].tolist() == [0, 2, 0, 0]
    conditioned = ConditionedBatches(source, None, seed=0).batch(0)
    assert conditioned["prompt"].tolist() == [0, 2, 0, 0], "conditions keep it"
    assert POSITIVE in {TEXTS[code] for code in conditioned["condition"]}
    with pytest.raises(ConfigError, match="instruction 'sing', expected one of"):
        PromptedBatches(TwoEpisodes(), PROMPTS, ("sing",))
