"""The task that the bench robot is recorded for, and a policy that stays still; registered by entry points."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.sim.bimanual_env import robot_spec
from data.tasks import TASKS
from policy.models import POLICIES, PolicyFamily

BUILT_IN = TASKS.get("shirt_folding")
RATE_HZ = 100.0


class BenchFolding:
    """shirt_folding for a robot that LeRobot drives: small pictures, a faster clock."""

    spec = replace(BUILT_IN.spec, id="bench_folding", rate_hz=RATE_HZ, max_steps=110)
    robot = robot_spec(16)


class HoldStill:
    """Sends the present state back."""

    policy_id = "hold-still"
    execute = 2

    def act(self, observation, *, noise_seed):
        assert set(observation.frames) == {"cam_high", "cam_left_wrist", "cam_right_wrist"}
        assert observation.prompt == "fold the shirt"
        return np.repeat(observation.state[None], 3, axis=0)


def bundle(folder: Path) -> Path:
    folder.mkdir()
    (folder / "recap.json").write_text(json.dumps({"family": "hold_still"}))
    return folder


TASKS.add("bench_folding", BenchFolding())
POLICIES.add(
    "hold_still",
    PolicyFamily(
        name="hold_still",
        config=HoldStill,
        image_size=lambda config: (64, 64),
        check=lambda config, *, prompts, robot: None,
        train=lambda *a, **k: {},
        load=lambda path: HoldStill(),
    ),
)
