"""What a run with an environment and an offline run have in common: values, labels and trainings. Composition only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.config import RunConfig
from pipelines.facts import ComputeFacts
from pipelines.steps.advantage.step import AdvantageConfig, ArmFacts
from pipelines.steps.judge.step import JudgeFacts
from pipelines.steps.policy.step import PolicyConfig, PolicyFacts
from pipelines.steps.value_label.step import ValueLabelFacts
from pipelines.steps.value_train.step import ValueTrainConfig, ValueTrainFacts
from recap.code import ROOTS, code_fingerprint, is_plugin
from recap.errors import ConfigError
from recap.graph import Graph, NodeHandle, NodeName, OutputRef
from value_model.advantage import LabelConfig
from value_model.arms import ARMS, BY_ADVANTAGE, Labeller
from value_model.gae import N_STEP
from value_model.health import LabelHealthConfig

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


def label_lookaheads(config: RunConfig) -> dict[str, int]:
    """{task: N of the advantages}, control steps: the value model's K, or what `advantage.label.lookahead_s` says.

    Raises:
        ConfigError: it is shorter than the executed part of an action chunk, or as long as an attempt.
    """
    from data.task_list import tasks_of

    given = config.advantage.label.lookahead_s
    if given is None:
        return lookaheads(config)
    found = {}
    for task in tasks_of(config.tasks):
        spec, least = task.spec, config.policy.model.execute
        steps = round(given * spec.rate_hz)
        if not least <= steps < spec.max_steps:
            raise ConfigError(
                f"advantage.label.lookahead_s = {given:g}: {steps} control steps of {spec.id}, expected at least the "
                f"{least} of a chunk that are executed and fewer than its limit of {spec.max_steps}",
                hint="recap run --set advantage.label.horizon=episode",
            )
        found[spec.id] = steps
    return found


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """What an arm of labels made in one iteration."""

    name: str
    """Subject of its nodes; "" of the main one."""
    policy: NodeHandle
    labels: OutputRef

    def of_task(self, task: str) -> str:
        """Subject of a node that works on one task."""
        return f"{self.name}/{task}" if self.name else task


def add_training(
    graph: Graph,
    config: RunConfig,
    k: int,
    *,
    episodes: OutputRef,
    experience: OutputRef,
    annotations: OutputRef,
    base: OutputRef,
) -> Iterator[Arm]:
    """Values, then labels and a policy on all experience of iteration k for every arm, the main one first.

    An arm's nodes are added when it is asked for: what is made of the main one comes before those beside it.

    Args:
        graph: to add to.
        config: of the run.
        k: iteration, >= 1.
        episodes: those that are new in this iteration.
        experience: all.
        annotations: of all experience.
        base: weights that the policies start from.
    """
    values = add_values(graph, config, k, experience=experience, annotations=annotations)
    judged = {config.judged: _judge(graph, config, k, config.judged, values, annotations)} if values else {}
    main: dict[str, OutputRef] = {}
    for arm in (config.labels, *config.arms):
        subject = "" if arm == config.labels else arm
        rule = config.rule(arm)
        labeller = ARMS.get(rule) if rule else BY_ADVANTAGE
        given = dict(main) if labeller.permutes else {}
        if labeller.values:
            model = config.judged if rule else arm
            if model not in judged:
                judged[model] = _judge(graph, config, k, model, {model: values[model]}, annotations)
            given |= {"values": values[model], "value_health": judged[model]}
        labels = graph.add(
            NodeName(k, "advantage", subject),
            "advantage",
            _read_by(labeller, config.advantage),
            ArmFacts(
                tasks=config.tasks,
                name=arm,
                rule=rule,
                lookahead=label_lookaheads(config) if labeller.values or labeller.shares else lookaheads(config),
                returns=config.returns,
                seed=config.seed if labeller.permutes else 0,
                plugin=_plugin_code(labeller),
            ),
            annotations=annotations,
            episodes=episodes,
            **given,
        )["labels"]
        main = main or {"main": labels}
        policy = graph.add(
            NodeName(k, "policy", subject),
            "policy",
            config.policy,
            PolicyFacts(tasks=config.tasks, condition="labels", seed=config.seed, runtime=config.runtime),
            experience=experience,
            labels=labels,
            base=base,
        )
        yield Arm(name=subject, policy=policy, labels=labels)


def _judge(
    graph: Graph, config: RunConfig, k: int, name: str, values: Mapping[str, OutputRef], annotations: OutputRef
) -> OutputRef:
    """Whether the values of a model are fit to label with, beside those of the others given."""
    horizon = config.advantage.label.horizon
    if horizon != N_STEP and _gives_advantages(config.values[name]):
        raise ConfigError(
            f"advantage.label.horizon = {horizon}: '{name}' gives its advantages itself, a look-ahead apart",
            hint="recap run --set advantage.label.horizon=n_step",
        )
    facts = JudgeFacts(
        tasks=config.tasks,
        name=name,
        lookahead=label_lookaheads(config),
        returns=config.returns,
        horizon=config.advantage.label.looks,
        positive_fraction=config.advantage.label.positive_fraction,
    )
    subject = "" if name == config.judged else name
    node = graph.add(
        NodeName(k, "judge", subject), "judge", config.judge, facts, values=values, annotations=annotations
    )
    return node["value_health"]


def _gives_advantages(model: Any) -> bool:
    from value_model.models import family_of

    return family_of(model).gives_advantages


def _read_by(labeller: Labeller, config: AdvantageConfig) -> AdvantageConfig:
    """The settings that an arm reads; of the others the defaults, so that setting one which none reads is refused."""
    if labeller.values:
        return config
    share = config.label.positive_fraction if labeller.shares else None
    return AdvantageConfig(
        label=LabelConfig(positive_fraction=share, human_positive=config.label.human_positive),
        health=LabelHealthConfig(enforce=config.health.enforce),
    )


def _plugin_code(labeller: Labeller) -> str:
    module = labeller.positive.__module__
    return "" if module.partition(".")[0] in ROOTS else code_fingerprint(module)


def add_values(
    graph: Graph, config: RunConfig, k: int, *, experience: OutputRef, annotations: OutputRef
) -> dict[str, OutputRef]:
    """{name: values of every frame} of every value model of the run, each trained and labelling on its own."""
    values = {}
    # That which labels comes first, whatever stands beside it.
    for name, model in sorted(config.values.items(), key=lambda item: item[0] != config.judged):
        values[name] = add_value(
            graph,
            config,
            (NodeName(k, "value_train", name), NodeName(k, "value_label", name)),
            model,
            again=name == config.judged,
            lookahead=lookaheads(config),
            experience=experience,
            annotations=annotations,
        )["values"]
    return values


def add_value(
    graph: Graph,
    config: RunConfig,
    names: tuple[NodeName, NodeName],
    model: Any,
    *,
    again: bool,
    lookahead: Mapping[str, int],
    experience: OutputRef,
    annotations: OutputRef,
) -> dict[str, OutputRef]:
    """One value model, trained and labelling: {"models", "training", "values"}.

    Args:
        graph: to add to.
        config: of the run.
        names: of the training and of the labelling.
        model: its settings.
        again: label the sample again.
        lookahead: {task: K}, control steps.
        experience: all.
        annotations: of all experience.
    """
    trained = graph.add(
        names[0],
        "value_train",
        ValueTrainConfig(model=model, cross_fit=config.cross_fit, returns=config.returns),
        ValueTrainFacts(
            tasks=config.tasks,
            workers=config.workers,
            runtime=config.runtime,
            lookahead=lookahead,
            seed=config.seed,
        ),
        experience=experience,
        annotations=annotations,
    )
    labelled = graph.add(
        names[1],
        "value_label",
        # One fold has no other model that could label its sample again.
        config.value_label if config.cross_fit > 1 else replace(config.value_label, sample=0),
        ValueLabelFacts(
            tasks=config.tasks,
            workers=config.workers,
            runtime=config.runtime,
            model=model,
            lookahead=label_lookaheads(config) if _gives_advantages(model) else {},
            noise_seed=config.seed,
            again=again,
        ),
        models=trained["models"],
        training=trained["training"],
    )
    return {"models": trained["models"], "training": trained["training"], "values": labelled["values"]}


def foreign_policy(config: RunConfig) -> Any:
    """The policy's settings if its family is a plug-in, whose code then is of every step in which it acts."""
    model = config.policy.model
    return model if is_plugin(model) else None


def acting(config: RunConfig) -> dict[str, Any]:
    """Facts of every step in which a policy acts."""
    return {
        "env": config.env,
        "noise_seed": config.noise_seed,
        "workers": config.workers,
        "runtime": config.runtime,
        "policy": foreign_policy(config),
    }


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
