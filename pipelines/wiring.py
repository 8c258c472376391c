"""What a run with an environment and an offline run have in common: values, labels and trainings. Composition only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.config import RunConfig
from pipelines.facts import ComputeFacts
from pipelines.steps.judge.step import ValuesFacts
from pipelines.steps.policy.step import PolicyConfig, PolicyFacts
from pipelines.steps.value_label.step import ValueLabelFacts
from pipelines.steps.value_train.step import ValueTrainConfig, ValueTrainFacts
from recap.code import is_plugin
from recap.graph import Graph, NodeHandle, NodeName, OutputRef

BASE_SEED = 1_000_003
"""Of the starting weights' training. No `--seed` that anybody would type: with an equal one, imitation would meet the
very batches and noise again that its base was trained on."""


def lookaheads(config: RunConfig) -> dict[str, int]:
    """{task: N = K = round(lookahead_s * rate_hz)}, control steps, at least the executed part of an action chunk."""
    from data.task_list import tasks_of

    return {
        task.spec.id: max(round(task.spec.lookahead_s * task.spec.rate_hz), config.policy.model.execute)
        for task in tasks_of(config.tasks)
    }


def add_imitation(graph: Graph, config: RunConfig, demos: OutputRef) -> tuple[OutputRef, NodeHandle]:
    """Weights to start from, and imitation with every frame positive; (base, policy node)."""
    from policy.models import family_of

    base_model = family_of(config.policy.model).base(config.policy.model, config.pretrain.steps)
    pretrain = graph.add(
        NodeName(0, "pretrain"),
        "policy",
        PolicyConfig(model=base_model, dropout=0.0),
        PolicyFacts(tasks=config.tasks, condition="none", seed=BASE_SEED, runtime=config.runtime),
        experience=demos,
    )
    base = pretrain["candidates"]
    policy = graph.add(
        NodeName(0, "policy"),
        "policy",
        config.policy.before_labels(),
        PolicyFacts(tasks=config.tasks, condition="positive", seed=config.seed, runtime=config.runtime),
        experience=demos,
        base=base,
    )
    return base, policy


def add_training(
    graph: Graph,
    config: RunConfig,
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
    values = add_values(graph, config, k, experience=experience, annotations=annotations)
    facts = ValuesFacts(tasks=config.tasks, name=config.value, lookahead=lookaheads(config), returns=config.returns)
    judged = graph.add(NodeName(k, "judge"), "judge", config.judge, facts, values=values, annotations=annotations)
    labels = graph.add(
        NodeName(k, "advantage"),
        "advantage",
        config.advantage,
        facts,
        values=values[config.value],
        value_health=judged["value_health"],
        annotations=annotations,
        episodes=episodes,
    )["labels"]
    policy = graph.add(
        NodeName(k, "policy"),
        "policy",
        config.policy,
        PolicyFacts(tasks=config.tasks, condition="labels", seed=config.seed, runtime=config.runtime),
        experience=experience,
        labels=labels,
        base=base,
    )
    return policy, labels


def add_values(
    graph: Graph, config: RunConfig, k: int, *, experience: OutputRef, annotations: OutputRef
) -> dict[str, OutputRef]:
    """{name: values of every frame} of every value model of the run, each trained and labelling on its own."""
    values = {}
    # That which labels comes first, whatever stands beside it.
    for name, model in sorted(config.values.items(), key=lambda item: item[0] != config.value):
        trained = graph.add(
            NodeName(k, "value_train", name),
            "value_train",
            ValueTrainConfig(model=model, cross_fit=config.cross_fit, returns=config.returns),
            ValueTrainFacts(
                tasks=config.tasks,
                workers=config.workers,
                runtime=config.runtime,
                lookahead=lookaheads(config),
                seed=config.seed,
            ),
            experience=experience,
            annotations=annotations,
        )
        values[name] = graph.add(
            NodeName(k, "value_label", name),
            "value_label",
            config.value_label,
            ValueLabelFacts(
                tasks=config.tasks,
                workers=config.workers,
                runtime=config.runtime,
                model=model,
                noise_seed=config.seed,
                again=name == config.value,
            ),
            models=trained["models"],
            training=trained["training"],
        )["values"]
    return values


def foreign_policy(config: RunConfig) -> Any:
    """The policy's settings if its family is a plug-in, whose code then is of every step in which it acts."""
    model = config.policy.model
    return model if is_plugin(model) else None


def join(graph: Graph, k: int, stage: str, sets: Mapping[str, OutputRef]) -> OutputRef:
    """The union of sets of episodes; one set is itself."""
    if len(sets) == 1:
        return next(iter(sets.values()))
    return graph.add(NodeName(k, stage), "join", None, sets=sets)["episodes"]


def compute_facts(config: RunConfig) -> ComputeFacts:
    """Of a step in which a model works on what was recorded of all tasks."""
    return ComputeFacts(
        tasks=config.tasks, workers=config.workers, runtime=config.runtime, policy=foreign_policy(config)
    )
