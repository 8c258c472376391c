"""Two Ray collectors and the local executor record the same demonstrations, episode by episode."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.episodes import EpisodeStore
from pipelines.executors import EXECUTORS, ExecutorSettings
from pipelines.facts import EnvConfig
from pipelines.steps.record.step import DemosConfig, RecordFacts
from recap.graph import Graph, NodeName
from recap.runner import Runner
from recap.workspace import Workspace

pytestmark = pytest.mark.xdist_group("ray")


def _collect(root: Path, executor: str) -> tuple[dict[str, str], list[str]]:
    """({output: identity}, file bytes' owners) of 4 demonstrations recorded by `executor`."""
    workspace = Workspace.open(root)
    graph = Graph()
    node = NodeName(0, "record", "shirt_folding")
    facts = RecordFacts(tasks=("shirt_folding",), env=EnvConfig(), workers=2)
    graph.add(node, "record", DemosConfig(episodes=4), facts)
    make = EXECUTORS.get(executor)
    outputs = Runner(workspace, lambda: make(ExecutorSettings(namespace="agree"))).run(graph, "agree").outputs
    store = EpisodeStore(workspace.episodes)
    return {name: artifact.identity for name, artifact in outputs[str(node)].items()}, store.ids()


@pytest.mark.slow
def test_ray_and_local_record_equal_episodes(tmp_path: Path) -> None:
    local, local_ids = _collect(tmp_path / "local", "local")
    ray, ray_ids = _collect(tmp_path / "ray", "ray")
    assert len(set(local_ids)) == 4
    assert ray_ids == local_ids
    assert ray == local
    there = EpisodeStore(tmp_path / "ray" / "episodes")
    here = EpisodeStore(tmp_path / "local" / "episodes")
    for episode_id in local_ids:
        assert there.path(episode_id).read_bytes() == here.path(episode_id).read_bytes()
