"""The loop as a graph of steps, for a run with an environment. Offline: offline.py; on a robot: on_robot.py.

    0/TASK/record --demos--> 0/pretrain --base--> 0/policy --candidates--> 0/checkpoint_selection --> 0/TASK/evaluate
    k/TASK/record (by the champion) -> k/annotate -> k/NAME/value_train -> k/NAME/value_label -> k/judge -> k/advantage
      -> k/policy (from base) -> k/checkpoint_selection -> k/gate (against the champion) -> k/TASK/evaluate
    for every arm beside: k/ARM/advantage -> k/ARM/policy -> k/ARM/checkpoint_selection -> k/ARM/TASK/evaluate
    if asked for: k/condition_probe, k/ARM/condition_probe (how far the condition moves the chosen policy)

Steps that act work on one task each; values and policy are learned on all, candidates and gate judged on all.

Composition only: what a step does stands in `pipelines/steps/<step>/step.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pipelines.config import RunConfig
from pipelines.facts import ActingFacts
from pipelines.offline import build_offline_graph
from pipelines.on_robot import build_robot_graph
from pipelines.preflight.ahead import check_settings, check_world
from pipelines.steps.checkpoint_selection.step import SelectionFacts
from pipelines.steps.condition_probe.step import ProbeFacts
from pipelines.steps.record.step import RecordFacts
from pipelines.wiring import Arm, acting, add_imitation, add_training, join
from recap.errors import ConfigError
from recap.graph import Graph, NodeHandle, NodeName, OutputRef
from recap.specs import Split, start_seeds
from value_model.arms import ARMS

ROLLOUTS_FROM = 1_000_000
"""Offset of the first rollout's start within the TRAIN seeds; demonstrations have those below it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _State:
    """What one iteration hands to the next."""

    champion: OutputRef
    recorded: Mapping[str, OutputRef]
    """{name: EpisodeSet} of all recordings so far."""
    base: OutputRef
    """Weights that every training starts from."""


def build_graph(config: RunConfig) -> Graph:
    """The steps of a run, wired.

    Raises:
        ConfigError: a setting of a step is impossible, or more starts than there are seeds; the world of a task has no
            expert for it; recorded experience that is not there.
    """
    if config.offline:
        graph = build_offline_graph(config)
    elif config.on_robot:
        graph = build_robot_graph(config)
    else:
        check_world(config)
        graph = Graph()
        state = _imitation(graph, config)
        for iteration in range(1, config.iterations + 1):
            state = _improvement(graph, config, state, iteration)
    check_settings(config)
    return graph


def _imitation(graph: Graph, config: RunConfig) -> _State:
    """Iteration 0: demonstrations, weights to start from, imitation with every frame positive."""
    check_starts(Split.TRAIN, config.demos.episodes, 0, "demos.episodes", limit=ROLLOUTS_FROM)
    recorded = {
        f"0-{task}": graph.add(
            NodeName(0, "record", task),
            "record",
            config.demos,
            RecordFacts(tasks=(task,), env=config.env, workers=config.workers),
        )["episodes"]
        for task in config.tasks
    }
    base, policy = add_imitation(graph, config, join(graph, 0, "demos", recorded))
    chosen = _select(graph, config, 0, policy)
    _evaluate(graph, config, 0, chosen)
    return _State(champion=chosen, recorded=recorded, base=base)


