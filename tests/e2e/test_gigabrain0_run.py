"""GigaBrain-0 goes through the loop by its name: imitation, values, RECAP, gate, report; and again without a step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import TASK, imitation, improvement, micro, recap

from policy.models import load_policy

RUN = f"{TASK}-micro-gigabrain0"


@pytest.mark.slow
def test_a_run_with_gigabrain0(tmp_path: Path) -> None:
    done = micro(tmp_path, "--policy", "gigabrain0", "--executor", "local", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["executed"] == [*imitation(), *improvement()]
    bundles = list((tmp_path / "artifacts").rglob("diffusion_pytorch_model.safetensors"))
    assert bundles
    assert type(load_policy(bundles[0].parent)).__name__ == "FlowActor"
    assert "gigabrain0" in (tmp_path / "runs" / RUN / "report" / "report.html").read_text()
    again = recap("resume", RUN, "--json", workspace=tmp_path)
    assert json.loads(again.stdout)["executed"] == []
