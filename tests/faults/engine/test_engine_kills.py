"""kill -9 at every fault point of store and runner, then the same command again: equal identities, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.fakes import InlineExecutor, RecordingObserver
from tests.support.faults import FAULT_POINTS, run_python
from toy_steps import toy_graph

from recap.provenance import run_status
from recap.runner import Runner, RunSummary
from recap.store import Store
from recap.workspace import Workspace

RUN = """
import sys
from recap.runner import Runner
from tests.support.fakes import InlineExecutor
from toy_steps import toy_graph
from recap.workspace import Workspace
Runner(Workspace.open(sys.argv[1]), InlineExecutor).run(toy_graph(), "r")
"""
STEPS = 4
# The constant is committed too, so the store passes its points five times.
PASSES = {"runner.before_step": STEPS, "runner.after_step": STEPS}


def identities(summary: RunSummary) -> dict[str, dict[str, str]]:
    return {node: {name: a.identity for name, a in outputs.items()} for node, outputs in summary.outputs.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    workspace = Workspace.open(tmp_path_factory.mktemp("plain") / "w")
    return identities(Runner(workspace, InlineExecutor).run(toy_graph(), "r"))


def check_resumed(workspace: Workspace, undisturbed: dict[str, dict[str, str]]) -> RunSummary:
    observer = RecordingObserver()
    summary = Runner(workspace, InlineExecutor, [observer]).run(toy_graph(), "r")
    assert identities(summary) == undisturbed
    assert observer.of("step_quarantined") == [], "a kill alone must leave nothing that looks corrupt"
    store = Store(workspace)
    assert store.verify() == []
    assert len(store.entries()) == STEPS + 1
    assert list((workspace.artifacts / ".tmp").iterdir()) == []
    return summary


@pytest.mark.parametrize(
    ("point", "passing"),
    [
        *((point, 2) for point in FAULT_POINTS),
        *(pytest.param(point, PASSES.get(point, STEPS + 1), marks=pytest.mark.slow) for point in FAULT_POINTS),
    ],
)
def test_a_killed_run_goes_on_to_the_same_result(
    tmp_path: Path, undisturbed: dict[str, dict[str, str]], point: str, passing: int
) -> None:
    workspace = Workspace.open(tmp_path / "w")
    assert run_python(RUN, str(workspace.root), fault=f"{point}:{passing}:kill") == -9
    status = run_status(workspace, "r")
    assert status.state == "killed"
    before = set(Store(workspace).entries())
    summary = check_resumed(workspace, undisturbed)
    kept = [name.rsplit("-", 1)[0] for name in before]
    assert not {node.split("/")[1] for node in summary.executed} & set(kept), "a finished step was executed again"


def test_a_run_killed_at_every_step_of_the_way_still_arrives(
    tmp_path: Path, undisturbed: dict[str, dict[str, str]]
) -> None:
    workspace = Workspace.open(tmp_path / "w")
    killed = sum(run_python(RUN, str(workspace.root), fault=f"{point}:1:kill") == -9 for point in FAULT_POINTS)
    assert killed == len(FAULT_POINTS)
    check_resumed(workspace, undisturbed)


def test_a_checkpoint_taken_from_scratch_comes_back_after_a_kill(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w")
    # The second commit is that of `scale`, whose model directory is moved out of scratch.
    assert run_python(RUN, str(workspace.root), fault="store.before_rename:2:kill") == -9
    (scratch,) = workspace.scratch.glob("scale-*")
    assert not (scratch / "model").exists()
    Store(workspace).recover()
    assert len(list((scratch / "model").iterdir())) == 4
