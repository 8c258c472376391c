"""`recap export` and `recap evaluate` as a person types them, on a finished run: LeRobot loads what was exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from runs import TASK, files, recap

RUN = f"{TASK}-micro"
pytestmark = [pytest.mark.xdist_group("e2e-micro"), pytest.mark.timeout(600)]


@pytest.mark.slow
def test_a_champion_is_exported_and_evaluated_outside_of_its_run(finished_micro: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    shutil.copytree(finished_micro, workspace)
    out = tmp_path / "exported"
    made = recap("export", RUN, "--to", str(out), "--json", workspace=workspace)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert told["type"] == "recap_pi05"
    assert told["difference"] < 1e-5
    assert told["tried_on"].startswith("steps of recorded episode")
    assert json.loads((out / "config.json").read_text())["type"] == "recap_pi05"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")] == []
    again = recap("export", RUN, "--to", str(out), workspace=workspace)
    assert again.returncode == 2
    assert "an export makes a new folder" in again.stderr

    # A process that dies in its second attempt has kept the first.
    asked = ("evaluate", RUN, str(out), "--attempts", "3", "--starts", "validation", "--tracker", "none", "--json")
    killed = recap(*asked, workspace=workspace, fault=f"0/policy/{TASK}/evaluate@ledger.after_append:1:kill")
    assert killed.returncode == -9, killed.stderr
    [ledger] = workspace.glob("scratch/evaluate-*/attempts.jsonl")
    assert len(ledger.read_text().splitlines()) == 1
    done = recap(*asked, workspace=workspace)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["policy"]["success"]["attempts"] == found["against"]["success"]["attempts"] == 3
    # The same policy on the same starts, whichever library its folder is for.
    assert found["success_difference"]["difference"] == 0
    assert found["success_difference"]["low"] <= 0 <= found["success_difference"]["high"]
    once_more = json.loads(recap(*asked, workspace=workspace).stdout)
    assert once_more["executed"] == []
    assert once_more["policy"] == found["policy"]

    # With the run's own settings, what the run evaluated is what there is to say.
    own = json.loads(recap("evaluate", RUN, "--json", workspace=workspace).stdout)
    assert set(own["executed"]) <= {"0/policy/adopt"}  # what was exported is what was adopted before
    assert own["policy"]["success"]["attempts"] == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate", "no-such-run"], "unknown run 'no-such-run'"),
        (["evaluate", RUN, "--task", "pants_folding"], f"champion of run {RUN}"),
        (["evaluate", RUN, "--task", "box_assembly"], "is not one for task box_assembly"),
        (["evaluate", RUN, "--starts", "gate"], "expected validation or test"),
        (["evaluate", RUN, "--set", "gate.cap=7"], "it has no effect in this run"),
        (["export", "no-such-run", "--to", "DIR"], "unknown run 'no-such-run'"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(finished_micro: Path, arguments: list[str], said: str) -> None:
    before = set(files(finished_micro))
    refused = recap(*arguments, workspace=finished_micro)
    assert refused.returncode == 2, refused.stdout
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert set(files(finished_micro)) == before, "nothing was written"
