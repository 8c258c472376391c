"""One policy and one value model for two tasks: the user's command on real physics, resumed after a kill."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from runs import identities, recap

from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from data.lerobot_io.folder import open_folder
from recap.step import Artifact
from recap.store import Store
from recap.workspace import Workspace

TASKS = ("shirt_folding", "toilet_paper_organization")
RUN = "shirt_folding-and-toilet_paper_organization-micro"
pytestmark = pytest.mark.xdist_group("e2e-several")


def run(workspace: Path, *more: str, fault: str = "") -> tuple[int, str]:
    done = recap("run", "--task", ",".join(TASKS), "--preset", "micro", *more, workspace=workspace, fault=fault)
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
        assert {f"0/{task}/collect", f"0/{task}/evaluate", f"1/{task}/collect", f"1/{task}/evaluate"} <= nodes
    assert {"0/demos", "0/policy", "1/episodes", "1/value", "1/advantage", "1/policy", "1/promote"} <= nodes


def test_all_training_reads_the_episodes_of_both(finished: Path) -> None:
    demos = output(finished, "0/demos", "episodes").json()["ids"]
    tasks = [row.task for row in EpisodeStore(finished / "episodes").rows(demos)]
    assert {task: tasks.count(task) for task in TASKS} == dict.fromkeys(TASKS, 3)


def test_each_task_has_its_own_threshold(finished: Path) -> None:
    table = FrameTable.read(output(finished, "1/advantage", "labels").path)
    assert set(table.facts["thresholds"]) == set(TASKS)


def test_the_gate_hears_the_tasks_in_turn(finished: Path) -> None:
    keys = [row["key"] for row in output(finished, "1/promote", "decision").json()["attempts"]]
    assert keys[0].startswith(f"champion/{TASKS[0]}/")


def test_candidates_are_compared_on_both(finished: Path) -> None:
    rows = output(finished, "1/select", "selection").json()["candidates"]
    assert all(row["attempts"] == 2 for row in rows), "one VALIDATION start of each task"


def test_the_bundle_names_both_instructions(finished: Path) -> None:
    told = json.loads((output(finished, "0/select", "policy").path / "recap.json").read_bytes())
    assert told["task"] == "fold the shirt; organize the toilet paper rolls"


def test_the_report_has_a_page_for_each_and_one_that_compares_them(finished: Path) -> None:
    folder = finished / "runs" / RUN / "report"
    first = (folder / "report.html").read_text()
    for task in TASKS:
        assert f'href="{task}/report.html"' in first
        page = (folder / task / "report.html").read_text()
        other = next(one for one in TASKS if one != task)
        assert f"1/{task}/evaluate" in page
        assert f"{other}/evaluate" not in page
        assert "complete run" in page


def test_issued_again_it_runs_nothing(finished: Path) -> None:
    before = identities(finished, RUN)
    done = recap("run", "--task", ",".join(TASKS), "--preset", "micro", "--json", workspace=finished)
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
