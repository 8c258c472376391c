"""A whole run whose trainings take two processes each, and the same run again with one: no step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import imitation, improvement, micro, recap

pytestmark = pytest.mark.xdist_group("ray")


@pytest.mark.slow
def test_a_run_of_two_processes_is_the_run_of_one(tmp_path: Path) -> None:
    done = micro(tmp_path, "--executor", "ray", "--set", "runtime.processes=2", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["executed"] == [*imitation(), *improvement()]
    again = micro(tmp_path, "--executor", "local", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["executed"] == []
    verified = recap("verify", workspace=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr
