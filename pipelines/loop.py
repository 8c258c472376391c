"""The loop as a graph of steps.

    0/collect --demos--> 0/pretrain --base--> 0/policy --candidates--> 0/select --policy--> 0/evaluate
    k/collect (by the champion) -> k/annotate -> k/value -> k/advantage -> k/policy (from base) -> k/select
      -> k/promote (against the champion) -> k/evaluate

With several tasks, those that act work on one each (k/TASK/collect, k/TASK/evaluate); one value model and one policy
learn all of them, candidates and gate are judged on all.

Composition only: what a step does stands in `pipelines/steps/<step>.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from data.task_list import task_ids
from pipelines.config import LoopConfig
from pipelines.preflight import check_settings
from pipelines.wiring import add_imitation, add_training, join, node_name
from recap.errors import ConfigError
from recap.graph import Graph, OutputRef


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    """What one iteration hands to the next."""

    champion: OutputRef
    experience: OutputRef
    """All episodes so far."""
    base: OutputRef
    """Weights that every training starts from."""


def build_graph(config: LoopConfig) -> Graph:
    """The steps of a run, wired; settings that must agree between steps are set once. Offline: pipelines/offline.py.

    Raises:
        ConfigError: more rollouts in all than there are start seeds, or a setting of a step is impossible; the world
            of the task has no expert for it; recorded experience that is not there.
    """
    if config.offline:
        from pipelines.offline import build_offline_graph

        graph = build_offline_graph(config)
    else:
        _check_world(config)
        graph = Graph()
        state = _imitation(graph, config)
        for iteration in range(1, config.iterations + 1):
            state = _improvement(graph, config, state, iteration)
    check_settings(config, graph)
    return graph


def _check_world(config: LoopConfig) -> None:
    """Refuses now what the world of the task could not do hours later."""
    from data.task_list import tasks_of
    from data.tasks import capabilities_of

    for task in tasks_of(config.task):
        name, can = task.spec.id, capabilities_of(task)
        if not can.expert:
            raise ConfigError(
                f"task '{name}': nobody demonstrates it in a simulated world, so there is nothing to imitate",
                hint=f"recap run --task {name} --collect none --demos DIR --rollouts DIR   (recorded episodes)",
            )
        if config.iterations and config.rollout.corrections and not can.takeover:
            raise ConfigError(
                f"task '{name}': no expert takes over in its world, and {config.rollout.corrections} attempts with "
                "corrections are asked for",
                hint="--set rollout.corrections=0",
            )


def _imitation(graph: Graph, config: LoopConfig) -> _State:
    """Iteration 0: demonstrations, weights to start from, imitation with every frame positive."""
    recorded = [
        graph.add(node_name(config, 0, "collect", task), "collect", replace(config.collect, task=task))["demos"]
        for task in task_ids(config.task)
    ]
    demos = join(graph, 0, "demos", recorded)
    base, policy = add_imitation(graph, config, demos)
    # All positive: there is no other condition for a guidance to push away from.
    select = graph.add(
        "0/select",
        "select",
        replace(config.select, task=config.task, guidance=(1.0,)),
        candidates=policy["candidates"],
    )
    _evaluate(graph, config, 0, select["policy"])
    return _State(champion=select["policy"], experience=demos, base=base)


def _improvement(graph: Graph, config: LoopConfig, state: _State, k: int) -> _State:
    """Iteration k >= 1: experience of the champion, values, labels, a challenger, the gate."""
    rollout = config.rollout
    attempts = rollout.attempts + rollout.corrections
    if config.collect.first_seed + config.collect.episodes > rollout.first_seed:
        raise ConfigError(
            f"rollouts begin at TRAIN start {rollout.first_seed}, which demonstrations use as well",
            hint=f"--set rollout.first_seed={config.collect.first_seed + config.collect.episodes}",
        )
    experience, recorded = state.experience, []
    for task in task_ids(config.task):
        collect = graph.add(
            node_name(config, k, "collect", task),
            "rollout",
            replace(rollout, task=task, first_seed=rollout.first_seed + (k - 1) * attempts),
            policy=state.champion,
            previous=experience,
        )
        experience = collect["experience"]
        recorded.append(collect["episodes"])
    annotate = graph.add(f"{k}/annotate", "annotate", config.annotate, experience=experience)
    policy, _ = add_training(
        graph,
        config,
        k,
        episodes=join(graph, k, "episodes", recorded),
        experience=experience,
        annotations=annotate["annotations"],
        base=state.base,
    )
    select = graph.add(
        f"{k}/select", "select", replace(config.select, task=config.task), candidates=policy["candidates"]
    )
    champion = state.champion
    if config.gate:
        # Other starts in every iteration: what one promotion was decided on must not decide the next.
        promote = graph.add(
            f"{k}/promote",
            "promote",
            replace(
                config.promote,
                task=config.task,
                first_seed=config.promote.first_seed + (k - 1) * config.promote.gate.cap,
            ),
            champion=state.champion,
            challenger=select["policy"],
        )
        champion = promote["champion"]
    _evaluate(graph, config, k, select["policy"])
    return replace(state, champion=champion, experience=experience)


def _evaluate(graph: Graph, config: LoopConfig, k: int, policy: OutputRef) -> None:
    for task in task_ids(config.task):
        graph.add(
            node_name(config, k, "evaluate", task), "evaluate", replace(config.evaluate, task=task), policy=policy
        )
