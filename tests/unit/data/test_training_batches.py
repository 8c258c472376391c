"""Batches are a function of (seed, step) and hold the right frames and actions."""

import time

import numpy as np
import pytest
from tests.support.synthetic import synthetic_draft

from data.batches import TrainingBatches, epoch_order
from data.episodes import EpisodeStore
from data.framecache import FrameCache
from recap.errors import ConfigError

LENGTHS = (5, 1, 9, 4)
TOTAL = sum(LENGTHS)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    root = tmp_path_factory.mktemp("batches")
    store = EpisodeStore(root / "episodes")
    for seed, length in enumerate(LENGTHS):
        store.commit(synthetic_draft(seed, length=length, height=4, width=4))
    return FrameCache(root / "cache").view(store, store.ids())


def _slow_chunk(packed, row, chunk):
    """The chunk the plain way: step by step within the episode, the last action repeated."""
    episode = packed.episode_of[row]
    end = packed.offsets[episode + 1]
    steps = [min(row + k, end - 1) for k in range(chunk)]
    return packed.action[steps], np.array([row + k >= end for k in range(chunk)])


@pytest.mark.parametrize("chunk", [1, 4, 20])
def test_every_field_is_that_of_its_frame(packed, chunk):
    batch = TrainingBatches(packed, chunk=chunk, batch_size=7, seed=3).batch(2)
    assert batch.images.dtype == np.uint8
    assert batch.images.shape == (7, 3, 4, 4, 3)
    for b, row in enumerate(batch.index):
        action, is_pad = _slow_chunk(packed, row, chunk)
        np.testing.assert_array_equal(batch.images[b], packed.images[row])
        np.testing.assert_array_equal(batch.state[b], packed.state[row])
        np.testing.assert_array_equal(batch.action[b], action)
        np.testing.assert_array_equal(batch.action_is_pad[b], is_pad)
        assert batch.episode[b] == packed.episode_of[row]
        assert batch.frame[b] == row - packed.offsets[batch.episode[b]]


def test_relative_actions_are_relative_to_the_state_at_the_start_of_the_chunk(packed):
    dims = (0, 2, 5)
    absolute = TrainingBatches(packed, chunk=6, batch_size=TOTAL, seed=0).batch(0)
    relative = TrainingBatches(packed, chunk=6, batch_size=TOTAL, seed=0, relative_dims=dims).batch(0)
    for dim in range(14):
        expected = absolute.action[:, :, dim]
        if dim in dims:
            expected = expected - absolute.state[:, None, dim]
        np.testing.assert_array_equal(relative.action[:, :, dim], expected)
    np.testing.assert_array_equal(absolute.action[:, 0], packed.action[absolute.index])


def test_a_batch_does_not_depend_on_what_was_asked_before(packed):
    args = {"chunk": 3, "batch_size": 8, "seed": 1}
    in_order = TrainingBatches(packed, **args)
    wanted = [in_order.batch(step) for step in range(12)]
    for step in (11, 0, 5, 5, 10, 1):
        for source in (in_order, TrainingBatches(packed, **args)):
            for name, value in source.batch(step).items():
                np.testing.assert_array_equal(value, wanted[step][name])


def test_batches_are_fresh_arrays(packed):
    batches = TrainingBatches(packed, chunk=3, batch_size=4, seed=1)
    first = batches.batch(0)
    first.images[...] = 0
    first.action[...] = 0
    assert batches.batch(0).images.any()
    assert batches.batch(0).action.any()


def test_seeds_and_epochs_order_differently(packed):
    orders = [tuple(epoch_order(seed, epoch, 100)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(100)) for order in orders)


def test_the_order_is_pinned():
    # A resumed run continues another process's order, perhaps under another numpy.
    assert epoch_order(7, 3, 10).tolist() == [2, 5, 9, 7, 3, 0, 6, 8, 4, 1]


def test_orders_are_uniform_enough():
    first = np.array([epoch_order(seed, 0, 5)[0] for seed in range(2000)])
    assert (np.abs(np.bincount(first, minlength=5) - 400) < 80).all()


def test_a_batch_larger_than_the_data_spans_epochs(packed):
    batch = TrainingBatches(packed, chunk=1, batch_size=2 * TOTAL + 3, seed=0).batch(1)
    counts = np.bincount(batch.index, minlength=TOTAL)
    assert counts.min() >= 1
    assert counts.max() <= 4
    assert counts.sum() == 2 * TOTAL + 3


@pytest.mark.parametrize(
    "bad", [{"chunk": 0}, {"batch_size": 0}, {"seed": -1}, {"relative_dims": (14,)}, {"relative_dims": (-1,)}]
)
def test_settings_out_of_range_are_refused(packed, bad):
    with pytest.raises(ConfigError):
        TrainingBatches(packed, **{"chunk": 2, "batch_size": 2, "seed": 0, **bad})


def test_negative_batch_number_and_unknown_field_are_refused(packed):
    batches = TrainingBatches(packed, chunk=2, batch_size=2, seed=0)
    with pytest.raises(ConfigError):
        batches.batch(-1)
    with pytest.raises(KeyError):
        batches.batch(0)["reward"]


def test_far_steps_cost_no_more_than_near_ones(packed):
    batches = TrainingBatches(packed, chunk=2, batch_size=8, seed=0)
    start = time.perf_counter()
    batches.batch(10**9)
    assert time.perf_counter() - start < 1.0


def test_chosen_rows_are_visited_each_once_an_epoch_and_no_other(packed):
    rows = np.flatnonzero(np.arange(TOTAL) % 3 == 0)
    batches = TrainingBatches(packed, chunk=3, batch_size=1, seed=1, rows=rows)
    assert batches.steps_per_epoch == len(rows)
    for epoch in range(2):
        seen = [int(batches.batch(epoch * len(rows) + step).index[0]) for step in range(len(rows))]
        assert sorted(seen) == rows.tolist()
        assert seen != sorted(seen)
    everything = TrainingBatches(packed, chunk=3, batch_size=4, seed=1, rows=np.arange(TOTAL))
    for name, value in TrainingBatches(packed, chunk=3, batch_size=4, seed=1).batch(2).items():
        np.testing.assert_array_equal(everything.batch(2)[name], value)


@pytest.mark.parametrize("rows", [[], [-1], [TOTAL]])
def test_no_row_and_rows_beyond_the_view_are_refused(packed, rows):
    with pytest.raises(ConfigError, match="expected at least one of"):
        TrainingBatches(packed, chunk=3, batch_size=4, seed=1, rows=np.array(rows, np.int64))
