"""The parts of the graph that a run with a robot and an offline run have in common. Composition only."""

from __future__ import annotations

from dataclasses import replace

from pipelines.config import LoopConfig
from recap.graph import Graph, NodeHandle, OutputRef


def lookahead_steps(config: LoopConfig) -> int:
    """N = K = round(lookahead_s * rate_hz), at least the executed part of an action chunk."""
    from data.tasks import TASKS

    spec = TASKS.get(config.task).spec
    return max(round(spec.lookahead_s * spec.rate_hz), config.policy.model.execute)


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
    graph: Graph, config: LoopConfig, k: int, *, collect: NodeHandle, annotations: OutputRef, base: OutputRef
) -> tuple[NodeHandle, OutputRef]:
    """Values, labels and a policy on all experience of iteration k; (policy node, labels).

    Args:
        graph: to add to.
        config: of the run.
        k: iteration, >= 1.
        collect: node whose `episodes` are new and whose `experience` is all.
        annotations: of all experience.
        base: weights that the policy starts from.
    """
    task, experience = config.task, collect["experience"]
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
        episodes=collect["episodes"],
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
