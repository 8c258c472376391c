"""The parts of the graph that a run with a robot and an offline run have in common. Composition only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipelines.config import LoopConfig
from pipelines.node_names import NodeName
from recap.errors import ConfigError
from recap.graph import Graph, NodeHandle, OutputRef


def lookahead_steps(config: LoopConfig) -> int:
    """N = K = round(lookahead_s * rate_hz), at least the executed part of an action chunk.

    Raises:
        ConfigError: several tasks that do not agree on it; one value model has one look-ahead.
    """
    from data.task_list import tasks_of

    steps = {task.spec.id: round(task.spec.lookahead_s * task.spec.rate_hz) for task in tasks_of(config.task)}
    if len(set(steps.values())) > 1:
        raise ConfigError(
            f"tasks {config.task} look ahead by different numbers of steps: {steps}",
            hint=f"recap run --task {next(iter(steps))}   (one after the other)",
        )
    return max(*steps.values(), config.policy.model.execute)


def node_name(config: LoopConfig, k: int, stage: str, task: str) -> str:
    """Name of a node of iteration `k` that works on one task: "1/collect", or "1/TASK/collect" among several tasks."""
    return str(NodeName(k, stage, "" if task == config.task else task))


def join(graph: Graph, k: int, stage: str, sets: Sequence[OutputRef]) -> OutputRef:
    """The union of sets of episodes; one set is itself.

    Args:
        graph: to add to.
        k: iteration.
        stage: name of the last node; those before it carry a number.
        sets: at least one.
    """
    joined = sets[0]
    for place, other in enumerate(sets[1:], start=2):
        name = f"{k}/{stage}" if place == len(sets) else f"{k}/{stage}-{place}"
        joined = graph.add(name, "join", None, first=joined, second=other)["episodes"]
    return joined


def add_imitation(graph: Graph, config: LoopConfig, demos: OutputRef) -> tuple[OutputRef, NodeHandle]:
    """Weights to start from, and imitation with every frame positive; (base, policy node)."""
    task = config.task
    pretrain = graph.add("0/pretrain", "policy", replace(config.pretrain, task=task, tags="none"), experience=demos)
    base = pretrain["candidates"]
    policy = graph.add(
        "0/policy", "policy", replace(config.policy, task=task, tags="positive"), experience=demos, base=base
    )
    return base, policy


def add_training(
    graph: Graph,
    config: LoopConfig,
    k: int,
    *,
    episodes: OutputRef,
    experience: OutputRef,
    annotations: OutputRef,
    base: OutputRef,
) -> tuple[NodeHandle, OutputRef]:
    """Values, labels and a policy on all experience of iteration k; (policy node, labels).

    Args:
        graph: to add to.
        config: of the run.
        k: iteration, >= 1.
        episodes: those that are new in this iteration.
        experience: all.
        annotations: of all experience.
        base: weights that the policy starts from.
    """
    task = config.task
    values = graph.add(
        f"{k}/value",
        "value",
        replace(config.value, task=task, lookahead=lookahead_steps(config)),
        experience=experience,
        annotations=annotations,
    )
    judged = graph.add(
        f"{k}/health",
        "health",
        replace(config.health, task=task, returns=config.value.returns),
        values=values["values"],
        annotations=annotations,
    )
    labels = graph.add(
        f"{k}/advantage",
        "advantage",
        replace(config.advantage, task=task, returns=config.value.returns),
        values=values["values"],
        value_health=judged["value_health"],
        annotations=annotations,
        episodes=episodes,
    )["labels"]
    policy = graph.add(
        f"{k}/policy",
        "policy",
        replace(config.policy, task=task, tags="labels"),
        experience=experience,
        labels=labels,
        base=base,
    )
    return policy, labels
