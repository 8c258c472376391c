"""Runs the real command in a process of its own and reads what it left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TASK = "shirt_folding"
_DRIVER = """
import sys
from cli.main import main
try:
    main()
finally:
    print("imported:", *sorted({"torch", "ray", "mlflow", "mujoco"} & sys.modules.keys()), file=sys.stderr)
"""


def recap(
    *arguments: str, workspace: Path, fault: str = "", timeout_s: float = 280
) -> subprocess.CompletedProcess[str]:
    """`recap ARGUMENTS --workspace WORKSPACE`, dying at the fault point if one is named."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RECAP_FAULT": fault}
    return subprocess.run(
        [sys.executable, "-c", _DRIVER, *arguments, "--workspace", str(workspace)],
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
