"""Does the control loop keep its rate while a policy computes? The simulated third-party robot, 30 Hz, 150 ms a chunk.

    .venv/bin/python benchmarks/robot.py [--seconds 60] [--inference-ms 150] [--busy]

The robot and its teleoperator are the plug-ins of the tests, found by LeRobot's own rule; a person takes over and hands
back now and then. A period is missed if it took more than a tenth longer. The last line is one JSON object.
`--busy`: inference burns the processor (in C, without Python's lock) where it else only takes time, as on a GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "plugins")]

RATE_HZ = 30.0
CHUNK, EXECUTE = 25, 12


class SlowPolicy:
    """Goes back and forth about where the robot is, and takes its time to say so."""

    policy_id = "slow"
    execute = EXECUTE

    def __init__(self, seconds: float, *, busy: bool) -> None:
        self._seconds, self._busy = seconds, busy
        self.asked = 0

    def infer(self, observations, seeds):
        self.asked += 1
        until = time.perf_counter() + self._seconds
        numbers = np.ones((256, 256))
        while self._busy and time.perf_counter() < until:
            numbers = numbers @ numbers / 256
        time.sleep(max(0.0, until - time.perf_counter()))
        swing = 0.02 * np.sin(np.arange(CHUNK, dtype=np.float32) / 5)[:, None]
        return [np.clip(one.state[None] + swing, 0.0, 1.0) for one in observations]


class ScriptedKeys:
    """Takes over at second 3 of every 10, and hands back at second 5."""

    def __init__(self) -> None:
        self._began, self._last = time.perf_counter(), 0.0

    def read(self, *, wait_s: float = 0.0):
        from data.robots.keyboard import Key

        now = time.perf_counter() - self._began
        found = [key for at, key in ((3.0, Key.INTERVENE), (5.0, Key.HAND_BACK)) if self._last % 10 < at <= now % 10]
        self._last = now
        return found

    def forget(self) -> None:
        """Nothing is typed ahead."""


def measure(seconds: float, inference_s: float, *, busy: bool) -> dict[str, float]:
    """Figures of one attempt of that length."""
    from bench_recording import install, leader_file, register, robot_file

    from data.robots.device import connected
    from data.robots.env_file import RobotFiles
    from data.robots.recording import RecordingSetup, play
    from data.robots.signals import StopSignals
    from data.tasks import TASKS

    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        register(install(site))
        found = TASKS.get("bench_folding")
        spec = replace(found.spec, rate_hz=RATE_HZ, max_steps=round(seconds * RATE_HZ))

        class Task:
            """The bench task at the rate of the benchmark."""

            def __init__(self) -> None:
                self.spec, self.robot = spec, found.robot

        files = RobotFiles(robot=robot_file(Path(folder)), teleoperator=leader_file(Path(folder)))
        robot, teleoperator = files.make(Task())
        policy = SlowPolicy(inference_s, busy=busy)
        setup = RecordingSetup(task=Task(), robot=robot, teleoperator=teleoperator, policy=policy)
        with connected(robot.device, teleoperator.device, say=lambda text: None), StopSignals() as stop:
            keys = ScriptedKeys()
            played = play(setup, 0, keys=keys, stop=stop, say=lambda text: print(text, file=sys.stderr))
    if played.verdict.error is not None:
        raise played.verdict.error
    pace, draft = played.pace, played.draft
    return {
        "missed_periods": pace.missed / pace.steps,
        "periods": pace.steps,
        "worst_late_ms": 1000 * pace.worst_s,
        "rate_hz": pace.rate_hz,
        "inference_ms": 1000 * inference_s,
        "inferences": policy.asked,
        "held_steps": round(played.inference_s * RATE_HZ),
        "human_steps": int(draft.intervened.sum()),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--inference-ms", type=float, default=150.0)
    parser.add_argument("--busy", action="store_true")
    asked = parser.parse_args()
    print(json.dumps(measure(asked.seconds, asked.inference_ms / 1000, busy=asked.busy)))


if __name__ == "__main__":
    main()
