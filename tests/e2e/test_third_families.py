"""A policy, a value model and a task of somebody else go through a run by name and touch no line of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from data.frame_table import FrameTable
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from recap.store import Store
from recap.workspace import Workspace

FAMILIES = Path(__file__).parents[1] / "families"
RUN = "third"
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("e2e-third")]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run of two tasks with different look-aheads; the policy reads 48 pixels, ViVa 64."""
    folder = tmp_path_factory.mktemp("third")
    sys.path.insert(0, str(FAMILIES))
    from installed import install

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(install(folder / "site"))}
    command = (
        f"run --preset micro --task shirt_folding,quick_pants --policy ridge --value neighbours --values viva "
        # Neighbours of so few frames tie, how many of them differs from one processor to another.
        f"--set advantage.health.tolerance=0.2 --name {RUN} --workspace {folder / 'w'}"
    )
    done = subprocess.run(
        [sys.executable, "-m", "cli", *command.split()],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "w"


def _nodes(workspace: Path) -> dict[str, dict[str, str]]:
    record = json.loads((workspace / "runs" / RUN / "run.json").read_bytes())
    return {name: {"step": entry["step"], "key": entry["key"]} for name, entry in record["nodes"].items()}


def _output(workspace: Path, node: str, output: str) -> Path:
    entry = _nodes(workspace)[node]
    stored = Store(Workspace.open(workspace)).load(entry["step"], entry["key"])
    assert stored is not None
    return stored[output].path


def test_each_value_model_trains_and_labels_in_nodes_of_its_own(workspace: Path) -> None:
    nodes = _nodes(workspace)
    assert {name for name, node in nodes.items() if node["step"] in ("value_train", "value_label")} == {
        f"1/{model}/{stage}" for model in ("neighbours", "viva") for stage in ("value_train", "value_label")
    }
    bundle = json.loads(next(_output(workspace, "0/policy", "candidates").glob("*/recap.json")).read_bytes())
    assert bundle["family"] == "ridge"


def test_each_task_is_labelled_with_its_own_look_ahead(workspace: Path) -> None:
    table = FrameTable.read(_output(workspace, "1/advantage", "labels"))
    assert table.facts["lookahead"] == {"shirt_folding": 18, "quick_pants": 8}
    assert set(table.facts["thresholds"]) == {"shirt_folding", "quick_pants"}
    assert table.facts["family"] == "neighbours"


def test_no_recording_waits_for_that_of_another_task() -> None:
    graph = build_graph(Invocation.of(task="shirt_folding,pants_folding", preset="micro").config())
    inputs = {node.name: {ref.node for ref in node.inputs.values()} for node in graph.order()}
    recordings = {name for name in inputs if name.endswith("/record")}
    assert len(recordings) == 4
    for name in recordings:
        waiting, seen = set(inputs[name]), set()
        while waiting:
            seen.add(one := waiting.pop())
            waiting |= inputs[one] - seen
        assert not {other for other in seen & recordings if other[0] == name[0]}, name
