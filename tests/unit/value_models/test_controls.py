"""clock, state_only and the controls: closed forms that can be checked by hand."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.values import PROMPT, synthetic_values, train_synthetic

from recap.errors import ConfigError
from value_model.metrics import spearman
from value_model.models import ValueData, load_value_model
from value_model.models.clock import ClockConfig
from value_model.models.controls import OracleConfig, RandomConfig
from value_model.models.state_only import StateOnlyConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ValueData:
    return synthetic_values(tmp_path_factory.mktemp("experience"), episodes=4, length=12)


def test_the_clock_is_the_mean_return_by_step(data: ValueData, tmp_path: Path) -> None:
    figures = train_synthetic(ClockConfig(bandwidth=0.01), data, tmp_path, episodes=(0, 1, 2))
    value, spread = load_value_model(tmp_path / "bundle").label(data, 3, draws=1, noise_seed=0)
    offsets = data.packed.offsets
    for t in range(12):
        expected = np.mean([data.returns[offsets[e] + t] for e in range(3)])
        assert value[t] == pytest.approx(expected, abs=1e-6)
    assert (spread == 0).all()
    assert figures["frames"] == offsets[3]


def test_past_the_longest_training_episode_the_clock_stands_still(data: ValueData, tmp_path: Path) -> None:
    lengths = np.diff(data.packed.offsets)
    short, long = int(lengths.argmin()), int(lengths.argmax())
    train_synthetic(ClockConfig(), data, tmp_path, episodes=(short,))
    value, _ = load_value_model(tmp_path / "bundle").label(data, long, draws=1, noise_seed=0)
    assert lengths[long] > lengths[short]
    assert (value[lengths[short] - 1 :] == value[lengths[short] - 1]).all()


def test_smoothing_spreads_over_neighbouring_steps(data: ValueData, tmp_path: Path) -> None:
    returns = np.full_like(data.returns, -0.5)
    returns[data.frame_of == 6] = 0.0
    curves = {}
    for bandwidth in (0.01, 2.0):
        folder = tmp_path / str(bandwidth)
        train_synthetic(ClockConfig(bandwidth=bandwidth), replace(data, returns=returns), folder)
        curves[bandwidth], _ = load_value_model(folder / "bundle").label(data, 0, draws=1, noise_seed=0)
    assert curves[0.01][6] == 0
    assert curves[0.01][5] == -0.5
    assert -0.5 < curves[2.0][5] < curves[2.0][6] < 0


def test_state_only_finds_what_the_state_tells(data: ValueData, tmp_path: Path) -> None:
    train_synthetic(StateOnlyConfig(), data, tmp_path, episodes=(0, 1, 2))
    value, _ = load_value_model(tmp_path / "bundle").label(data, 3, draws=1, noise_seed=0)
    assert spearman(value, data.returns[data.packed.offsets[3] :]) > 0.6


def test_state_only_sees_neither_pictures_nor_time(data: ValueData, tmp_path: Path) -> None:
    train_synthetic(StateOnlyConfig(), data, tmp_path)
    model = load_value_model(tmp_path / "bundle")
    packed = copy(data.packed)
    packed.state, packed.images = data.packed.state[::-1].copy(), None
    backwards = replace(data, packed=packed)
    episodes = range(len(data.prompts))
    straight, turned = (
        np.concatenate([model.label(given, e, draws=1, noise_seed=0)[0] for e in episodes])
        for given in (data, backwards)
    )
    np.testing.assert_allclose(turned[::-1], straight, atol=1e-6)


def test_the_oracle_gives_the_mean_return_at_the_true_progress(data: ValueData, tmp_path: Path) -> None:
    train_synthetic(OracleConfig(bins=4), data, tmp_path)
    model = load_value_model(tmp_path / "bundle")
    value, spread = model.label(data, 2, draws=1, noise_seed=0)
    assert data.truth is not None
    progress = np.concatenate([data.truth(episode) for episode in data.packed.episode_ids])
    usable = np.isfinite(data.returns) & (data.packed.episode_of < 2)  # what train_synthetic learns from
    lowest = data.returns[usable & (progress < 0.25)].mean()
    assert value[0] == pytest.approx(lowest, abs=1e-5)
    assert not spread.any()
    assert value.min() >= data.returns[usable].min()
    assert value.max() <= data.returns[usable].max()
    with pytest.raises(ConfigError, match="no simulator truth"):
        model.label(replace(data, truth=None), 2, draws=1, noise_seed=0)
    with pytest.raises(ConfigError, match=r"shape \(3,\), expected"):
        model.label(replace(data, truth=lambda _: np.zeros(3, np.float32)), 2, draws=1, noise_seed=0)


def test_random_values_are_uniform_and_counter_based(data: ValueData, tmp_path: Path) -> None:
    train_synthetic(RandomConfig(low=-0.8), data, tmp_path)
    model = load_value_model(tmp_path / "bundle")
    many = np.concatenate([model.label(data, 0, draws=1, noise_seed=seed)[0] for seed in range(300)])
    assert many.min() >= -0.8
    assert many.max() <= 0
    assert many.mean() == pytest.approx(-0.4, abs=0.02)
    one, two = (model.label(data, 0, draws=draws, noise_seed=4)[0] for draws in (1, 2))
    np.testing.assert_allclose(model.label(data, 0, draws=2, noise_seed=4)[1], np.abs(two - one), atol=1e-6)
    assert not np.array_equal(one, model.label(data, 1, draws=1, noise_seed=4)[0][: len(one)])
    with pytest.raises(ConfigError, match="draws = 0"):
        model.label(data, 0, draws=0, noise_seed=4)


@pytest.mark.parametrize("config", [ClockConfig(), StateOnlyConfig(), OracleConfig()])
def test_each_instruction_has_a_control_of_its_own(data: ValueData, tmp_path: Path, config: Any) -> None:
    """ViVa hears the instruction; a control that pooled two tasks would be weaker for that alone."""
    other = "tidy up"
    returns = data.returns.copy()
    second = data.packed.episode_of % 2 == 1
    returns[second] = -0.9
    prompts = tuple(other if episode % 2 else PROMPT for episode in range(len(data.prompts)))
    both = replace(data, returns=returns, prompts=prompts)
    train_synthetic(config, both, tmp_path / "both", episodes=(0, 1, 2, 3))
    train_synthetic(config, data, tmp_path / "alone", episodes=(0, 2))
    model, alone = (load_value_model(tmp_path / name / "bundle") for name in ("both", "alone"))
    for episode in (0, 2):
        mine, _ = model.label(both, episode, draws=1, noise_seed=0)
        np.testing.assert_array_equal(mine, alone.label(data, episode, draws=1, noise_seed=0)[0])
    value, _ = model.label(both, 1, draws=1, noise_seed=0)
    np.testing.assert_allclose(value, -0.9, atol=1e-5)
    with pytest.raises(ConfigError, match="no training episode had its instruction"):
        alone.label(both, 1, draws=1, noise_seed=0)
