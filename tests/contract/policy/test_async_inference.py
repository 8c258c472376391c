"""LeRobot's asynchronous inference on an exported folder: policy server and robot client in processes of their own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.support.policies import last_candidate, make_observation, train_synthetic

from policy.conditioning import POSITIVE
from policy.models import POLICIES, Acting, load_policy, with_acting

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]
CLIENT = Path(__file__).with_name("act_over_lerobots_client.py")


@pytest.mark.parametrize("family", ["pi05", "gigabrain0"])
def test_a_robot_is_sent_what_the_policy_says(family: str, tmp_path: Path) -> None:
    """From no noise, so that LeRobot, which draws its own, has nothing to draw: every chunk is then the same."""
    train_synthetic(family, POLICIES.get(family).presets["tiny"](steps=4, fine=False), tmp_path, condition=POSITIVE)
    with_acting(last_candidate(tmp_path), tmp_path / "quiet", Acting(noise_scale=0.0))
    export = POLICIES.get(family).export
    assert export is not None
    observation = make_observation(3)
    export(tmp_path / "quiet", tmp_path / "out", tmp_path / "out", [observation])
    expected = load_policy(tmp_path / "quiet").act(observation, noise_seed=0)
    seen = tmp_path / "seen.npz"
    np.savez(seen, state=observation.state, prompt=observation.prompt, **observation.frames)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "lerobot_policy_recap.policy_server", "--host=127.0.0.1", f"--port={port}"],
        env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(port)
        done = subprocess.run(
            [sys.executable, str(CLIENT), f"127.0.0.1:{port}", str(tmp_path / "out"), str(seen)],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        assert server.poll() is None, "the server lives on"
    finally:
        server.kill()
        server.wait()
    sent = np.array(json.loads(done.stdout.strip().splitlines()[-1]))
    # LeRobot's client numbers a chunk from the step it sent last, and drops the action of that number as late: of every
    # chunk but the first it plays the second action first.
    rest = range(1, len(expected))
    played = [0, *(step for _ in sent for step in rest)][: len(sent)]
    np.testing.assert_allclose(sent, expected[played], atol=1e-5)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise AssertionError("the server does not listen")
