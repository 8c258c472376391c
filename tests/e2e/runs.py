"""Runs the real command in a process of its own and reads what it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TASK = "shirt_folding"
VALUES = ("viva", "clock", "state_only")
"""Value models of a run that names none."""


def imitation(task: str = TASK) -> list[str]:
    """Nodes of iteration 0, in the order that they run in."""
    return [f"0/{task}/record", "0/pretrain", "0/policy", "0/checkpoint_selection", f"0/{task}/evaluate"]


def improvement(k: int = 1, task: str = TASK) -> list[str]:
    """Nodes of an iteration k >= 1, likewise."""
    values = [f"{k}/{name}/{stage}" for name in VALUES for stage in ("value_train", "value_label")]
    learned = [f"{k}/{stage}" for stage in ("judge", "advantage", "policy", "checkpoint_selection", "gate")]
    return [f"{k}/{task}/record", f"{k}/experience", f"{k}/annotate", *values, *learned, f"{k}/{task}/evaluate"]


_DRIVER = """
import sys
from cli.main import main
try:
    main()
finally:
    print("imported:", *sorted({"torch", "ray", "mlflow", "mujoco"} & sys.modules.keys()), file=sys.stderr)
"""


def recap(
    *arguments: str, workspace: Path | None, fault: str = "", timeout_s: float = 280
) -> subprocess.CompletedProcess[str]:
    """`recap ARGUMENTS --workspace WORKSPACE`, dying at the fault point if one is named; None: no workspace."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RECAP_FAULT": fault}
    return subprocess.run(
        [sys.executable, "-c", _DRIVER, *arguments, *(["--workspace", str(workspace)] if workspace else [])],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def micro(workspace: Path, *more: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    """`recap run` of the micro preset, without the tracker (it has tests of its own) and on the GL-free renderer."""
    return recap(
        "run", "--task", TASK, "--preset", "micro", "--tracker", "none", *more, workspace=workspace, fault=fault
    )


def identities(workspace: Path, run: str = f"{TASK}-micro") -> dict[str, str]:
    """{node.output: identity} of every committed output, but for what only the clock decides."""
    status = json.loads(recap("status", run, "--json", workspace=workspace).stdout)
    return {
        f"{node['name']}.{output}": identity
        for node in status["nodes"]
        for output, identity in node["outputs"].items()
        if output != "timing"
    }


def files(root: Path) -> dict[str, bytes]:
    """{relative path: content} of every file below a folder."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
