"""A tiny pi0.5: bundle, acting, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.fakes import MemoryJournal
from tests.support.policies import TASK, arm_pair, last_candidate, make_observation, train_synthetic
from torch import Tensor

from data.resize import letterbox
from policy.flow.acting import chunk_noise
from policy.flow.sizes import NetworkSizes
from policy.models import POLICIES, load_policy
from policy.models.pi05.config import Pi05Config, small_config, tiny_config
from policy.models.pi05.sizes import full, small, tiny
from recap.errors import ArtifactCorrupt, ConfigError, UnknownName
from recap.hashing import digest_tree
from recap.overrides import override
from recap.training.config import FitConfig
from recap.training.runtime import Runtime


def test_registry_imports_neither_torch_nor_lerobot() -> None:
    code = (
        "import sys; from policy.models import POLICIES; f = POLICIES.get('pi05'); "
        "f.presets['small'](steps=1, fine=False);"
        "assert not {'torch', 'lerobot', 'transformers', 'safetensors'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_bfloat16_acts_nearly_alike(bundle: Path) -> None:
    seen = make_observation(1)
    whole, rounded = (
        load_policy(bundle, runtime=Runtime(dtype=dtype)).act(seen, noise_seed=2) for dtype in ("float32", "bfloat16")
    )
    assert 0 < np.abs(rounded - whole).max() < 0.1


def test_acting_needs_no_lerobot(bundle: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from policy.models import load_policy;"
        "from tests.support.policies import make_observation;"
        "load_policy(Path(sys.argv[1])).act(make_observation(0), noise_seed=0);"
        "assert not {'lerobot', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(bundle)], check=True)


def test_act_is_deterministic_and_depends_on_seed_and_observation(bundle: Path) -> None:
    policy, observation = load_policy(bundle), make_observation(1)
    chunk = policy.act(observation, noise_seed=7)
    assert chunk.shape == (8, 14)
    assert chunk.dtype == np.float32
    np.testing.assert_array_equal(chunk, load_policy(bundle).act(make_observation(1), noise_seed=7))
    assert not np.array_equal(chunk, policy.act(observation, noise_seed=8))
    assert not np.array_equal(chunk, policy.act(make_observation(2), noise_seed=7))
    assert policy.act(observation, noise_seed=-(2**63)).shape == (8, 14)


def test_act_does_not_depend_on_what_was_asked_before(bundle: Path) -> None:
    policy = load_policy(bundle)
    first = policy.act(make_observation(1), noise_seed=7)
    policy.act(make_observation(9), noise_seed=3)
    np.testing.assert_array_equal(first, policy.act(make_observation(1), noise_seed=7))


def test_padded_dimensions_start_from_noise_as_in_training(tmp_path: Path) -> None:
    """A network that was trained from noise in all dimensions acts otherwise from zeros in some."""
    config = tiny_config(network=replace(tiny(), action_dim=20), fit=FitConfig(steps=0))
    train_synthetic("pi05", config, tmp_path)
    policy = load_policy(last_candidate(tmp_path))
    noise = policy.noise(3).numpy()
    assert noise.shape == (config.chunk, 20)
    assert (noise[:, 14:].std(), noise[:, :14].std()) == (pytest.approx(1, abs=0.3), pytest.approx(1, abs=0.3))
    np.testing.assert_array_equal(noise[:, :14], chunk_noise(3, config.chunk, 14).numpy())
    seen: list[np.ndarray] = []
    sample = policy.network.sample

    def spy(prefix: object, given: Tensor, *rest: object, **more: object) -> Tensor:
        seen.append(given[0, 0].numpy())
        return sample(prefix, given, *rest, **more)

    policy.network.sample = spy  # type: ignore[method-assign]
    policy.act(make_observation(1), noise_seed=3)
    np.testing.assert_array_equal(seen[0], noise)


def test_batch_of_observations_equals_single_calls(bundle: Path) -> None:
    policy = load_policy(bundle)
    observations = [make_observation(seed) for seed in range(3)]
    together = policy.act_batch(observations, noise_seeds=[4, 5, 6])  # type: ignore[attr-defined]
    for chunk, observation, seed in zip(together, observations, (4, 5, 6), strict=True):
        np.testing.assert_allclose(chunk, policy.act(observation, noise_seed=seed), atol=1e-4)


def test_policy_id_is_the_identity_of_the_folder(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    policy = load_policy(bundle)
    assert policy.policy_id == digest_tree(bundle) == load_policy(copy).policy_id
    raw = json.loads((copy / "recap.json").read_bytes())
    (copy / "recap.json").write_text(json.dumps({**raw, "execute": 3}))
    assert load_policy(copy).policy_id != policy.policy_id


def test_weights_survive_the_disk_exactly(bundle: Path, tmp_path: Path) -> None:
    import torch

    from policy.flow.bundle import read_bundle, write_bundle
    from policy.models.pi05.network import Pi05Network

    network, info = read_bundle(Pi05Network, bundle)
    assert write_bundle(tmp_path / "again", network, info) == info.policy_id
    again, read = read_bundle(Pi05Network, tmp_path / "again")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    assert read.relative_dims == tuple(dim for dim in range(14) if dim not in (6, 13))


def test_actions_are_relative_to_the_state_but_for_grippers(tmp_path: Path) -> None:
    """With the same network and noise, moving the state's numbers moves the arm joints of the answer along with it."""
    import torch

    from policy.flow.acting import load_policy as load
    from policy.models.pi05.network import Pi05Network

    train_synthetic("pi05", tiny_config(relative_actions=True, fit=FitConfig(steps=0)), tmp_path)
    policy = load(Pi05Network, last_candidate(tmp_path))
    with torch.no_grad():  # a network that always answers "no change"
        policy.network.action_out_proj.weight.zero_()
        policy.network.action_out_proj.bias.zero_()
    low, high = make_observation(3), make_observation(3)
    high.state[:] += 0.25
    difference = policy.act(high, noise_seed=1) - policy.act(low, noise_seed=1)
    expected = np.where(np.isin(np.arange(14), (6, 13)), 0.0, 0.25)
    np.testing.assert_allclose(difference, np.tile(expected, (8, 1)), atol=1e-5)


