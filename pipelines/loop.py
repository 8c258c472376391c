"""The loop as a graph of steps.

    0/collect --demos--> 0/pretrain --base--> 0/policy --candidates--> 0/select --policy--> 0/evaluate
    k/collect (by the champion) -> k/annotate -> k/value -> k/advantage -> k/policy (from base) -> k/select
      -> k/promote (against the champion) -> k/evaluate

Composition only: what a step does stands in `pipelines/steps/<step>.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipelines.config import LoopConfig
from pipelines.wiring import add_imitation, add_training
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

        return build_offline_graph(config)
    _check_world(config)
    graph = Graph()
    state = _imitation(graph, config)
    for iteration in range(1, config.iterations + 1):
        state = _improvement(graph, config, state, iteration)
    return graph


def _check_world(config: LoopConfig) -> None:
    """Refuses now what the world of the task could not do hours later."""
    from data.tasks import TASKS, ForeignTask

    task = TASKS.get(config.task)
    if not isinstance(task, ForeignTask):
        return
    if not task.demonstrates:
        raise ConfigError(
            f"task '{config.task}': nobody demonstrates it in a simulated world, so there is nothing to imitate",
            hint=f"recap run --task {config.task} --collect none --demos DIR --rollouts DIR   (recorded episodes)",
        )
    if config.iterations and config.rollout.corrections and not task.takes_over:
        raise ConfigError(
            f"task '{config.task}': no expert takes over in its world, and {config.rollout.corrections} attempts with "
            "corrections are asked for",
            hint="--set rollout.corrections=0",
        )


def _imitation(graph: Graph, config: LoopConfig) -> _State:
    """Iteration 0: demonstrations, weights to start from, imitation with every frame positive."""
    task = config.task
    collect = graph.add("0/collect", "collect", replace(config.collect, task=task))
    base, policy = add_imitation(graph, config, collect["demos"])
    # All positive: there is no other condition for a guidance to push away from.
    select = graph.add(
        "0/select",
        "select",
        replace(config.select, task=task, guidance=(1.0,)),
        candidates=policy["candidates"],
    )
    graph.add("0/evaluate", "evaluate", replace(config.evaluate, task=task), policy=select["policy"])
    return _State(champion=select["policy"], experience=collect["demos"], base=base)


def _improvement(graph: Graph, config: LoopConfig, state: _State, k: int) -> _State:
    """Iteration k >= 1: experience of the champion, values, labels, a challenger, the gate."""
    task = config.task
    rollout = config.rollout
    attempts = rollout.attempts + rollout.corrections
    if config.collect.first_seed + config.collect.episodes > rollout.first_seed:
        raise ConfigError(
            f"rollouts begin at TRAIN start {rollout.first_seed}, which demonstrations use as well",
            hint=f"--set rollout.first_seed={config.collect.first_seed + config.collect.episodes}",
        )
    collect = graph.add(
        f"{k}/collect",
        "rollout",
        replace(rollout, task=task, first_seed=rollout.first_seed + (k - 1) * attempts),
        policy=state.champion,
        previous=state.experience,
    )
    annotate = graph.add(f"{k}/annotate", "annotate", config.annotate, experience=collect["experience"])
    policy, _ = add_training(graph, config, k, collect=collect, annotations=annotate["annotations"], base=state.base)
    select = graph.add(f"{k}/select", "select", replace(config.select, task=task), candidates=policy["candidates"])
    champion = state.champion
    if config.gate:
        # Other starts in every iteration: what one promotion was decided on must not decide the next.
        promote = graph.add(
            f"{k}/promote",
            "promote",
            replace(
                config.promote, task=task, first_seed=config.promote.first_seed + (k - 1) * config.promote.gate.cap
            ),
            champion=state.champion,
            challenger=select["policy"],
        )
        champion = promote["champion"]
    graph.add(f"{k}/evaluate", "evaluate", replace(config.evaluate, task=task), policy=select["policy"])
    return replace(state, champion=champion, experience=collect["experience"])