def _improvement(graph: Graph, config: RunConfig, state: _State, k: int) -> _State:
    """Iteration k >= 1: experience of the champion, values, labels, a challenger, the gate."""
    offset = ROLLOUTS_FROM + (k - 1) * config.rollouts.starts
    check_starts(Split.TRAIN, config.rollouts.starts, offset, "rollouts.attempts")
    new = {
        f"{k}-{task}": graph.add(
            NodeName(k, "record", task),
            "record",
            config.rollouts,
            RecordFacts(
                tasks=(task,), role="rollouts", first_seed=offset, **{**acting(config), "noise_seed": config.seed}
            ),
            policy=state.champion,
        )["episodes"]
        for task in config.tasks
    }
    recorded = {**state.recorded, **new}
    experience = join(graph, k, "experience", recorded)
    annotate = graph.add(NodeName(k, "annotate"), "annotate", config.annotate, experience=experience)
    arms = add_training(
        graph,
        config,
        k,
        episodes=join(graph, k, "episodes", new),
        experience=experience,
        annotations=annotate["annotations"],
        base=state.base,
    )
    main = next(arms)
    challenger = _select(graph, config, k, main.policy)
    champion = state.champion
    if config.gated:
        # Other starts in every iteration: what one promotion was decided on must not decide the next.
        offset = (k - 1) * config.gate.cap
        check_starts(Split.GATE, config.gate.cap, offset, "gate.cap")
        champion = graph.add(
            NodeName(k, "gate"),
            "gate",
            config.gate,
            ActingFacts(tasks=config.tasks, first_seed=offset, **acting(config)),
            champion=state.champion,
            challenger=challenger,
        )["champion"]
    _evaluate(graph, config, k, challenger)
    _probe(graph, config, k, challenger, experience)
    for arm in arms:
        chosen = _select(graph, config, k, arm.policy, arm)
        _evaluate(graph, config, k, chosen, arm)
        _probe(graph, config, k, chosen, experience, arm)
    return replace(state, champion=champion, recorded=recorded)


def _select(graph: Graph, config: RunConfig, k: int, policy: NodeHandle, arm: Arm | None = None) -> OutputRef:
    check_starts(Split.VALIDATION, config.checkpoint_selection.attempts, 0, "checkpoint_selection.attempts")
    # All positive in iteration 0, or never told anything: there is no other condition for a guidance to push away from.
    guide = k > 0 and config.policy.told
    facts = SelectionFacts(tasks=config.tasks, guide=guide, **acting(config))
    settings = config.checkpoint_selection
    return graph.add(
        NodeName(k, "checkpoint_selection", arm.name if arm else ""),
        "checkpoint_selection",
        settings if guide else replace(settings, guidance=(1.0,)),
        facts,
        candidates=policy["candidates"],
    )["policy"]


def _evaluate(graph: Graph, config: RunConfig, k: int, policy: OutputRef, arm: Arm | None = None) -> None:
    split = Split[config.evaluate.split.upper()]
    check_starts(split, config.evaluate.attempts, 0, "evaluate.attempts")
    for task in config.tasks:
        facts = ActingFacts(tasks=(task,), **acting(config))
        name = NodeName(k, "evaluate", arm.of_task(task) if arm else task)
        graph.add(name, "evaluate", config.evaluate, facts, policy=policy)


def _probe(
    graph: Graph, config: RunConfig, k: int, policy: OutputRef, experience: OutputRef, arm: Arm | None = None
) -> None:
    rule = config.rule(arm.name if arm else config.labels)
    # Who was never told "negative" has no condition to be asked about.
    if not config.condition_probe.attempts or (rule and ARMS.get(rule).constant):
        return
    check_starts(Split.VALIDATION, config.condition_probe.attempts, 0, "condition_probe.attempts")
    facts = ProbeFacts(tasks=config.tasks, arm=arm.name if arm else config.labels, **acting(config))
    name = NodeName(k, "condition_probe", arm.name if arm else "")
    graph.add(name, "condition_probe", config.condition_probe, facts, policy=policy, experience=experience)


def check_starts(split: Split, count: int, offset: int, setting: str, *, limit: int | None = None) -> None:
    """Raises ConfigError, naming the setting, if a split has not so many starts from `offset` on."""
    try:
        start_seeds(split, count, offset=offset)
        problem = f"{count} demonstrations, and rollouts begin at {limit}" if limit and count > limit else ""
    except ConfigError as error:
        problem = error.message
    if problem:
        raise ConfigError(f"{setting}: {problem}", hint=f"a lower {setting}, or fewer iterations")
