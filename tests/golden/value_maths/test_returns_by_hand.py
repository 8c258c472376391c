"""Two small episodes, worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.value_facts import make_facts

from recap.types import Outcome, Source
from value_model.advantage import LabelConfig, advantages, make_labels
from value_model.returns import ReturnConfig, return_lines, returns

# A success of 3 frames and a failure of 4; T_max 4, so C = 4 and every step costs 1/8.
OFFSETS = np.array([0, 3, 7], dtype=np.int64)
SUCCESS = np.array([True, False])
MAX_STEPS = np.array([4, 4], dtype=np.int64)
VALUES = np.array([-0.5, -0.25, 0.0, -0.5, -0.5, -0.25, -0.75], dtype=np.float32)


def test_recap_returns_by_hand() -> None:
    got = returns(OFFSETS, SUCCESS, MAX_STEPS, ReturnConfig())
    assert got.dtype == np.float32
    assert got.tolist() == [-3 / 8, -2 / 8, -1 / 8, -8 / 8, -7 / 8, -6 / 8, -5 / 8]
    assert return_lines(OFFSETS, SUCCESS, MAX_STEPS, ReturnConfig()).terminal.tolist() == [0, -0.5]


def test_a_cheaper_failure_by_hand() -> None:
    got = returns(OFFSETS, SUCCESS, MAX_STEPS, ReturnConfig(c_fail=0.25))
    np.testing.assert_allclose(got, [-3 / 5, -2 / 5, -1 / 5, -1, -4 / 5, -3 / 5, -2 / 5], rtol=1e-6)


def test_viva_returns_by_hand() -> None:
    got = returns(np.array([0, 3, 7, 8]), np.array([True, False, True]), np.array([4, 4, 4]), ReturnConfig(kind="viva"))
    np.testing.assert_allclose(got, [-1 / 2, -1 / 4, 0, -1, -5 / 6, -4 / 6, -1 / 2, -1 / 4], rtol=1e-6)


def test_advantages_by_hand() -> None:
    got = advantages(VALUES, OFFSETS, SUCCESS, MAX_STEPS, 2, ReturnConfig())
    # t + 2 within the episode: -2/8 + V(t + 2) - V(t); else G_t - V(t).
    expected = [
        -0.25 + 0.0 + 0.5, -0.25 + 0.25, -0.125 - 0.0,
        -0.25 - 0.25 + 0.5, -0.25 - 0.75 + 0.5, -0.75 + 0.25, -0.625 + 0.75,
    ]  # fmt: skip
    assert got.tolist() == expected


def test_labels_by_hand() -> None:
    """Advantages [.25, 0, -.125 | 0, -.5, -.5, .125]; the last frame is a human's, so six frames set the threshold."""
    facts = make_facts(
        [3, 4],
        [Outcome.SUCCESS, Outcome.FAILURE],
        sources=[Source.ROLLOUT, Source.CORRECTION],
        human=[6],
        max_steps=4,
    )
    made = make_labels(
        VALUES, facts, LabelConfig(), lookahead={"fold": 2}, returns=ReturnConfig(), shares={"fold": 0.5}
    )
    # Sorted: -.5 -.5 -.125 | 0 0 .25: three of six above -.125.
    assert made.thresholds == {"fold": pytest.approx(-0.125)}
    assert made.positive.tolist() == [True, True, False, True, False, False, True]
    assert made.forced.tolist() == [False] * 6 + [True]
    assert made.on_threshold.tolist() == [True] * 6 + [False]
