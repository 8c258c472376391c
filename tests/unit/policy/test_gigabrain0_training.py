"""GigaBrain-0 as a family: what it starts from, trains, writes, reads and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.fakes import MemoryJournal
from tests.support.policies import last_candidate, make_observation, train_synthetic

from policy.conditioning import POSITIVE
from policy.flow.bundle import read_bundle
from policy.flow.config import base_config
from policy.flow.sizes import NetworkSizes
from policy.models import Acting, load_policy, with_acting
from policy.models.gigabrain0.config import GigaBrain0Config, small_preset, tiny_preset
from policy.models.gigabrain0.network import GigaBrain0Network
from policy.models.gigabrain0.sizes import small, tiny
from policy.models.pi05.config import tiny_config as pi05_config
from recap.config import from_json, to_json
from recap.errors import ArtifactCorrupt, ConfigError
from recap.overrides import override
from recap.training.config import FitConfig


def tiny_config(**changes: Any) -> GigaBrain0Config:
    return replace(tiny_preset(steps=4, fine=False), **changes)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("giga")
    train_synthetic("gigabrain0", tiny_config(relative_actions=True), folder, condition=POSITIVE)
    return last_candidate(folder)


def test_a_bundle_has_the_files_of_a_released_folder(bundle: Path, tmp_path: Path) -> None:
    network, info = read_bundle(GigaBrain0Network, bundle)
    config = json.loads((bundle / "config.json").read_bytes())
    assert config["_class_name"] == "GigaBrain0Policy"
    assert (config["n_action_steps"], config["max_action_dim"], config["num_embodiments"]) == (8, 14, 1)
    stats = json.loads((bundle / "norm_stats.json").read_bytes())["norm_stats"]
    assert stats["action"]["q99"] == info.stats.action.q99.tolist()
    assert (info.network, info.condition) == (network.sizes, POSITIVE)
    with_acting(bundle, tmp_path / "quiet", Acting(guidance=2.0, noise_scale=0.3))
    quiet = load_policy(tmp_path / "quiet")
    assert quiet.policy_id != load_policy(bundle).policy_id
    usual = load_policy(bundle).act(make_observation(1), noise_seed=2)
    assert not np.array_equal(quiet.act(make_observation(1), noise_seed=2), usual)


def test_statistics_are_padded_to_the_width_of_the_network(tmp_path: Path) -> None:
    wide = replace(tiny(), action_dim=20)
    train_synthetic("gigabrain0", tiny_config(network=wide, fit=FitConfig(steps=0)), tmp_path)
    stats = json.loads((last_candidate(tmp_path) / "norm_stats.json").read_bytes())["norm_stats"]
    assert stats["action"]["q01"] == [-0.5] * 14 + [0.0] * 6
    assert load_policy(last_candidate(tmp_path)).act(make_observation(0), noise_seed=0).shape == (8, 14)


def test_a_training_cut_off_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recap import faults

    config = tiny_config(fit=FitConfig(steps=20, checkpoint_every=5))
    whole = train_synthetic("gigabrain0", config, tmp_path / "whole", condition=POSITIVE)
    monkeypatch.setenv("RECAP_FAULT", "train.step:12:raise")
    monkeypatch.setattr(faults, "_seen", {})
    with pytest.raises(faults.FaultInjected):
        train_synthetic("gigabrain0", config, tmp_path / "cut", condition=POSITIVE)
    monkeypatch.delenv("RECAP_FAULT")
    assert train_synthetic("gigabrain0", config, tmp_path / "cut", condition=POSITIVE)["loss"] == whole["loss"]
    ids = [load_policy(last_candidate(tmp_path / name)).policy_id for name in ("whole", "cut")]
    assert ids[0] == ids[1]


@pytest.mark.slow
def test_training_lowers_the_loss(tmp_path: Path) -> None:
    journal = MemoryJournal()
    config = tiny_config(batch_size=16, fit=FitConfig(steps=150, learning_rate=1e-2, log_every=10))
    train_synthetic("gigabrain0", config, tmp_path, journal)
    losses = [values["loss"] for _, values in journal.told]
    assert sum(losses[-3:]) < 0.75 * sum(losses[:3])


def test_a_base_of_another_family_is_refused(bundle: Path, tmp_path: Path) -> None:
    train_synthetic("gigabrain0", tiny_config(relative_actions=True), tmp_path / "own", condition=POSITIVE, base=bundle)
    with pytest.raises(ArtifactCorrupt, match="family gigabrain0 format 4, expected pi05 4"):
        train_synthetic("pi05", pi05_config(), tmp_path / "other", base=bundle)


def test_sizes() -> None:
    counts = []
    for sizes in (tiny(), small()):
        with torch.device("meta"):
            network = GigaBrain0Network(replace(sizes, action_dim=14, cameras=3))
        counts.append(sum(value.numel() for value in network.parameters()))
    assert counts[0] < 500_000 < counts[1] < 3_000_000
    assert small_preset(steps=1, fine=True).network.patch_size == 4


def test_registry_imports_neither_torch_nor_lerobot() -> None:
    code = (
        "import sys; from policy.models import POLICIES; f = POLICIES.get('gigabrain0'); "
        "f.presets['small'](steps=1, fine=False);"
        "assert not {'torch', 'lerobot', 'transformers', 'safetensors'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_starting_weights_depend_on_the_seed_only(tmp_path: Path) -> None:
    ids = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.randn(7)  # whatever else was drawn in this process
        train_synthetic("gigabrain0", tiny_config(fit=FitConfig(steps=0)), tmp_path / name, seed=seed)
        ids.append(load_policy(last_candidate(tmp_path / name)).policy_id)
    assert ids[0] == ids[1] != ids[2]


def test_a_base_is_not_insulated_and_starts_a_training_that_is(tmp_path: Path) -> None:
    """From scratch an insulated prefix would learn nothing at all; from a base it stays as it is."""
    sizes = replace(tiny(), knowledge_insulation=True, embodiments=2, embodiment=1)
    config = tiny_config(network=sizes, fit=FitConfig(steps=6, learning_rate=1e-2, weight_decay=0.0, ema_decay=0.0))
    base = base_config(config, 6)
    assert (base.network.knowledge_insulation, base.network.condition) == (False, "text")
    train_synthetic("gigabrain0", replace(base, network=replace(base.network, embodiment=0)), tmp_path / "base")
    train_synthetic("gigabrain0", config, tmp_path / "own", base=last_candidate(tmp_path / "base"))
    (before, _), (after, info) = (
        read_bundle(GigaBrain0Network, last_candidate(tmp_path / name)) for name in ("base", "own")
    )
    assert info.network == replace(sizes, action_dim=14, cameras=3)
    moved = {
        name
        for (name, a), b in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(a, b)
    }
    body = "paligemma_with_expert"
    assert f"{body}.layers.0.self_attn.q_proj.1.weight" in moved
    assert not {f"{body}.embed_tokens.weight", f"{body}.layers.0.self_attn.k_proj.0.weight"} & moved
    old, new = (one.action_in_proj.get_parameter("weight") for one in (before, after))
    assert [torch.equal(old[robot], new[robot]) for robot in range(2)] == [True, False]


def test_sizes_of_another_family_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"GigaBrain0Config\.network: expected GigaBrain0Sizes"):
        GigaBrain0Config(network=NetworkSizes())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"Pi05Config\.network is of type GigaBrain0Sizes, expected NetworkSizes"):
        pi05_config(network=tiny())


def test_settings_of_its_own_survive_the_disk() -> None:
    config = override(override(GigaBrain0Config(), "network.embodiments", "3"), "network.knowledge_insulation", "true")
    assert (config.network.embodiments, config.network.knowledge_insulation) == (3, True)
    assert from_json(GigaBrain0Config, to_json(config)) == config


def test_deltas_bear_on_the_arms_and_not_on_the_grippers(bundle: Path) -> None:
    """With a network that never moves the noise, moving the state moves arm joints along and nothing else."""
    policy = load_policy(bundle)
    projection = policy.network.action_out_proj  # type: ignore[attr-defined]
    with torch.no_grad():
        projection.weight.zero_()
        projection.bias.zero_()
    low, high = make_observation(3), make_observation(3)
    high.state[:] += 0.25
    difference = policy.act(high, noise_seed=1) - policy.act(low, noise_seed=1)
    expected = np.where(np.isin(np.arange(14), (6, 13)), 0.0, 0.25).astype(np.float32)
    np.testing.assert_allclose(difference, np.tile(expected, (8, 1)), atol=1e-5)
