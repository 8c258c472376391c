"""`recap serve RUN`: the real command, asked over its socket, ended as a person ends it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import TASK, recap
from tests.support.serving import Robot, fields_of

from policy.models import load_policy
from recap.champion import champion_artifact, read_champion
from recap.types import Observation
from recap.workspace import Workspace

pytestmark = pytest.mark.xdist_group("e2e-micro")
RUN = f"{TASK}-micro"


def test_a_robot_asks_the_champion_of_a_run(finished_micro: Path) -> None:
    workspace = Workspace.open(finished_micro, create=False)
    champion = read_champion(workspace, RUN)
    assert champion is not None
    main, where = "from cli.main import main; main()", ["--workspace", str(finished_micro)]
    process = subprocess.Popen(
        [sys.executable, "-c", main, "serve", RUN, "--port", "0", "--json", *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        address = re.search(r"ws://(\S+)", said)
        assert address, said + process.stderr.read()
        assert f"champion of run {RUN} ({champion.node})" in said
        with Robot(address[1]) as robot:
            told = robot.metadata
            assert (told["policy_id"], told["tasks"][0]["id"]) == (champion.policy_id, TASK)
            rng = np.random.default_rng(0)
            seen = Observation(
                state=rng.uniform(-1, 1, told["observation"]["observation/state"]["shape"]).astype(np.float32),
                frames={name: rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for name in told["cameras"]},
                prompt=told["prompt"],
            )
            reply = robot.infer(fields_of(seen, noise_seed=5))
        policy = load_policy(champion_artifact(workspace, champion).path)
        np.testing.assert_array_equal(reply["actions"], policy.act(seen, noise_seed=5))
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert json.loads(out) == {"answered": 1, "errors": 0}
    finally:
        process.kill()
        process.communicate()


def test_it_does_not_listen_for_others_without_a_token(tmp_path: Path) -> None:
    done = recap("serve", "nothing", "--host", "0.0.0.0", workspace=tmp_path)
    assert done.returncode == 2
    assert "--host 0.0.0.0 without a token" in done.stderr
    assert "imported:\n" in done.stderr, "before torch is"
