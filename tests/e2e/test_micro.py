"""The user's command on real physics: it ends, resumes after any kill, refuses what is wrong, damages nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from runs import TASK, files, identities, imitation, improvement, micro, recap

from data.episodes import EpisodeStore
from recap.workspace import Workspace

NODES = [*imitation(), *improvement()]
pytestmark = pytest.mark.xdist_group("e2e-micro")


@pytest.fixture
def finished(finished_micro: Path) -> Path:
    return finished_micro


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path / "w")
    return tmp_path / "w"


def test_a_run_leaves_episodes_outputs_and_a_report(finished: Path) -> None:
    store = EpisodeStore(finished / "episodes")
    demos = [row for row in store.rows() if row.source == "demo"]
    assert len(demos) == 3
    assert all(store.load(row.id).frames["cam_high"].shape == (row.length, 64, 64, 3) for row in demos)
    assert list(dict.fromkeys(name.split(".")[0] for name in identities(finished))) == NODES
    report = finished / "runs" / f"{TASK}-micro" / "report" / "report.html"
    assert "simulated" in report.read_text()
    assert recap("verify", workspace=finished).returncode == 0


def test_issued_again_it_runs_nothing_and_imports_nothing_heavy(copy: Path) -> None:
    before = identities(copy)
    again = micro(copy, "--json")
    assert again.returncode == 0, again.stderr
    result = json.loads(again.stdout)
    assert result["executed"] == []
    assert result["cached"] == NODES
    assert again.stderr.rstrip().splitlines()[-1].strip() == "imported:"
    assert identities(copy) == before


def test_a_champion_tells_where_it_comes_from_and_an_episode_where_it_went(finished: Path) -> None:
    told = json.loads(recap("lineage", "--json", workspace=finished).stdout)
    assert told["asked"] == f"champion of run {TASK}-micro"
    nodes = [line["made"]["node"] for line in told["made_of"]]
    assert {f"0/{TASK}/record", "0/policy"} < set(nodes)
    [demos] = [line for line in told["made_of"] if line["made"]["node"] == f"0/{TASK}/record"]
    assert demos["episodes"] == 3
    episode = next(row.id for row in EpisodeStore(finished / "episodes").rows() if row.source == "demo")
    back = json.loads(recap("lineage", episode[:12], "--json", workspace=finished).stdout)
    assert (back["asked"], back["identity"]) == ("episode", episode)
    assert {"0/policy", "1/viva/value_train", "1/advantage", "1/policy"} < {
        line["made"]["node"] for line in back["made_from"]
    }
    shown = recap("lineage", told["identity"][:12], workspace=finished)
    assert "made of, nearest first" in shown.stdout
    assert shown.returncode == 0, shown.stderr
    assert recap("lineage", "nowhere", workspace=finished).returncode == 2


KILLS = (
    (f"0/{TASK}/record", "ledger.after_append:2"),
    ("0/pretrain", "train.step:7"),
    ("0/policy", "train.after_checkpoint:1"),
    ("0/checkpoint_selection", "ledger.after_append:1"),
    (f"0/{TASK}/evaluate", "ledger.after_append:1"),
    (f"1/{TASK}/record", "ledger.after_append:2"),
    ("1/annotate", "store.before_rename:1"),
    ("1/viva/value_train", "train.after_checkpoint:2"),
    ("1/viva/value_train", "ledger.after_append:1"),
    ("1/viva/value_label", "ledger.after_append:1"),
    ("1/clock/value_train", "store.before_manifest:1"),
    ("1/judge", "store.before_rename:1"),
    ("1/advantage", "store.before_manifest:1"),
    ("1/policy", "train.after_snapshot:1"),
    ("1/gate", "ledger.after_append:1"),
    (f"1/{TASK}/evaluate", "ledger.after_append:1"),
)


@pytest.mark.slow
def test_killed_once_inside_every_stage_it_ends_with_equal_digests(finished: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    kept: set[str] = set()
    for node, fault in KILLS:
        killed = micro(workspace, fault=f"{node}@{fault}:kill")
        assert killed.returncode == -9, f"{node}: {killed.stderr}"
        now = set(EpisodeStore(workspace / "episodes").ids())
        assert kept <= now, f"{node}: a finished episode was lost"
        kept = now
        status = recap("status", workspace=workspace)
        assert f"{node} " in status.stdout
        assert "killed" in status.stdout

    last = micro(workspace, "--json")
    assert last.returncode == 0, last.stderr
    assert json.loads(last.stdout)["executed"] == [f"1/{TASK}/evaluate"]
    assert identities(workspace) == identities(finished)
    assert recap("verify", workspace=workspace).returncode == 0


def test_explain_names_what_changed(copy: Path) -> None:
    plan = recap(
        "explain", "--task", TASK, "--preset", "micro", "--set", "policy.model.fit.steps=13", "--json", workspace=copy
    )
    states = {node["node"]: node for node in json.loads(plan.stdout)}
    assert states[f"0/{TASK}/record"]["state"] == "cached"
    assert states["0/policy"]["state"] == "run"
    assert "model.fit.steps" in states["0/policy"]["why"]
    assert states[f"0/{TASK}/evaluate"]["state"] == "unknown"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "shirt_foldin"], "unknown task 'shirt_foldin': did you mean 'shirt_folding'?"),
        (["--task", TASK, "--preset", "mikro"], "unknown preset 'mikro': did you mean 'micro'?"),
        (["--task", TASK, "--set", "demos.episodes=0"], "DemosConfig.episodes: expected >= 1"),
        (["--task", TASK, "--set", "demos.episodes=many"], "many"),
        (["--task", TASK, "--set", "demo.episodes=3"], "did you mean 'demos'?"),
        (["--task", TASK, "--set", "demos.episodes"], "expected name=value"),
        (["--task", TASK, "--set", "collect.episodes=3"], "it is demos.episodes now"),
        (["--task", TASK, "--set", "imported.others=skip"], "it has no effect in this run"),
        (["--task", TASK, "--name", "../evil"], "run name '../evil'"),
        (["--task", TASK, "--executor", "rey"], "expected one of 'ray', 'local'"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(tmp_path: Path, arguments: list[str], said: str) -> None:
    refused = recap("run", *arguments, workspace=tmp_path / "w")
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "w").exists()


def test_a_workspace_that_a_live_run_writes_is_refused(copy: Path) -> None:
    with Workspace.open(copy).lock("run by the test"):
        before = files(copy / "artifacts")
        refused = micro(copy, "--set", "policy.model.fit.steps=13")
    assert refused.returncode == 4
    assert "run by the test" in refused.stderr
    assert "recap status" in refused.stderr
    assert files(copy / "artifacts") == before


@pytest.mark.slow
def test_a_corrupted_episode_is_named_set_aside_and_recorded_again(copy: Path) -> None:
    store = EpisodeStore(copy / "episodes")
    victim = next(row.id for row in store.rows() if row.source == "demo")
    path = store.path(victim)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    others = {name: data for name, data in files(copy / "episodes").items() if victim not in name}

    named = recap("data", "verify", workspace=copy)
    assert named.returncode == 5
    assert victim in named.stdout
    shutil.rmtree(copy / "cache")
    refused = micro(copy, "--set", "policy.model.fit.steps=13")
    assert refused.returncode == 5, refused.stderr
    assert victim in refused.stderr
    assert "recap data repair" in refused.stderr
    after = files(copy / "episodes")
    assert {name: after[name] for name in others} == others, "nothing else was touched"

    assert recap("data", "repair", workspace=copy).returncode == 0
    mended = micro(copy, "--json")
    assert mended.returncode == 0, mended.stderr
    assert json.loads(mended.stdout)["executed"] == [f"0/{TASK}/record"], "only the lost episode is recorded again"
    assert victim in store.ids()
    assert recap("verify", workspace=copy).returncode == 0
