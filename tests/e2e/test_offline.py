"""`recap run --collect none` in processes of its own: recorded episodes in, a policy out, no simulator anywhere.

Kinematics are made up (tests/support/synthetic.py): what is tested is the path, which would not notice.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from runs import TASK, identities, imitation, improvement, recap
from tests.support.synthetic import synthetic_draft, synthetic_truth

from data.annotation import LabelBook
from data.episodes import EpisodeStore
from pipelines.steps.record.folder import ROLES
from recap.types import Annotation, Outcome, Source

RUN = f"{TASK}-micro-offline"
EVAL = {k: f"{k}/{TASK}/open_loop_eval" for k in (0, 1)}
NODES = {
    *(node for node in [*imitation(), *improvement()] if not node.endswith(("/evaluate", "/gate"))),
    *EVAL.values(),
}
pytestmark = pytest.mark.xdist_group("e2e-offline")

# A simulator that cannot be imported is one that is not needed.
_WITHOUT_SIMULATOR = """
import sys
sys.modules["mujoco"] = None
from cli.main import main
main()
"""


def _record(folder: Path, seeds: range, source: Source, *, truth: bool = True) -> list[str]:
    store, ids = EpisodeStore(folder), []
    for seed in seeds:
        draft = synthetic_draft(seed, length=24, height=64, width=64, source=source)
        outcome = Outcome.FAILURE if seed % 2 else Outcome.SUCCESS
        ids.append(store.commit(draft, synthetic_truth(draft, outcome) if truth else None))
    return ids


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("recorded")
    _record(root / "demos", range(3), Source.DEMO)
    _record(root / "rollouts", range(100, 104), Source.ROLLOUT)
    _record(root / "rollouts", range(104, 106), Source.CORRECTION)
    return root


def _arguments(recorded: Path, *more: str) -> list[str]:
    folders = [word for role in ROLES for word in (f"--{role}", str(recorded / role))]
    return ["run", "--task", TASK, "--preset", "micro", "--collect", "none", *folders, *more]


def _offline(workspace: Path, recorded: Path, *more: str, fault: str = "") -> subprocess.CompletedProcess[str]:
    return recap(*_arguments(recorded, *more), workspace=workspace, fault=fault)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, recorded: Path) -> Path:
    """A workspace with one finished offline run, made where no simulator can be imported."""
    workspace = tmp_path_factory.mktemp("offline") / "w"
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_SIMULATOR, *_arguments(recorded), "--workspace", str(workspace)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for said in (f"{EVAL[1]}  ", "positive (6)", "keeping the state", "in-sample", f"report  {workspace}"):
        assert said in done.stdout
    return workspace


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "w")
    return tmp_path / "w"


@pytest.mark.slow
def test_issued_again_it_runs_nothing_imports_nothing_heavy_and_names_the_policy(
    copy: Path, finished: Path, recorded: Path
) -> None:
    again = _offline(copy, recorded, "--json")
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout)
    assert result["executed"] == []
    assert set(result["cached"]) == NODES
    assert again.stderr.rstrip().splitlines()[-1].strip() == "imported:"
    assert identities(copy, RUN) == identities(finished, RUN)
    assert set(result["open_loop"]) == set(EVAL.values())
    assert set(result["open_loop"][EVAL[1]]["groups"]) == {"demos", "positive", "negative"}
    config = json.loads((Path(result["policy"]) / "config.json").read_bytes())
    assert config["type"] == "recap_pi05", "what LeRobot's factory goes by"
    assert recap("verify", workspace=copy).returncode == 0
    assert recap("resume", RUN, "--json", workspace=copy).returncode == 0


KILLS = (
    (f"0/{TASK}/record", "ledger.after_append:2"),
    (f"1/{TASK}/record", "episodes.before_rename:3"),
    (f"1/{TASK}/record", "ledger.after_append:2"),
    (EVAL[1], "store.before_manifest:1"),
)


@pytest.mark.slow
def test_killed_while_it_takes_over_nothing_is_lost_and_it_ends_with_equal_digests(
    finished: Path, recorded: Path, tmp_path: Path
) -> None:
    workspace = tmp_path / "w"
    kept: set[str] = set()
    for node, fault in KILLS:
        killed = _offline(workspace, recorded, fault=f"{node}@{fault}:kill")
        assert killed.returncode == -9, f"{node}: {killed.stderr}"
        now = set(EpisodeStore(workspace / "episodes").ids())
        assert kept < now or node == EVAL[1], f"{node}: a finished episode was lost"
        kept = now
    last = _offline(workspace, recorded, "--json")
    assert last.returncode == 0, last.stderr
    assert json.loads(last.stdout)["executed"] == [EVAL[1]]
    assert identities(workspace, RUN) == identities(finished, RUN)


@pytest.mark.slow
def test_it_waits_for_labels_that_are_missing_or_goes_on_without_those_episodes(
    copy: Path, recorded: Path, tmp_path: Path
) -> None:
    day = tmp_path / "day"
    shutil.copytree(recorded, day)
    (unlabelled,) = _record(day / "rollouts", range(200, 201), Source.ROLLOUT, truth=False)
    waiting = _offline(copy, day)
    assert waiting.returncode == 3
    assert "1 of 10 episodes have no label" in waiting.stderr
    assert f"recap annotate {RUN}" in waiting.stderr

    without = _offline(copy, day, "--unlabelled", "skip", "--json")
    assert without.returncode == 0, without.stderr
    assert {"0/pretrain", "0/policy", EVAL[0]} <= set(json.loads(without.stdout)["cached"])
    status = json.loads(recap("status", RUN, "--json", workspace=copy).stdout)
    assert all(node["state"] in ("done", "cached") for node in status["nodes"])

    said = Annotation(episode_id=unlabelled, outcome=Outcome.SUCCESS)
    LabelBook(copy / "labels").record(said, by="ada")
    labelled = _offline(copy, day, "--json")
    assert labelled.returncode == 0, labelled.stderr
    assert "1/annotate" in json.loads(labelled.stdout)["executed"]


def test_the_days_experience_of_a_workspace_is_told_apart_when_asked(recorded: Path, tmp_path: Path) -> None:
    both = tmp_path / "both"
    for role in ROLES:
        shutil.copytree(recorded / role, both, dirs_exist_ok=True)
    arguments = ["--collect", "none", "--demos", str(both), "--iterations", "0"]
    refused = recap("run", "--task", TASK, "--preset", "micro", *arguments, workspace=tmp_path / "w")
    assert refused.returncode == 2
    assert "6 of 9 episodes are not meant here" in refused.stderr
    assert "--set imported.others=skip" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--collect", "none"], "--collect none without --demos"),
        (["--collect", "none", "--demos", "."], "--demos without --rollouts"),
        (["--demos", "."], "--demos without --collect none"),
        (["--collect", "none", "--demos", ".", "--rollouts", ".", "--iterations", "2"], "iterations = 2 offline"),
        (["--collect", "none", "--demos", "nowhere", "--rollouts", "."], "nowhere: does not exist"),
    ],
)
def test_options_are_refused_before_anything_is_written(tmp_path: Path, more: list[str], said: str) -> None:
    refused = recap("run", "--task", TASK, *more, workspace=tmp_path / "w")
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "w").exists()
