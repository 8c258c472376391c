"""The command, with an instruction and folders full of what breaks programs: in, through a run, out, and in again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from runs import recap
from tests.support.synthetic_lerobot import synthetic_dataset

from data.annotation import LabelBook
from data.task_file import read_task_file
from pipelines.trackers.base import sqlite_uri
from recap.types import Outcome

NASTIEST = "\u202e\U0001f600 e\u0301\u0085\u2028\x00\x1b[31m '\"\\ $x^2$ {{7}} <b>&amp; %s קפל, State: 1"
# Folders of a shell's worst dreams.
FOLDER = "\u202e\U0001f600 e\u0301 '\"\\ $x 100% {7}: #קפל\n;&"
TYPED = NASTIEST.replace("\0", "")
"""No argument of a program can hold a NUL."""
RUN = "cubes-micro-offline"
pytestmark = pytest.mark.xdist_group("e2e-hostile-texts")

_LEROBOT = """
import json, sys
from lerobot.datasets.lerobot_dataset import LeRobotDataset
dataset = LeRobotDataset("somebody/something", root=sys.argv[1], video_backend="pyav", return_uint8=True)
said = {"tasks": [dataset[i]["task"] for i in range(len(dataset))], "robot": dataset.meta.robot_type}
print(json.dumps({**said, "names": list(dataset.meta.features["action"]["names"])}))
"""


def _mlflow_params(workspace: Path) -> dict[str, tuple[str, dict[str, str]]]:
    """{run: (status, params)}, as MLflow has it in a process of its own."""
    script = """
import json, sys
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
ids = [experiment.experiment_id for experiment in client.search_experiments()]
print(json.dumps({run.info.run_name: [run.info.status, run.data.params] for run in client.search_runs(ids)}))
"""
    found: dict[str, tuple[str, dict[str, str]]] = json.loads(_python(script, sqlite_uri(workspace / "mlflow.db")))
    return found


def _python(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_terminal_ends_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    refused = recap("run", "--task", "fold \U0001f455 \u202e", workspace=tmp_path / "w")
    assert (refused.returncode, "unknown task" in refused.stderr) == (2, True), refused.stderr


def test_files_are_utf8_whatever_the_locale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = synthetic_dataset(tmp_path / "d", lengths=(2,), pictures="image", instructions=["fold \U0001f455"])
    for name, value in {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}.items():
        monkeypatch.setenv(name, value)
    done = recap("data", "import", str(dataset), "--task", "cubes", workspace=tmp_path / "w")
    assert done.returncode == 0, done.stderr
    assert read_task_file(tmp_path / "w" / "tasks" / "cubes.yaml").spec.prompt == "fold \U0001f455"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_nastiest_text_goes_all_the_way_round(tmp_path: Path) -> None:
    below = tmp_path / FOLDER
    columns = {f"how {TYPED}": ["success", "failure", "success", "success", "failure"]}
    dataset = synthetic_dataset(
        below / "d", lengths=(8,) * 5, size=(64, 64), instructions=[NASTIEST] * 5, episode_columns=columns
    )
    workspace = below / "w"
    usual = ("--task", "cubes", "--camera", "top=observation.images.front", "--robot", TYPED, "--json")
    rollouts = ("--source", "rollout", "--policy", TYPED, "--outcome-column", f"how {TYPED}")
    for more in (("--episodes", "0-1"), ("--episodes", "2-4", *rollouts)):
        done = recap("data", "import", str(dataset), *usual, *more, workspace=workspace)
        assert done.returncode == 0, done.stderr
    task = read_task_file(workspace / "tasks" / "cubes.yaml")
    assert (task.spec.prompt, task.robot.id) == (NASTIEST, TYPED)
    said = LabelBook(workspace / "labels").annotations()
    assert sorted(one.outcome for one in said.values()) == [Outcome.FAILURE, Outcome.SUCCESS, Outcome.SUCCESS]

    run = ["run", "--task", "cubes", "--preset", "micro", "--collect", "none", "--tracker", "mlflow"]
    folders = ["--demos", str(workspace), "--rollouts", str(workspace), "--set", "imported.others=skip"]
    room = [
        word
        for setting in (
            "values.viva.transformer.text_tokens",
            "policy.model.prompt_tokens",
        )
        for word in ("--set", f"{setting}=200")
    ]
    done = recap(*run, *folders, *room, "--unlabelled", "skip", workspace=workspace)
    assert done.returncode == 0, done.stderr
    assert "cannot be reached" not in done.stderr
    assert "cannot be reached" not in done.stdout
    status, params = _mlflow_params(workspace)[RUN]
    assert (status, params["task"]) == ("FINISHED", "cubes")

    page = Path(recap("report", workspace=workspace).stdout.rstrip("\n")).read_bytes().decode()
    assert "&lt;b&gt;" in page
    assert "<b>&amp; %s" not in page

    # LeRobot would not find its own files below a quote or a line end.
    done = recap("data", "export", "--to", str(below / "out"), "--run", RUN, "--json", workspace=workspace)
    assert (done.returncode, "does not find its own files" in done.stderr) == (2, True), done.stderr
    exported = tmp_path / FOLDER.replace("'", "").replace("\n", "") / "out"
    done = recap("data", "export", "--to", str(exported), "--run", RUN, "--json", workspace=workspace)
    assert done.returncode == 0, done.stderr
    theirs = json.loads(_python(_LEROBOT, str(exported)))
    assert (set(theirs["tasks"]), theirs["robot"]) == ({NASTIEST}, TYPED)
    assert tuple(theirs["names"]) == task.robot.action_names
    done = recap("data", "import", str(exported), "--task", "again", "--json", workspace=tmp_path / "again")
    assert done.returncode == 0, done.stderr
    again = read_task_file(tmp_path / "again" / "tasks" / "again.yaml")
    assert (again.spec.prompt, again.robot.id) == (NASTIEST, TYPED)
