"""What is exported acts in LeRobot, and served, as in recap: either family by its type, pi0.5 by LeRobot's own too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.policies import CAMERAS, last_candidate, make_observation, train_synthetic
from tests.support.published import published_config
from tests.support.serving import Robot, fields_of, running

from policy.conditioning import POSITIVE
from policy.flow.bundle import read_bundle, write_bundle
from policy.flow.lerobot.export import write_observations
from policy.models import POLICIES, Acting, load_policy, with_acting
from policy.models.pi05.layout import LEROBOT
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.stock import STOCK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
OBSERVATIONS = [make_observation(seed, image_size=90) for seed in range(3)]


@pytest.mark.parametrize(
    ("family", "published"), [("pi05", False), ("gigabrain0", False), ("gigabrain0", True)], ids=str
)
def test_exported_it_acts_in_lerobot_and_served_as_in_recap(family: str, *, published: bool, tmp_path: Path) -> None:
    """Guided, from less noise, relative to the state, from pictures of another size; with a tokenizer file too."""
    if published:
        config, _ = published_config(family, tmp_path / "start", steps=2)
    else:
        config = POLICIES.get(family).presets["tiny"](steps=4, fine=False)
    train_synthetic(family, replace(config, relative_actions=True), tmp_path, condition=POSITIVE)
    with_acting(last_candidate(tmp_path), tmp_path / "guided", Acting(guidance=2.0, noise_scale=0.3))
    export = POLICIES.get(family).export
    assert export is not None
    # The difference is that of a fresh process with LeRobot's own loader.
    made = export(tmp_path / "guided", tmp_path / "out", tmp_path / "out", OBSERVATIONS)
    assert made.type == f"recap_{family}"
    assert made.difference < 1e-5
    before, after = (load_policy(tmp_path / name) for name in ("guided", "out"))
    for policy in (before, after):
        with running(policy) as (_, address), Robot(address) as robot:
            for seed, seen in enumerate(OBSERVATIONS):
                expected = before.act(seen, noise_seed=seed)
                np.testing.assert_array_equal(policy.act(seen, noise_seed=seed), expected)
                answered = robot.infer(fields_of(seen, noise_seed=seed))["actions"]
                np.testing.assert_allclose(answered, expected, atol=1e-5)


def test_lerobots_own_pi05_acts_as_recap_and_needs_nothing_of_it(tmp_path: Path) -> None:
    """At a tiny size in the published layout: condition by the tokenizer, unused heads, no plug-in."""
    config, _ = published_config("pi05", tmp_path / "start", steps=2)
    train_synthetic("pi05", replace(config, relative_actions=True), tmp_path, condition=POSITIVE)
    network, info = read_bundle(Pi05Network, last_candidate(tmp_path))
    assert info.condition == POSITIVE
    out = tmp_path / "stock"
    write_bundle(out, network, info, STOCK.layout(LEROBOT, out))
    ours = load_policy(out)
    same_size = [make_observation(seed) for seed in range(3)]
    expected = np.stack([ours.act(seen, noise_seed=seed) for seed, seen in enumerate(same_size)])
    noise = np.stack([ours.noise(seed).numpy() for seed in range(3)])
    seen = write_observations(tmp_path / "seen.npz", CAMERAS, same_size, noise)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("act_from_stock_export.py")), str(out), str(seen)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told["type"] == "pi05"
    np.testing.assert_allclose(np.array(told["actions"]), expected, atol=1e-5)
    plain = replace(info, condition="")
    write_bundle(tmp_path / "plain", network, plain)
    unconditioned = load_policy(tmp_path / "plain").act(same_size[0], noise_seed=0)
    assert np.abs(unconditioned - expected[0]).max() > 1e-4, "the condition is heard"
