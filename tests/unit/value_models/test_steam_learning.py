"""What STEAM learns from, its loss, and that a tiny ensemble learns the order of frames."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.values import synthetic_values, train_synthetic

from recap.errors import ConfigError
from recap.hashing import digest_tree
from recap.training.config import FitConfig
from value_model.metrics import spearman
from value_model.models import load_value_model
from value_model.models.steam import SteamConfig, small_config, tiny_config
from value_model.models.steam.bundle import read_bundle
from value_model.models.steam.config import MemberSizes
from value_model.models.steam.label import load
from value_model.models.steam.model import Ensemble, Inputs
from value_model.models.steam.train import SteamLearner, goal_rows
from value_model.models.viva.config import small_config as small_viva
from value_model.models.viva.model import build_transformer

INPUTS = Inputs(views=2, height=32, width=32, state_dim=3, prompts=2)


def parameters(network: torch.nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def test_it_has_as_many_parameters_as_viva_at_the_same_size() -> None:
    config, viva = small_config(), small_viva()
    simulation = Inputs(views=3, height=64, width=64, state_dim=14, prompts=1)
    own = parameters(Ensemble(config.sizes, simulation, members=config.members, bins=config.bins, seed=0))
    theirs = parameters(build_transformer(viva.transformer, viva.encoder.channels))
    assert abs(own / theirs - 1) < 0.05
    assert (config.fit.steps, config.batch_size) == (viva.fit.steps, viva.batch_size)


def test_members_start_apart_and_from_the_seed_alone() -> None:
    def start(seed: int) -> list[torch.Tensor]:
        torch.rand(1)  # what else was drawn changes nothing
        made = Ensemble(MemberSizes(channels=2, width=4, hidden=4), INPUTS, members=2, bins=5, seed=seed)
        return [value.detach() for value in made.parameters()]

    first, again, other = start(1), start(1), start(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    half = len(first) // 2
    assert not torch.equal(first[0], first[half])


def test_the_loss_is_the_cross_entropy_with_the_two_nearest_places() -> None:
    """At logits of 0 every place has the same chance, so that the loss is log(bins) whatever the offsets."""
    config = tiny_config(bins=9, shift_pixels=2)
    ensemble = Ensemble(config.sizes, INPUTS, members=2, bins=9, seed=0)
    rng = np.random.default_rng(0)
    batch = {
        "images": rng.integers(0, 256, (6, 4, 32, 32, 3), dtype=np.uint8),
        "state": rng.normal(size=(6, 2, 3)).astype(np.float32),
        "offset": np.array([-1, -0.3, -0.25, 0.1, 0.75, 1], dtype=np.float32),
        "prompt": np.array([0, 1, 0, 1, 1, 0]),
    }
    learner = SteamLearner(ensemble, config)
    rows = learner.prepare(batch, torch.Generator().manual_seed(0))
    assert rows["shifts"].shape == (6, 2)
    with torch.no_grad():
        for member in ensemble.members:
            for value in member.judge[2].parameters():
                value.zero_()
        loss, parts = learner(rows)
        assert float(loss) == pytest.approx(math.log(9), rel=1e-5)
        assert float(parts["offset_error"]) == pytest.approx(np.abs(batch["offset"]).mean(), rel=1e-5)
        # All weight on the middle place: right for an offset of 0 and for no other.
        for member in ensemble.members:
            member.judge[2].bias[4] = 50.0
        nothing = learner({**rows, "offset": torch.zeros(6)})[0]
        assert float(nothing) == pytest.approx(0, abs=1e-6)
        assert float(learner(rows)[0]) > 10


def test_a_tiny_ensemble_learns_the_order_of_frames(tmp_path: Path) -> None:
    data = synthetic_values(tmp_path, episodes=4, length=16)
    config = tiny_config(fit=FitConfig(steps=150, learning_rate=5e-3, ema_decay=0.9))
    train_synthetic(config, data, tmp_path, episodes=(0, 1, 2))
    model = load(tmp_path / "bundle")
    value, spread = model.label(data, 3, draws=4, noise_seed=0)
    truth = data.returns[data.packed.offsets[3] :]
    assert spearman(value, truth) > 0.9
    assert value[-1] - value[0] > 0.4
    assert (spread == 0).all()
    steps = len(value)
    offsets = model.member_offsets(data, 3, lookahead=steps // 2)
    expected = np.minimum(steps // 2, steps - 1 - np.arange(steps)) / (steps - 1)
    assert np.abs(offsets - expected).mean() < 0.15


def test_failures_and_returns_teach_nothing(tmp_path: Path) -> None:
    data = synthetic_values(tmp_path / "data")
    config = tiny_config(fit=FitConfig(steps=3))
    failed = replace(data, success=np.array([True, True, False, True]))
    train_synthetic(config, failed, tmp_path / "with", episodes=(0, 1, 2))
    train_synthetic(config, failed, tmp_path / "without", episodes=(0, 1))
    train_synthetic(config, replace(failed, returns=data.returns / 2 - 0.5), tmp_path / "other", episodes=(0, 1))
    train_synthetic(config, data, tmp_path / "taught", episodes=(0, 1, 2))
    bundles = {name: digest_tree(tmp_path / name / "bundle") for name in ("with", "without", "other", "taught")}
    assert bundles["with"] == bundles["without"] == bundles["other"]
    assert bundles["taught"] != bundles["with"]
    with pytest.raises(ConfigError, match="none of the training episodes is a success"):
        train_synthetic(config, replace(data, success=np.zeros(4, dtype=np.bool_)), tmp_path / "none")


def test_goals_are_last_frames_of_successes_of_each_instruction(tmp_path: Path) -> None:
    data = synthetic_values(tmp_path, episodes=4)
    ends = data.packed.offsets[1:] - 1
    numbers = np.array([1, 0, 1, 0])
    assert goal_rows(data, np.arange(4), numbers, 1).tolist() == [ends[1], ends[0]]
    assert goal_rows(data, np.arange(4), numbers, 9).tolist() == [ends[1], ends[3], ends[0], ends[2]]
    assert goal_rows(data, np.array([0, 2]), numbers, 9).tolist() == [ends[0], ends[2]]
    train_synthetic(tiny_config(fit=FitConfig(steps=0), goals=2), data, tmp_path, episodes=(0, 1, 2))
    goals = read_bundle(tmp_path / "bundle").goals
    np.testing.assert_array_equal(goals.images.numpy(), data.packed.gather(ends[[0, 2]]))
    np.testing.assert_array_equal(goals.state.numpy(), data.packed.state[ends[[0, 2]]])


def test_each_instruction_has_goals_of_its_own(tmp_path: Path) -> None:
    plain = synthetic_values(tmp_path / "data")
    data = replace(plain, prompts=("fold the shirt", "pack the box", "fold the shirt", "pack the box"))
    train_synthetic(tiny_config(fit=FitConfig(steps=3)), data, tmp_path, episodes=(0, 1, 2, 3))
    model = load_value_model(tmp_path / "bundle")
    asked = replace(data, prompts=tuple(reversed(data.prompts)))
    own, other = (model.label(one, 0, draws=1, noise_seed=0)[0] for one in (data, asked))
    assert not np.array_equal(own, other)


@pytest.mark.parametrize("bins", [4, 32])
def test_settings_that_cannot_work_are_refused(bins: int) -> None:
    with pytest.raises(ConfigError, match=f"SteamConfig.bins = {bins}, expected an odd number"):
        SteamConfig(bins=bins)


def test_pictures_that_the_convolutions_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError, match="images of 40 x 32 pixels, expected multiples of 16"):
        Ensemble(MemberSizes(), replace(INPUTS, height=40), members=1, bins=3, seed=0)
