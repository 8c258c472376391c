"""One policy and one value model for two tasks: the user's command on real physics, resumed after a kill."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from runs import identities, recap

from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from data.lerobot_io.folder import open_folder
from pipelines.report.collect import gather
from recap.step import Artifact
from recap.store import Store
from recap.workspace import Workspace

TASKS = ("shirt_folding", "toilet_paper_organization")
_GATE = ("--set", "gate.cap=2", "--set", "gate.block=2")
RUN = "shirt_folding-and-toilet_paper_organization-micro"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("e2e-several")]


def run(workspace: Path, *more: str, fault: str = "") -> tuple[int, str]:
    arguments = ("run", "--task", ",".join(TASKS), "--preset", "micro", *_GATE, *more)
    done = recap(*arguments, workspace=workspace, fault=fault)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two tasks that died once while the second task was collected."""
    workspace = tmp_path_factory.mktemp("several") / "w"
    code, _ = run(workspace, fault="ledger.after_append:5")
    assert code not in (0, None), "the fault was never reached"
    code, told = run(workspace)
    assert code == 0, told
    for task in TASKS:
        assert f"1/{task}/evaluate" in told
    assert f"recap run --task {','.join(TASKS)} --preset micro" in told
    return workspace


def output(workspace: Path, node: str, name: str) -> Artifact:
    status = json.loads(recap("status", RUN, "--json", workspace=workspace).stdout)
    found = next(one for one in status["nodes"] if one["name"] == node)
    made = Store(Workspace.open(workspace)).load(found["step"], found["key"])
    assert made is not None
    return made[name]


def test_what_acts_works_on_one_task_and_what_learns_on_all(finished: Path) -> None:
    nodes = {name.rpartition(".")[0] for name in identities(finished, RUN)}
    for task in TASKS:
        assert {f"{k}/{task}/{stage}" for k in (0, 1) for stage in ("record", "evaluate")} <= nodes
    assert {"0/demos", "0/policy", "1/episodes", "1/viva/value_train", "1/advantage", "1/policy", "1/gate"} <= nodes


def test_all_training_reads_the_episodes_of_both(finished: Path) -> None:
    demos = output(finished, "0/demos", "episodes").json()["ids"]
    tasks = [row.task for row in EpisodeStore(finished / "episodes").rows(demos)]
    assert {task: tasks.count(task) for task in TASKS} == dict.fromkeys(TASKS, 3)
    for node, episodes in (("0/pretrain", 6), ("0/policy", 6), ("1/policy", 12)):
        assert output(finished, node, "training").json()["episodes"] == episodes


def test_each_task_has_its_own_threshold(finished: Path) -> None:
    table = FrameTable.read(output(finished, "1/advantage", "labels").path)
    assert set(table.facts["thresholds"]) == set(TASKS)


def test_the_gate_hears_the_tasks_in_turn_and_says_how_each_went(finished: Path) -> None:
    decision = output(finished, "1/gate", "decision").json()
    assert [row["key"].split("/")[:2] for row in decision["attempts"]] == [
        [player, task] for task in TASKS for player in ("champion", "challenger")
    ]
    assert {task: won["pairs"] for task, won in decision["tasks"].items()} == dict.fromkeys(TASKS, 1)


def test_candidates_are_compared_on_both(finished: Path) -> None:
    rows = output(finished, "1/checkpoint_selection", "selection").json()["candidates"]
    assert all(row["attempts"] == 2 for row in rows), "one VALIDATION start of each task"
    assert all(set(row["by_task"]) == set(TASKS) for row in rows)


def test_the_bundle_names_both_instructions(finished: Path) -> None:
    told = json.loads((output(finished, "0/checkpoint_selection", "policy").path / "recap.json").read_bytes())
    assert told["task"] == "fold the shirt; organize the toilet paper rolls"


def test_the_report_has_a_page_for_each_and_one_that_compares_them(finished: Path) -> None:
    folder = finished / "runs" / RUN / "report"
    first = (folder / "report.html").read_text()
    for task, prompt in zip(TASKS, ("fold the shirt", "organize the toilet paper rolls"), strict=True):
        assert f'href="{task}/report.html"' in first
        assert f"1/{task}/evaluate" in first
        page = (folder / task / "report.html").read_text()
        assert prompt in page
        assert "complete run" in page
        assert not re.findall(r'<section id="(labels|selection|training|stages)"', page), "of all tasks: first page"
        data = gather(Workspace.open(finished, create=False), RUN, only=task)
        assert data.data is not None
        assert data.data.episodes == 3 + 3 + 2, "demonstrations, attempts, films"
        labelled = data.iterations[1].advantage
        assert labelled is not None
        assert sum(share.episodes for share in labelled.shares) == 6
        assert {share.source for share in labelled.shares} <= {"demo", "rollout", "correction"}


def test_issued_again_it_runs_nothing(finished: Path) -> None:
    before = identities(finished, RUN)
    done = recap("run", "--task", ",".join(TASKS), "--preset", "micro", *_GATE, "--json", workspace=finished)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["executed"] == []
    assert identities(finished, RUN) == before


def test_its_labels_are_exported_task_by_task(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "dataset"
    done = recap(
        *("data", "export", "--run", RUN, "--task", TASKS[1], "--to", str(out)), workspace=finished, timeout_s=200
    )
    assert done.returncode == 0, done.stderr
    assert len(open_folder(out).episodes) == 6


def test_offline_it_is_refused(tmp_path: Path) -> None:
    code, told = run(tmp_path / "w", "--collect", "none", "--demos", str(tmp_path), "--rollouts", str(tmp_path))
    assert code != 0
    assert "an offline run learns one task" in told
