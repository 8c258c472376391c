"""What must hold of STEAM's training pairs and its two-hot targets whatever the episodes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recap.errors import ConfigError
from value_model.models.steam.model import two_hot
from value_model.models.steam.pairs import PairBatches, successful_rows

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=5)


def experience(lengths: list[int], success: list[bool], lookahead: int) -> Any:
    """The facts of a pack that pairs are drawn from; no pictures."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    packed = SimpleNamespace(offsets=offsets, episode_of=np.repeat(np.arange(len(lengths)), lengths))
    return SimpleNamespace(
        packed=packed, success=np.array(success), lookahead=np.full(len(lengths), lookahead, dtype=np.int64)
    )


def pairs_of(data: Any, *, near_share: float = 0.5, seed: int = 0, batch_size: int = 64) -> PairBatches:
    rows = successful_rows(data, np.arange(int(data.packed.offsets[-1])))
    return PairBatches(
        data,
        rows,
        views=np.array([0]),
        prompt_numbers=np.zeros(len(data.success), dtype=np.int64),
        near_share=near_share,
        batch_size=batch_size,
        seed=seed,
    )


@given(
    lengths=LENGTHS,
    won=st.lists(st.booleans(), min_size=5, max_size=5),
    lookahead=st.integers(1, 50),
    near_share=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 2**31 - 1),
    step=st.integers(0, 10_000),
)
def test_pairs_are_two_frames_of_one_success_and_their_offset_is_its_share_of_the_way(
    lengths: list[int], won: list[bool], lookahead: int, near_share: float, seed: int, step: int
) -> None:
    success = won[: len(lengths)]
    data = experience(lengths, success, lookahead)
    if not any(ok and length > 1 for ok, length in zip(success, lengths, strict=True)):
        with pytest.raises(ConfigError, match="none of the training episodes is a success"):
            pairs_of(data)
        return
    batches = pairs_of(data, near_share=near_share, seed=seed)
    first, second, offset = batches.pairs(step)
    episode = data.packed.episode_of[first]
    np.testing.assert_array_equal(episode, data.packed.episode_of[second])
    assert data.success[episode].all()
    whole = np.array(lengths)[episode] - 1
    np.testing.assert_allclose(offset, (second - first) / whole)
    assert np.all(np.abs(offset) <= 1)
    assert np.all(offset != 0)
    if near_share == 1:
        assert np.abs(second - first).max() <= lookahead
    again = pairs_of(data, near_share=near_share, seed=seed).pairs(step)
    np.testing.assert_array_equal(again[0], first)
    np.testing.assert_array_equal(again[2], offset)


def test_every_frame_and_stride_is_met_in_both_orders() -> None:
    batches = pairs_of(experience([6, 9], [True, False], 2), near_share=0.5, batch_size=4000)
    first, second, _ = batches.pairs(0)
    strides, counts = np.unique(second - first, return_counts=True)
    assert strides.tolist() == [-5, -4, -3, -2, -1, 1, 2, 3, 4, 5]
    assert set(first) == set(second) == set(range(6))
    assert abs(int(counts[:5].sum()) - 2000) < 150
    assert not np.array_equal(first, batches.pairs(1)[0])


@given(
    offsets=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=9),
    half=st.integers(1, 40),
)
def test_the_mean_of_a_two_hot_target_is_the_offset(offsets: list[float], half: int) -> None:
    bins = 2 * half + 1
    wanted = torch.tensor(offsets, dtype=torch.float64)
    target = two_hot(wanted, bins)
    torch.testing.assert_close(target.sum(1), torch.ones_like(wanted))
    assert (target >= 0).all()
    assert ((target > 0).sum(1) <= 2).all()
    places = torch.linspace(-1, 1, bins, dtype=torch.float64)
    torch.testing.assert_close(target @ places, wanted, atol=1e-9, rtol=0)
