"""The offline start as a graph of steps: recorded experience in, a policy out. No robot, no simulator, no gate.

    0/collect (ingest demos) -> 0/pretrain -> 0/policy -> 0/select (the last candidate) -> 0/replay
    1/collect (ingest rollouts) -> 1/annotate -> 1/value -> 1/advantage -> 1/policy (from base) -> 1/select -> 1/replay

Composition only. Nothing in it measures success: that takes attempts.
"""

from __future__ import annotations

from dataclasses import replace

from data.task_list import task_ids
from pipelines.config import LoopConfig
from pipelines.recorded import contents, open_recorded
from pipelines.wiring import add_imitation, add_training
from recap.errors import ConfigError
from recap.graph import Graph, NodeHandle, OutputRef


def build_offline_graph(config: LoopConfig) -> Graph:
    """The steps of an offline run, wired; looks at the names of the recorded episodes.

    Raises:
        ConfigError: a folder is not there or holds no episode, or several tasks.
    """
    if len(task_ids(config.task)) > 1:
        raise ConfigError(
            f"--task {config.task} with --collect none: an offline run learns one task",
            hint="recap run --task NAME --collect none --demos DIR --rollouts DIR",
        )
    graph = Graph()
    demos = _ingest(graph, config, 0)
    # Added before the training of iteration 0: a swapped folder or missing labels should not come after hours.
    rollouts = _rollouts(graph, config, demos) if config.iterations else None
    base, policy = add_imitation(graph, config, demos["episodes"])
    chosen = _select(graph, config, 0, policy)
    _replay(graph, config, 0, policy=chosen, experience=demos["episodes"])
    if rollouts is not None:
        _improvement(graph, config, *rollouts, base)
    return graph


def _rollouts(graph: Graph, config: LoopConfig, demos: NodeHandle) -> tuple[NodeHandle, OutputRef]:
    """The rollouts taken over, and what is said of all episodes."""
    collect = _ingest(graph, config, 1, previous=demos["experience"])
    annotate = graph.add("1/annotate", "annotate", config.annotate, experience=collect["experience"])
    return collect, annotate["annotations"]


def _improvement(
    graph: Graph, config: LoopConfig, collect: NodeHandle, annotations: OutputRef, base: OutputRef
) -> None:
    policy, labels = add_training(
        graph,
        config,
        1,
        episodes=collect["episodes"],
        experience=collect["experience"],
        annotations=annotations,
        base=base,
    )
    chosen = _select(graph, config, 1, policy)
    _replay(graph, config, 1, policy=chosen, experience=collect["experience"], labels=labels)


def _ingest(graph: Graph, config: LoopConfig, k: int, **previous: OutputRef) -> NodeHandle:
    role, folder = ("demos", config.demos) if k == 0 else ("rollouts", config.rollouts)
    settings = replace(config.ingest, task=config.task, role=role, folder=folder)
    found = contents(open_recorded(folder, option=settings.option), option=settings.option)
    source = graph.constant(f"{k}/source", found)
    return graph.add(f"{k}/collect", "ingest", settings, source=source, **previous)


def _select(graph: Graph, config: LoopConfig, k: int, policy: NodeHandle) -> OutputRef:
    # Nothing to compare candidates by without attempts: the one trained longest, acting by its tag alone.
    settings = replace(config.select, task=config.task, attempts=0, guidance=(1.0,))
    return graph.add(f"{k}/select", "select", settings, candidates=policy["candidates"])["policy"]


def _replay(graph: Graph, config: LoopConfig, k: int, **inputs: OutputRef) -> None:
    graph.add(f"{k}/replay", "replay", replace(config.replay, task=config.task), **inputs)
