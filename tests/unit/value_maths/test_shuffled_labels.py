"""The control that must mean nothing: shares stay, frames change, corrections and aborted episodes are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.value_facts import make_facts

from recap.types import Outcome, Source
from value_model.advantage import LabelConfig, make_labels
from value_model.returns import ReturnConfig

S, F, A = Outcome.SUCCESS, Outcome.FAILURE, Outcome.ABORTED


def _labels(shuffle_seed: int | None):  # type: ignore[no-untyped-def]
    sources = [Source.DEMO, Source.ROLLOUT, Source.ROLLOUT, Source.CORRECTION, Source.ROLLOUT]
    facts = make_facts(
        [40, 60, 60, 50, 10],
        [S, S, F, S, A],
        sources=sources,
        current=[False, True, True, True, True],
        human=[*range(40), *range(180, 200)],
        max_steps=80,
    )
    values = np.random.default_rng(0).uniform(-1, 0, facts.num_frames).astype(np.float32)
    config = LabelConfig(shuffle_seed=shuffle_seed)
    made = make_labels(values, facts, config, lookahead={"fold": 5}, returns=ReturnConfig(), shares={"fold": 0.4})
    return facts, made


def test_shares_within_each_source_stay_and_the_frames_change() -> None:
    facts, plain = _labels(None)
    _, permuted = _labels(0)
    for source in (Source.DEMO, Source.ROLLOUT, Source.CORRECTION):
        rows = facts.rows(facts.of_source(source))
        assert permuted.positive[rows].sum() == plain.positive[rows].sum()
    assert not np.array_equal(permuted.positive, plain.positive)
    np.testing.assert_array_equal(permuted.advantage, plain.advantage)
    assert permuted.thresholds == plain.thresholds


def test_forced_and_aborted_frames_are_left_alone() -> None:
    facts, plain = _labels(None)
    _, permuted = _labels(0)
    assert plain.forced.sum() == 20
    assert permuted.positive[plain.forced].all()
    assert not permuted.positive[facts.rows(facts.aborted)].any()


def test_it_is_a_function_of_the_seed_and_tells_nothing_of_the_outcome() -> None:
    facts, _ = _labels(None)
    np.testing.assert_array_equal(_labels(3)[1].positive, _labels(3)[1].positive)
    assert not np.array_equal(_labels(3)[1].positive, _labels(4)[1].positive)
    success, failure = (slice(int(facts.offsets[e]), int(facts.offsets[e + 1])) for e in (1, 2))
    gap = [np.subtract(*(_labels(seed)[1].positive[rows].mean() for rows in (success, failure))) for seed in range(60)]
    assert np.mean(gap) == pytest.approx(0, abs=0.05)
