"""The whole loop on a gymnasium environment of someone else, found by its entry point; and again, cached."""

import json
import os
import sys
from pathlib import Path

import pytest

from data.episodes import EpisodeStore

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "plugins"))

from runs import recap


@pytest.mark.slow
def test_the_loop_closes_on_an_environment_of_someone_else(tmp_path, monkeypatch):
    from bench_recording import install

    monkeypatch.setenv("PYTHONPATH", f"{install(tmp_path / 'site')}:{os.getcwd()}")
    workspace = tmp_path / "w"
    typed = ("run", "--task", "gym_reach", "--preset", "micro", "--tracker", "none", "--json")
    first = recap(*typed, workspace=workspace)
    assert first.returncode == 0, first.stderr
    store = EpisodeStore(workspace / "episodes")
    assert {row.renderer for row in store.rows()} == {"gym"}
    assert {row.source.value for row in store.rows()} >= {"demo", "rollout"}
    again = recap(*typed, workspace=workspace)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["executed"] == []
    refused = recap("run", "--task", "gym_reach_bare", "--preset", "micro", workspace=workspace)
    assert refused.returncode == 2
    assert "nobody demonstrates in its world" in refused.stderr
