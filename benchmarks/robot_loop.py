"""The loop on a robot beside the loop in the simulator: the same task, the same settings, the same kind of people.

    .venv/bin/python benchmarks/robot_loop.py WORKSPACE [--rate 30] [--set demos.episodes=200 ...]

The robot is the simulated bench behind LeRobot's interface, in real time and without its truth: a run learns what its
cameras, its joints and the keys of the person beside it say. That person is played at a terminal: demonstrates as the
task's demonstrators do, flaws and all, says success and failure, takes over when the policy goes wrong and hands back,
by the rules of the simulator's supervisor. Typed again it goes on. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "plugins")]

BUILT_IN, TASK = "shirt_folding", "bench_shirt"
SIZE = 64
RECAP = (sys.executable, "-c", "from cli.main import main; main()")
MORE = 100
"""A run needs its operator less often than that."""


class Person:
    """Who sits beside the robot: a reaction to what is said there."""

    def __init__(self) -> None:
        self._corrects = False

    def reactions(self) -> dict[str, Any]:
        return {
            "Reset the scene": b"\r",
            "Enter ends": b"\r",
            "bench: success": b"s",
            "bench: failure": b"f",
            ": you demonstrate": self._asked(False),
            ": the policy acts": self._asked(False),
            "correct it (i, h)": self._asked(True),
            "bench: goes wrong": lambda: b"i" if self._corrects else b"",
            "bench: goes again": lambda: b"h" if self._corrects else b"",
        }

    def _asked(self, corrects: bool) -> Any:
        def heard() -> bytes:
            self._corrects = corrects
            return b""

        return heard


def main() -> None:
    from bench_operator import Operated, env_file
    from bench_recording import install

    from data.sim.bimanual_env import robot_spec
    from data.task_file import write_task_file
    from data.tasks import TASKS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--rate", type=float, default=30.0, help="control rate of the robot, Hz")
    parser.add_argument("--preset", default="sim")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--only", choices=("robot", "simulator"))
    asked = parser.parse_args()
    root = asked.workspace.resolve()
    settings = [word for one in asked.settings for word in ("--set", one)]
    usual = ("--preset", asked.preset, "--values", "viva", "--tracker", "none", *settings)
    found: dict[str, Any] = {}

    if asked.only != "robot":
        found["simulator"] = recap("run", "--task", BUILT_IN, *usual, "--workspace", str(root / "simulator"))
    if asked.only != "simulator":
        (root / "robot" / "tasks").mkdir(parents=True, exist_ok=True)
        spec = TASKS.get(BUILT_IN).spec
        slower = spec.rate_hz / asked.rate
        write_task_file(
            root / "robot" / "tasks" / f"{TASK}.yaml",
            replace(spec, id=TASK, rate_hz=asked.rate, lookahead_s=spec.lookahead_s * slower, revision=1),
            robot_spec(SIZE),
        )
        site = root / "site"
        if not site.is_dir():
            install(site)
        devices = env_file(
            root / "devices",
            leader={"novice": True},
            image_size=SIZE,
            renderer="auto",
            scenes=str(root / "scenes"),
            watched=True,
        )
        os.environ["PYTHONPATH"] = f"{site}:{ROOT}"
        typed = ("run", "--task", TASK, "--env", str(devices), *usual, "--workspace", str(root / "robot"))
        for _ in range(MORE):
            found["robot"] = recap(*typed, waits=True)
            if found["robot"] is not None:
                break
            began = time.perf_counter()
            made = Operated(site, workspace=root / "robot", reactions=Person().reactions(), timeout_s=60)
            if made.code != 0:
                sys.exit("\n".join(made.heard[-20:]))
            kept = made.result
            print(f"recap robot: {time.perf_counter() - began:.0f} s, {json.dumps(kept)}", flush=True)
    told = {
        name: figures(root / name, result["run"], TASK if name == "robot" else BUILT_IN)
        for name, result in found.items()
    }
    print(json.dumps({"bench": "robot_loop", "rate_hz": asked.rate, **told}))


def recap(*words: str, waits: bool = False) -> dict[str, Any] | None:
    """What the command gives as JSON; None: it waits for its operator."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*RECAP, *words, "--json"], env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if waits and done.returncode == 6:
        return None
    if done.returncode != 0:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def figures(root: Path, run: str, task: str) -> dict[str, Any]:
    """[successes, attempts] of everyone who acted, what the gate found, and of a robot how much of it was late."""
    from recap.provenance import run_status
    from recap.store import Store
    from recap.workspace import Workspace

    workspace = Workspace.open(root)
    outputs = {
        node.name: found
        for node in run_status(workspace, run).nodes
        if node.key and (found := Store(workspace).load(node.step, node.key)) is not None
    }

    def attempts(node: str, output: str, wanted: Callable[[dict[str, Any]], bool] = lambda row: True) -> list[int]:
        rows = [row for row in outputs[node][output].json()["attempts"] if wanted(row)]
        return [sum(row["outcome"] == "success" for row in rows), len(rows)]

    decision = outputs["1/gate"]["decision"].json()["decision"]
    result = {
        "demonstrations": attempts(f"0/{task}/record", "summary"),
        "imitation": attempts(f"0/{task}/evaluate", "evaluation"),
        "imitation practising alone": attempts(f"1/{task}/record", "summary", lambda row: not row["supervised"]),
        "imitation corrected": attempts(f"1/{task}/record", "summary", lambda row: row["supervised"]),
        **{
            f"gate, {player}": attempts("1/gate", "decision", lambda row, player=player: row["key"].startswith(player))
            for player in ("champion", "challenger")
        },
        "gate": [decision["verdict"], decision["difference"]],
    }
    if f"1/{task}/evaluate" in outputs:
        result["RECAP"] = attempts(f"1/{task}/evaluate", "evaluation")
    logs = (root / "runs" / run).glob("robot/*.jsonl")
    rows = [json.loads(line) for log in logs for line in log.read_text().splitlines()]
    if rows:
        result["late_steps"] = sum(row["metrics"]["late_steps"] for row in rows) / sum(row["steps"] for row in rows)
    return result


if __name__ == "__main__":
    main()
