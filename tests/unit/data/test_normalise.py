"""Statistics are those of the plain formulae, cost no image, and survive a file."""

import json

import numpy as np
import pytest
from tests.support.synthetic import synthetic_draft

from data.batches import TrainingBatches
from data.episodes import EpisodeStore
from data.framecache import FrameCache
from data.normalise import Stats, compute_stats, stats_of_store
from recap.errors import ConfigError

FIGURES = ("q01", "q99", "mean", "std", "min", "max")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = EpisodeStore(tmp_path_factory.mktemp("episodes"))
    for seed, length in enumerate((30, 1, 12)):
        store.commit(synthetic_draft(seed, length=length, height=4, width=4))
    return store


def _plain(values):
    values = values.astype(np.float64)
    return {
        "q01": np.quantile(values, 0.01, axis=0),
        "q99": np.quantile(values, 0.99, axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "min": values.min(axis=0),
        "max": values.max(axis=0),
    }


def test_state_and_action_figures(store):
    stats = stats_of_store(store, store.ids(), chunk=4)
    numbers = [store.numbers(i) for i in store.ids()]
    for moments, position in ((stats.state, 0), (stats.action, 1)):
        expected = _plain(np.concatenate([n[position] for n in numbers]))
        for figure in FIGURES:
            np.testing.assert_allclose(getattr(moments, figure), expected[figure], rtol=1e-12, atol=1e-12)
    assert (stats.frames, stats.episodes, stats.relative_action) == (43, 3, None)


def test_relative_figures_are_those_of_the_batches(store, tmp_path):
    dims = tuple(range(13))
    stats = stats_of_store(store, store.ids(), chunk=4, relative_dims=dims)
    packed = FrameCache(tmp_path).view(store, store.ids())
    batch = TrainingBatches(packed, chunk=4, batch_size=43, seed=0, relative_dims=dims).batch(0)
    expected = _plain(batch.action[~batch.action_is_pad])
    for figure in FIGURES:
        np.testing.assert_allclose(getattr(stats.relative_action, figure), expected[figure], rtol=1e-9, atol=1e-9)


def test_the_order_of_episodes_does_not_matter(store):
    pairs = [store.numbers(i)[:2] for i in store.ids()]
    forward = compute_stats(pairs, chunk=4, relative_dims=(0,))
    assert compute_stats(pairs[::-1], chunk=4, relative_dims=(0,)).to_json() == forward.to_json()


def test_no_image_is_decoded(store, monkeypatch):
    import data.episode_file as module

    real, names = module.read_array, []

    def spy(path, header, name):
        names.append(name)
        return real(path, header, name)

    monkeypatch.setattr(module, "read_array", spy)
    stats_of_store(store, store.ids(), chunk=4)
    assert set(names) == {"state", "action", "intervened"}


def test_a_file_keeps_every_bit(store, tmp_path):
    stats = stats_of_store(store, store.ids(), chunk=4, relative_dims=(0, 1))
    stats.save(tmp_path / "stats.json")
    again = Stats.load(tmp_path / "stats.json")
    assert again.to_json() == stats.to_json()
    np.testing.assert_array_equal(again.relative_action.q99, stats.relative_action.q99)


def test_a_file_of_another_shape_is_refused(store):
    value = json.loads(json.dumps(stats_of_store(store, store.ids(), chunk=4).to_json()))
    with pytest.raises(ConfigError, match="stats: fields"):
        Stats.from_json({**value, "extra": 1})
    with pytest.raises(ConfigError, match=r"stats\.state: figures"):
        Stats.from_json({**value, "state": {"mean": [0.0]}})
    with pytest.raises(ConfigError, match=r"stats\.action: figures of shapes"):
        Stats.from_json({**value, "action": {**value["action"], "q01": [0.0]}})


def test_a_dimension_that_never_moves(store):
    state = np.zeros((5, 1), np.float32)
    stats = compute_stats([(state, state)], chunk=2, relative_dims=(0,))
    assert stats.state.std[0] == 0
    assert stats.relative_action.q01[0] == stats.relative_action.q99[0] == 0


@pytest.mark.parametrize("bad", [{"chunk": 0}, {"relative_dims": (14,)}])
def test_settings_out_of_range_are_refused(store, bad):
    with pytest.raises(ConfigError):
        stats_of_store(store, store.ids(), **{"chunk": 4, **bad})


def test_no_episode_is_refused():
    with pytest.raises(ConfigError, match="no episode"):
        compute_stats([], chunk=4)
