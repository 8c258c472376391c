"""The whole loop on a gymnasium environment of someone else, found by its entry point; and again, cached."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from data.episodes import EpisodeStore

sys.path.insert(0, str(Path(__file__).parent))
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
    _lerobot_evaluates(workspace, tmp_path)
    refused = recap("run", "--task", "gym_reach_bare", "--preset", "micro", workspace=workspace)
    assert refused.returncode == 2
    assert "nobody demonstrates in its world" in refused.stderr


def _lerobot_evaluates(workspace: Path, folder: Path) -> None:
    """LeRobot's own command plays what was exported in LeRobot's own kind of environment."""
    exported = recap("export", "gym_reach-micro", "--to", str(folder / "policy"), "--json", workspace=workspace)
    assert exported.returncode == 0, exported.stderr
    command = shlex.split(json.loads(exported.stdout)["commands"][0].replace("ENV", "reach").replace("=10", "=2"))
    assert command[0] == "lerobot-eval"
    more = ["--env.discover_packages_path=reach_for_lerobot", f"--output_dir={folder / 'evaluated'}"]
    places = [Path(__file__).parents[1] / "contract" / "policy", Path(__file__).parents[1] / "plugins"]
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:], *more],
        env={
            **os.environ,
            "PYTHONPATH": ":".join([os.environ["PYTHONPATH"], *map(str, places)]),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads((folder / "evaluated" / "eval_info.json").read_text())
    assert told["overall"]["n_episodes"] == 2
