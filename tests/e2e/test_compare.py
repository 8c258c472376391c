"""`recap compare` as a person types it: on a run's experience, on recorded folders, on LeRobotDatasets."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from runs import TASK, files, recap
from tests.support.synthetic_lerobot import synthetic_dataset

CAN = Path(__file__).parents[3] / "shared" / "datasets" / "g1_yellow_can_v30"
pytestmark = [pytest.mark.xdist_group("e2e-micro"), pytest.mark.timeout(600)]


@pytest.mark.slow
def test_it_shares_the_steps_of_a_run_and_shows_every_model(finished_micro: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    shutil.copytree(finished_micro, workspace)
    asked = ("compare", "--values", "viva,clock,state_only", "--ablate", "future_state", "--json")
    first = recap(*asked, workspace=workspace)
    assert first.returncode == 0, first.stderr
    made = json.loads(first.stdout)
    shared = {f"1/{name}/value_train" for name in ("viva", "clock", "state_only")} | {"1/viva/value_label"}
    assert shared <= set(made["cached"]), "what the run trained is not trained again"
    trained = [node for node in made["executed"] if node.endswith("/value_train")]
    assert trained == ["1/viva-no-future-state/value_train"]

    models = ("viva", "clock", "state_only", "viva-no-future-state")
    page = Path(made["page"]).read_text()
    assert all(f'<th class="n">{model}</th>' in page for model in models)
    found = json.loads(Path(made["table"]).read_text())
    assert list(found["models"]) == list(models)
    outcomes = {"success": "success", "failure": "failure", "unseen": "success"}
    for picture, outcome in outcomes.items():
        said_why = f"{picture}: none of the" in page
        assert (f'id="picture-{picture}"' in page) != said_why, f"{picture} ({outcome})"
        if not said_why:
            figure = page.split(f'id="picture-{picture}"')[1].split("</figure>")[0]
            assert all(f"<h3>{model}</h3><div" in figure for model in models)
    assert any(f'id="picture-{picture}"' in page for picture in ("success", "failure"))
    assert {line["figure"] for line in found["horizons"]} >= {"difference_correlation"}

    run = "runs/" + TASK + "-micro"
    judged = json.loads(recap("status", f"{TASK}-micro", "--json", workspace=workspace).stdout)
    assert all(node["state"] in ("done", "cached") for node in judged["nodes"]), run
    names = {row["figure"] for row in found["figures"] if row["task"] == TASK}
    rows = list(csv.DictReader(Path(made["table"]).with_suffix(".csv").read_text().splitlines()))
    assert {row["figure"] for row in rows if row["task"] == TASK} == names
    assert {row["task"] for row in rows} == {TASK, "pants_folding"}

    again = recap(*asked, workspace=workspace)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["executed"] == []
    fewer = json.loads(recap("compare", "--values", "clock,viva", "--json", workspace=workspace).stdout)
    assert not [node for node in fewer["executed"] if not node.endswith("/judge")]
    back = recap(*asked, workspace=workspace)
    assert json.loads(back.stdout)["executed"] == []
    assert 'class="n">viva-no-future-state</th>' in Path(made["page"]).read_text(), "the page is of what was asked"


@pytest.mark.slow
def test_killed_inside_a_training_it_goes_on(finished_micro: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    shutil.copytree(finished_micro, workspace)
    asked = ("compare", "--values", "clock,viva", "--seed", "5", "--unseen-task", "none", "--json")
    killed = recap(*asked, workspace=workspace, fault="1/viva/value_train@train.after_checkpoint:1:kill")
    assert killed.returncode == -9, killed.stderr
    done = recap(*asked, workspace=workspace)
    assert done.returncode == 0, done.stderr
    assert "1/clock/value_train" in json.loads(done.stdout)["cached"]
    assert "1/viva/value_train" in json.loads(done.stdout)["executed"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--values", "viva,clok"], "unknown value model 'clok': did you mean 'clock'?"),
        (["--ablate", "future"], "unknown ablation 'future'"),
        (["--values", "clock", "--ablate", "K"], "without a model of family viva"),
        (["--ablate", "pretrained"], "this viva starts from no weights"),
        (["--seeds", "0"], "--seeds 0: expected at least 1"),
        (["--rollouts", "DIR"], "--rollouts without --demos"),
        (["--unseen-task", TASK], f"--unseen-task {TASK}: the models learn it"),
        (["--set", "gate.cap=7"], "it has no effect in this run"),
        (["no-such-run"], "unknown run 'no-such-run'"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(finished_micro: Path, arguments: list[str], said: str) -> None:
    before = set(files(finished_micro))
    refused = recap("compare", *arguments, workspace=finished_micro)
    assert refused.returncode == 2, refused.stdout
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert set(files(finished_micro)) == before, "nothing was written"


def _dataset(folder: Path, root: Path, *more: str) -> dict[str, object]:
    done = recap(
        "compare",
        "--demos",
        str(folder),
        *("--values", "viva,state_only,clock", "--preset", "micro", "--executor", "local", "--json"),
        *more,
        workspace=root,
    )
    assert done.returncode == 0, done.stderr
    assert "carry no outcome: as demonstrations they count as successes here" in done.stderr
    found: dict[str, object] = json.loads(Path(json.loads(done.stdout)["table"]).read_text())
    return found


@pytest.mark.slow
def test_a_lerobot_dataset_is_a_table_of_four_folds(tmp_path: Path) -> None:
    folder = synthetic_dataset(tmp_path / "cubes", lengths=(9, 8, 7, 8, 9), size=(64, 64))
    found = _dataset(folder, tmp_path / "w", "--set", "cross_fit=4")
    assert found["folds"] == 4
    assert found["assumed_successes"] == 5
    assert found["unseen"] is None
    assert not (tmp_path / "w" / "labels").exists() or not list((tmp_path / "w" / "labels").rglob("*.json"))


@pytest.mark.slow
@pytest.mark.skipif(not CAN.is_dir(), reason=f"the real-robot recordings are not at {CAN}")
def test_the_real_recordings_go_from_folder_to_table(tmp_path: Path) -> None:
    found = _dataset(CAN, tmp_path / "w", "--set", "cross_fit=4", "--set", "values.viva.fit.steps=2")
    rows = {(row["figure"], row["model"]): row for row in found["figures"]}  # type: ignore[attr-defined]
    for model in ("viva", "state_only", "clock"):
        assert rows["spearman_time_median", model]["count"] <= 12
    assert rows["spearman_time_median", "state_only"]["value"] is not None
    assert rows["spearman_time_median", "state_only"]["difference"] is not None
