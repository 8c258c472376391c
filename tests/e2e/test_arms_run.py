"""Several arms of labels in one run, on real physics: no value model, killed inside an arm, resumed, reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import TASK, imitation, micro, recap

RUN = f"{TASK}-micro-outcome"
STAGES = ("advantage", "policy", "checkpoint_selection")


@pytest.mark.slow
def test_arms_without_a_value_model_are_trained_evaluated_and_probed_after_a_kill(tmp_path: Path) -> None:
    small = ("condition_probe.attempts=1", "condition_probe.frames=2", "policy.model.fit.steps=2", "pretrain.steps=2")
    short = ("checkpoint_selection.attempts=0", "evaluate.attempts=1", "gated=false")
    sets = [part for one in (*small, *short) for part in ("--set", one)]
    asked = ("--labels", "outcome", "--arms", "random,flaw", *sets)
    killed = micro(tmp_path, *asked, fault="1/random/condition_probe@ledger.after_append:2:kill")
    assert killed.returncode == -9, killed.stderr
    status = recap("status", RUN, workspace=tmp_path).stdout
    assert "1/random/condition_probe " in status
    assert "killed" in status

    done = recap("resume", RUN, "--json", workspace=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    beside = {
        arm: [*(f"1/{arm}/{stage}" for stage in STAGES), f"1/{arm}/{TASK}/evaluate", f"1/{arm}/condition_probe"]
        for arm in ("random", "flaw")
    }
    before = [f"1/{TASK}/record", "1/experience", "1/annotate", *(f"1/{stage}" for stage in STAGES)]
    main = [*before, f"1/{TASK}/evaluate", "1/condition_probe"]
    assert result["cached"] == [*imitation(), *main, *beside["random"][:-1]]
    assert result["executed"] == [beside["random"][-1], *beside["flaw"]]
    assert {f"1/{TASK}/evaluate", f"1/random/{TASK}/evaluate"} <= result["evaluations"].keys()

    page = (tmp_path / "runs" / RUN / "report" / "report.html").read_text()
    assert "What limits it: labels, conditioning or precision" in page
    for arm in ("outcome", "random", "flaw"):
        assert f"{arm}: positive minus negative" in page
    planned = recap("explain", "--name", RUN, "--json", workspace=tmp_path)
    assert {node["state"] for node in json.loads(planned.stdout)} == {"cached"}
