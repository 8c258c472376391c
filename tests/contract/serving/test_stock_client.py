"""The stock openpi-client, in its own environment (it wants numpy < 2), over a real socket: `make env-openpi` first."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.policies import TASK, make_observation
from tests.support.serving import OTHER, fields_of, running, untrained

ROOT = Path(__file__).parents[3]
PYTHON = ROOT / ".envs" / "openpi" / "bin" / "python"
SCRIPT = Path(__file__).with_name("ask_with_stock_client.py")
ROBOTS, REQUESTS, QUESTIONS = 4, 500, 5
TOKEN = "0123456789abcdefXY"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHON.exists(), reason="no .envs/openpi: make env-openpi"),
]


def test_four_stock_clients_get_two_thousand_right_answers(tmp_path: Path) -> None:
    policy = untrained()
    expected = []
    for robot in range(ROBOTS):
        seen = [
            replace(make_observation(QUESTIONS * robot + row), prompt=OTHER if robot % 2 else TASK)
            for row in range(QUESTIONS)
        ]
        asked = [fields_of(observation, noise_seed=row) for row, observation in enumerate(seen)]
        np.savez(tmp_path / f"{robot}.npz", **{name: np.stack([one[name] for one in asked]) for name in asked[0]})
        expected.append([policy.act(observation, noise_seed=row) for row, observation in enumerate(seen)])
    with running(policy, token=TOKEN) as (server, address):
        host, port = address.split(":")
        clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        processes = [
            subprocess.Popen(
                [PYTHON, SCRIPT, host, port, f"{robot}.npz", f"{robot}.npy", str(REQUESTS), TOKEN],
                cwd=tmp_path,
                env=clean,
                stderr=subprocess.PIPE,
                text=True,
            )
            for robot in range(ROBOTS)
        ]
        told = [process.communicate()[1] for process in processes]
        answered, errors = server.totals()
    assert [process.returncode for process in processes] == [0] * ROBOTS, told
    # One chunk more each, which the broker plays in three steps; one bad observation each.
    assert (answered, errors) == (ROBOTS * (REQUESTS + 1), ROBOTS)
    for robot in range(ROBOTS):
        got = np.load(tmp_path / f"{robot}.npy")
        assert got.shape == (REQUESTS, 8, 14)
        wanted = np.stack(expected[robot])[np.arange(REQUESTS) % QUESTIONS]
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)
