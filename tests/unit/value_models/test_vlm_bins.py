"""Values as distributions over bins: the projection keeps the mean, the loss is the cross-entropy of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from value_model.models.vlm.bins import bin_values, cross_entropy, expected_value, two_hot

VALUES = st.lists(st.floats(-1, 0, width=32), min_size=1, max_size=20)


def dense(value: torch.Tensor, bins: int) -> torch.Tensor:
    """[N, B] the projected distributions."""
    lower, share = two_hot(value, bins)
    out = torch.zeros(len(value), bins)
    out.scatter_(1, lower[:, None], (1 - share)[:, None])
    return out.scatter_add_(1, lower[:, None] + 1, share[:, None])


@given(VALUES, st.integers(2, 401))
def test_the_mean_of_the_two_hot_is_the_value(values: list[float], bins: int) -> None:
    value = torch.tensor(values)
    weights = dense(value, bins)
    assert (weights >= 0).all()
    assert ((weights > 0).sum(1) <= 2).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(len(values)))
    torch.testing.assert_close(weights @ bin_values(bins), value, rtol=0, atol=1e-5)


def test_the_ends_are_bins_of_their_own() -> None:
    assert dense(torch.tensor([-1.0, 0.0]), 201)[[0, 1], [0, 200]].tolist() == [1, 1]
    np.testing.assert_allclose(bin_values(201)[[0, 100, 200]], [-1, -0.5, 0], atol=1e-7)


@given(VALUES)
def test_the_loss_is_the_cross_entropy_of_the_two_hot(values: list[float]) -> None:
    value = torch.tensor(values)
    logits = torch.randn(len(values), 21, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.cross_entropy(logits, dense(value, 21))
    torch.testing.assert_close(cross_entropy(logits, value), expected)


def test_the_value_is_the_mean_of_the_distribution() -> None:
    logits = torch.full((1, 201), -1e9)
    logits[0, [50, 150]] = 0.0
    assert expected_value(logits).item() == pytest.approx(-0.5)
    assert expected_value(torch.zeros(1, 201)).item() == pytest.approx(-0.5, abs=1e-6)
