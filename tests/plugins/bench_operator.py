"""An operator of the bench robot, at a pseudo-terminal before `recap robot` in a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from bench_recording import leader_file, robot_file, terminal

from data.tasks import TASKS

REACTIONS = {
    "Reset the scene": b"\r",
    "Enter ends": b"\r",
    "bench: success": b"s",
    "correct it": b"i",
}
"""{what is said: what is typed then, or a function that says it}. Of whom nobody says anything, time runs out."""
_PUTS_RIGHT_S = 0.3
COMMAND = (sys.executable, "-c", "from cli.main import main; main()", "robot")


def env_file(folder: Path, *, setup: dict | None = None, leader: dict | None = None, **robot) -> Path:
    """The file of --env, with those of both devices beside it."""
    folder.mkdir(exist_ok=True)
    # A policy of a few steps asks for anything.
    limits = {name: [-100, 100] for name in TASKS.get("shirt_folding").robot.action_names}
    arms = robot_file(folder, setup={"limits": limits, "late_s": 30} | (setup or {}), reset_pause_s=0.25, **robot)
    path = folder / "env.yaml"
    path.write_text(f"robot: {arms.name}\nteleoperator: {leader_file(folder, **(leader or {})).name}\n")
    return path


class Operated:
    """What `recap robot` said, its exit code and its JSON."""

    def __init__(self, site, *options, workspace=None, cwd=None, fault="", reactions=REACTIONS, timeout_s=280):
        environment = {**os.environ, "PYTHONPATH": f"{site}:{os.getcwd()}", "OMP_NUM_THREADS": "1"}
        environment["RECAP_FAULT"] = fault
        self.heard = []
        with terminal() as (master, slave):
            process = subprocess.Popen(
                [*COMMAND, *options, *([] if workspace is None else ["--workspace", str(workspace)]), "--json"],
                cwd=cwd,
                stdin=slave,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
            )
            try:
                for line in process.stderr:
                    self.heard.append(line.rstrip())
                    for text, keys in reactions.items():
                        if text in line:
                            time.sleep(_PUTS_RIGHT_S if keys == b"\r" else 0)
                            os.write(master, keys() if callable(keys) else keys)
                out = process.stdout.read()
                self.code = process.wait(timeout=timeout_s)
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
                process.stderr.close()
        self.result = json.loads(out) if out else None
