"""The bundle is a LeRobot policy, and the network is LeRobot's pi0.5."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_LOAD = """
import sys
from pathlib import Path
import numpy as np, torch
from lerobot.configs.parser import load_plugin
load_plugin("policy.models.pi05")
from lerobot.configs import PreTrainedConfig
from lerobot.policies.factory import get_policy_class, make_pre_post_processors
fed = np.load(sys.argv[1])
names = [name for name in fed.files if name.startswith("observation.images.")]
for folder, again in zip(map(Path, sys.argv[2::2]), map(Path, sys.argv[3::2])):
    config = PreTrainedConfig.from_pretrained(folder)
    policy = get_policy_class(config.type).from_pretrained(folder)
    pre, post = make_pre_post_processors(config, pretrained_path=str(folder))
    batch = {"observation.state": torch.from_numpy(fed["observation.state"]), "task": str(fed["task"])}
    batch |= {name: torch.from_numpy(fed[name]).permute(2, 0, 1).float() / 255 for name in names}
    noise = torch.from_numpy(fed["noise"])[None]
    policy.model.sample_noise = lambda shape, device: noise
    action = post(policy.predict_action_chunk(pre(batch)))[0].numpy()
    for thing in (policy, pre, post):
        thing.save_pretrained(again)
    np.save(again / "action.npy", action)
"""
GUIDANCE = (1.0, 2.0, 0.0)
Loaded = dict[float, tuple[Path, Path]]


@pytest.fixture(scope="module")
def loaded_by_lerobot(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    """{beta: (bundle, folder that LeRobot, in a fresh process, wrote after loading it and acting once)}."""
    import numpy as np
    from tests.support.policies import make_observation

    from policy.models import Acting, load_policy, with_acting

    folder, observation = tmp_path_factory.mktemp("again"), make_observation(seed=5)
    np.savez(
        folder / "observation.npz",
        **{f"observation.images.{name}": frame for name, frame in observation.frames.items()},
        **{"observation.state": observation.state, "task": observation.prompt},
        noise=load_policy(bundle).noise(11).numpy(),
    )
    places = {beta: (folder / f"beta-{beta}", folder / f"again-{beta}") for beta in GUIDANCE}
    for beta, (guided, _) in places.items():
        with_acting(bundle, guided, Acting(guidance=beta, noise_scale=0.3 if beta == 2 else 1.0))
    paths = [str(path) for pair in places.values() for path in pair]
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(folder / "observation.npz"), *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return places


@pytest.mark.parametrize("beta", GUIDANCE)
def test_lerobot_loads_the_bundle_and_gives_the_same_actions(loaded_by_lerobot: Loaded, beta: float) -> None:
    """Conditioned prompt and, where beta is not 1, the mixed flow, at 2 from less noise: LeRobot's class does."""
    import numpy as np
    from tests.support.policies import make_observation

    from policy.models import load_policy

    guided, again = loaded_by_lerobot[beta]
    ours = load_policy(guided).act(make_observation(seed=5), noise_seed=11)
    np.testing.assert_allclose(np.load(again / "action.npy"), ours, atol=1e-5)
    if beta != 1:
        plain = load_policy(loaded_by_lerobot[1.0][0]).act(make_observation(seed=5), noise_seed=11)
        assert np.abs(ours - plain).max() > 1e-3


@pytest.mark.parametrize("beta", GUIDANCE)
def test_lerobot_saves_the_same_folder(loaded_by_lerobot: Loaded, beta: float) -> None:
    from safetensors.numpy import load_file

    guided, again = loaded_by_lerobot[beta]
    compared = 0
    for path in sorted(again.iterdir()):
        ours = guided / path.name
        if path.suffix == ".json":
            saved, written = json.loads(path.read_text()), json.loads(ours.read_text())
            # LeRobot's config also writes its own defaults; what we wrote must come back unchanged.
            assert {key: saved[key] for key in written} == written
            compared += 1
        elif path.suffix == ".safetensors":
            theirs, mine = load_file(path), load_file(ours)
            assert theirs.keys() == mine.keys()
            assert all((theirs[name] == mine[name]).all() for name in mine)
            compared += 1
    own = "tokenizer" in json.loads((guided / "recap.json").read_bytes())
    assert compared == (7 if own else 6)


@pytest.fixture(scope="module")
def compared() -> dict[str, Any]:
    """Figures of compare_with_lerobot.py, run once: importing LeRobot's pi05 costs seconds."""
    script = Path(__file__).with_name("compare_with_lerobot.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


@pytest.mark.slow
def test_network_equals_lerobots_pi05(compared: dict[str, Any]) -> None:
    """Same weights, inputs, noise and times: the same loss, gradient and samples as LeRobot's own class."""
    assert compared["reference_loss"] > 0.1
    assert compared["loss"] < 1e-5
    assert compared["gradient"] < 2e-3
    assert compared["sample"] < 1e-5


@pytest.mark.slow
def test_full_size_has_the_published_layout(compared: dict[str, Any]) -> None:
    """Built on the meta device: names and shapes of every weight of LeRobot's pi05 but the two unused heads."""
    assert compared["missing"] == compared["extra"] == compared["other_shape"] == []
    assert compared["parameters"] == 3_353_433_872


@pytest.fixture(scope="module")
def beside_stock(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """A policy that acts with published weights as they are, and what LeRobot's own classes make of the same folder."""
    import numpy as np
    from tests.support.policies import last_candidate, make_observation, train_synthetic
    from tests.support.published import published_config

    from policy.models import load_policy

    folder, observation = tmp_path_factory.mktemp("stock"), make_observation(seed=5)
    config, _ = published_config("pi05", folder / "published", steps=0)
    train_synthetic("pi05", config, folder)
    np.savez(
        folder / "observation.npz",
        **{f"observation.images.{name}": frame for name, frame in observation.frames.items()},
        **{"observation.state": observation.state, "task": observation.prompt},
        noise=load_policy(last_candidate(folder)).noise(11).numpy(),
    )
    script = Path(__file__).with_name("act_with_stock_lerobot.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder / "published"), str(folder / "observation.npz")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},  # it imports tests.support
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return load_policy(last_candidate(folder)), json.loads(done.stdout.strip().splitlines()[-1])


def test_published_weights_act_as_in_lerobots_own_policy(beside_stock: tuple[Any, dict[str, Any]]) -> None:
    """Its PI05Policy and processors, its tokenizer step, the same folder and noise: the same actions."""
    import numpy as np
    from tests.support.policies import make_observation

    policy, theirs = beside_stock
    ours = policy.act(make_observation(seed=5), noise_seed=11)
    np.testing.assert_allclose(np.array(theirs["action"]), ours, atol=1e-5)
    assert np.abs(ours).max() > 1e-3


def test_prompts_are_cut_as_by_lerobots_tokenizer_step(beside_stock: tuple[Any, dict[str, Any]]) -> None:
    import numpy as np
    from tests.support.policies import make_observation

    policy, theirs = beside_stock
    observation = make_observation(seed=5)
    scaled = policy.info.stats.state.apply(observation.state[None])
    zero = np.zeros(1, np.int64)
    tokens, _ = policy.network.form.mixed_tokens((observation.prompt,), zero, scaled, zero)
    assert tokens[0].tolist() == theirs["tokens"]