def test_zero_steps_give_an_untrained_bundle(tmp_path: Path) -> None:
    figures = train_synthetic("pi05", tiny_config(fit=FitConfig(steps=0)), tmp_path)
    assert figures["steps"] == 0
    assert "loss" not in figures
    assert load_policy(last_candidate(tmp_path)).act(make_observation(0), noise_seed=0).shape == (8, 14)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    journal = MemoryJournal()
    config = tiny_config(batch_size=16, fit=FitConfig(steps=150, learning_rate=1e-2, log_every=10))
    train_synthetic("pi05", config, tmp_path, journal)
    losses = [values["loss"] for _, values in journal.told]
    assert sum(losses[-3:]) < 0.75 * sum(losses[:3])


def test_starting_weights_depend_on_the_seed_only(tmp_path: Path) -> None:
    ids = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train_synthetic("pi05", tiny_config(fit=FitConfig(steps=0)), tmp_path / name, seed=seed)
        ids.append(load_policy(last_candidate(tmp_path / name)).policy_id)
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("name", ["model.safetensors", "recap.json"])
def test_a_bundle_that_lacks_a_file_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / name).unlink()
    with pytest.raises(ArtifactCorrupt, match=name):
        load_policy(copy)


def test_weights_of_another_network_are_refused(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    raw = json.loads((copy / "recap.json").read_bytes())
    raw["network"]["depth"] = 3
    (copy / "recap.json").write_text(json.dumps(raw))
    with pytest.raises(ArtifactCorrupt, match="do not fit the network"):
        load_policy(copy)


def test_an_observation_of_another_shape_is_refused(bundle: Path) -> None:
    policy, observation = load_policy(bundle), make_observation(0)
    with pytest.raises(ConfigError, match=r"no frame of cam_left_wrist"):
        policy.act(replace(observation, frames={"cam_high": observation.frames["cam_high"]}), noise_seed=0)
    with pytest.raises(ConfigError, match="state of 3 numbers, expected 14"):
        policy.act(replace(observation, state=observation.state[:3]), noise_seed=0)


def test_pictures_of_another_size_are_letterboxed_to_the_networks(bundle: Path) -> None:
    policy, seen = load_policy(bundle), make_observation(0, image_size=80)
    wide = {name: frame[:48] for name, frame in seen.frames.items()}
    boxed = {name: letterbox(frame[None], 64, 64)[0] for name, frame in wide.items()}
    acted = [policy.act(replace(seen, frames=frames), noise_seed=0) for frames in (wide, boxed)]
    np.testing.assert_array_equal(*acted)
    assert not np.array_equal(acted[0], policy.act(make_observation(0), noise_seed=0))


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="execute = 9 exceeds chunk = 8"):
        tiny_config(execute=9)
    with pytest.raises(ConfigError, match=r"Pi05Config\.draws"):
        small_config(draws=0)
    with pytest.raises(UnknownName, match="learning_rate"):
        override(Pi05Config(), "fit.learning_rat", "1")
    with pytest.raises(ConfigError, match="halved"):
        NetworkSizes(vision="conv", image_size=48, patch_size=16, vision_depth=2)


def test_what_slots_and_relative_actions_cannot_take_is_refused_before_training() -> None:
    check, pair = POLICIES.get("pi05").check, arm_pair()
    grip = pair.action_names[pair.gripper_dims[0]]
    relative = tiny_config(relative_actions=True)
    check(relative, prompts=(TASK,), robot=pair)
    with pytest.raises(ConfigError, match="at most 64 and 63"):
        check(tiny_config(chunk=65, execute=8), prompts=(TASK,), robot=pair)
    turned = replace(pair, state_names=pair.state_names[::-1])
    with pytest.raises(ConfigError, match="in the order of the action's"):
        check(relative, prompts=(TASK,), robot=turned)
    check(tiny_config(), prompts=(TASK,), robot=turned)
    names = (f"{grip}_roll", *pair.action_names[1:])
    with pytest.raises(ConfigError, match="holds the name of the gripper"):
        check(relative, prompts=(TASK,), robot=replace(pair, action_names=names, state_names=names))


def test_named_sizes_differ_by_orders_of_magnitude() -> None:
    import torch

    from policy.models.pi05.network import Pi05Network

    counts = []
    for sizes in (tiny(), small(), full()):
        with torch.device("meta"):
            network = Pi05Network(replace(sizes, action_dim=32))
        counts.append(sum(value.numel() for value in network.parameters()))
    assert counts[0] < 150_000 < counts[1] < 3_000_000
    assert counts[2] == 3_353_433_872


def test_unknown_family_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="did you mean 'pi05'"):
        POLICIES.get("pi5")
