"""The smoke preset on Ray: twice around the loop, its driver killed once inside every stage, equal to a local run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import TASK, identities, imitation, improvement, recap

from recap.journal import read_journal

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.timeout(1500)]
STAGES = (
    *imitation(),
    *(node for node in improvement() if "clock" not in node and "state_only" not in node),
    "2/viva/value_train",
    "2/gate",
    f"2/{TASK}/evaluate",
)
_SMOKE = ("run", "--task", TASK, "--preset", "smoke", "--tracker", "none")


def _begun(journal: Path, node: str, offset: int) -> bool:
    """Whether a node is under way in this process and has, if it counts anything, counted one."""
    records, _ = read_journal(journal, offset)
    own = [record for record in records if record["node"] == node]
    started = any(record["kind"] == "step_started" for record in own)
    if node.rpartition("/")[2] in ("annotate", "judge", "advantage"):  # they count nothing
        return started
    return started and any(record["kind"] == "progress" and record["done"] > 0 for record in own)


def _kill_inside(node: str, workspace: Path) -> None:
    """Issues the command and ends its driver with SIGKILL while `node` runs."""
    journal = workspace / "runs" / f"{TASK}-smoke" / "journal.jsonl"
    offset = journal.stat().st_size if journal.exists() else 0
    driver = subprocess.Popen(
        [sys.executable, "-m", "cli", *_SMOKE, "--workspace", str(workspace)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 300
        while not (journal.exists() and _begun(journal, node, offset)):
            assert driver.poll() is None, f"the run ended before {node} could be killed"
            assert time.monotonic() < deadline, f"{node} did not begin"
            time.sleep(0.02)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait(timeout=30)


def test_two_iterations_killed_in_every_stage_equal_a_local_run(tmp_path: Path) -> None:
    local = recap(*_SMOKE, "--executor", "local", "--json", workspace=tmp_path / "local")
    assert local.returncode == 0, local.stderr
    workspace = tmp_path / "ray"
    for node in STAGES:
        _kill_inside(node, workspace)
    last = recap(*_SMOKE, "--json", workspace=workspace)
    assert last.returncode == 0, last.stderr
    assert identities(workspace, f"{TASK}-smoke") == identities(tmp_path / "local", f"{TASK}-smoke")
    assert recap("verify", workspace=workspace).returncode == 0
    again = recap(*_SMOKE, "--json", workspace=workspace)
    assert json.loads(again.stdout)["executed"] == []
    assert again.stderr.rstrip().splitlines()[-1].strip() == "imported:"
