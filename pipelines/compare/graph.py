"""A comparison as a graph of steps.

    k/NAME/value_train -> k/NAME/value_label      per model; of a later seed s: k/NAME-seedS/...
    k/seedS/judge                                 all models of a seed, on the look-ahead of the labels
    k/seedS-aheadN/judge                          the same values on another look-ahead: nothing is trained
    0/TASK/record -> 0/TASK/annotate, k/NAME/label_unseen -> k/seedS-unseen/judge     a task that no model has seen

Composition only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.compare.entries import Entry, entries
from pipelines.compare.source import Episodes
from pipelines.config import RunConfig
from pipelines.steps.judge.step import JudgeConfig, JudgeFacts
from pipelines.steps.label_unseen.step import LabelUnseenFacts
from pipelines.steps.record.step import RecordFacts
from pipelines.wiring import add_value, label_lookaheads, lookaheads
from recap.errors import ConfigError
from recap.graph import Graph, NodeName, OutputRef
from value_model.gae import N_STEP, Horizon

HORIZONS = (10, 18, 25, 50, 75)
"""N of the horizon figure, control steps."""
UNSEEN = "pants_folding"
"""The garment that the models of a simulated run are tried on, unless it is one that they learned."""
MOST_UNSEEN = 12
"""Demonstrations of it."""
_HORIZON_RESAMPLES = 100
"""The horizon figure draws values and no intervals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Where the figures of a comparison come from."""

    graph: Graph
    entries: Mapping[str, Entry]
    seeds: tuple[int, ...]
    judges: tuple[str, ...]
    """[S] a node per seed."""
    horizons: Mapping[int, tuple[str, ...]]
    """{N: [S] nodes}; none where every model gives its advantages itself."""
    gives_advantages: tuple[str, ...]
    """Models that give their advantages themselves, at the look-ahead of the labels alone."""
    values: Mapping[str, tuple[str, ...]]
    """{model: [S] the node that labelled}"""
    unseen: str | None
    """The task that no model has seen."""
    unseen_judges: tuple[str, ...]
    unseen_values: Mapping[str, tuple[str, ...]]


def build_comparison(
    config: RunConfig, episodes: Episodes, *, ablate: Sequence[str], seeds: int, unseen: str | None
) -> Judged:
    """The steps of a comparison, wired.

    Args:
        config: `episodes.config`, with settings changed.
        episodes: to compare on.
        ablate: what is varied of ViVa.
        seeds: how many, from that of `config` on.
        unseen: a simulated task with the same robot; None: none.

    Raises:
        ConfigError: nothing to ablate, a model cannot take the task's prompt or robot, or one gives its advantages
            itself and labels look otherwise than N steps ahead.
    """
    from data.task_list import robot_of, tasks_of
    from value_model.models import family_of

    robot = robot_of(config.tasks)
    prompts = tuple(task.spec.prompt for task in tasks_of(config.tasks))
    models = entries(config.values, ablate, robot.camera_names)
    for entry in models.values():
        family_of(entry.model).check(entry.model, prompts=prompts, robot=robot)
    given = tuple(name for name, entry in models.items() if family_of(entry.model).gives_advantages)
    _check_horizon(config, given)
    graph, k = Graph(), episodes.iteration
    experience, annotations = episodes.attach(graph, config)
    shown = None if unseen is None else _record_unseen(graph, config, unseen)
    usual = lookaheads(config)
    labelled: dict[str, list[str]] = {name: [] for name in models}
    elsewhere: dict[str, list[str]] = {name: [] for name in models}
    judges, unseen_judges = [], []
    ahead: dict[int, list[str]] = {steps: [] for steps in HORIZONS}
    numbers = tuple(range(config.seed, config.seed + seeds))
    for seed in numbers:
        own = replace(config, seed=seed)
        values: dict[str, OutputRef] = {}
        foreign: dict[str, OutputRef] = {}
        for name, entry in models.items():
            # Of the first seed as a run names them: the same step, whoever asked for it.
            subject = name if seed == config.seed else f"{name}-seed{seed}"
            made = add_value(
                graph,
                own,
                (NodeName(k, "value_train", subject), NodeName(k, "value_label", subject)),
                entry.model,
                again=True,
                lookahead=usual if entry.lookahead is None else dict.fromkeys(usual, entry.lookahead),
                experience=experience,
                annotations=annotations,
            )
            values[name] = made["values"]
            labelled[name].append(made["values"].node)
            if shown is not None and unseen is not None:
                foreign[name] = _label_unseen(
                    graph, own, NodeName(k, "label_unseen", subject), entry, made, shown, unseen
                )
                elsewhere[name].append(foreign[name].node)
        judges.append(
            _judge(graph, own, NodeName(k, "judge", f"seed{seed}"), label_lookaheads(own), values, annotations)
        )
        moved = {name: value for name, value in values.items() if name not in given}
        for steps, nodes in ahead.items() if moved else ():
            fast = replace(own.judge.evaluation, resamples=_HORIZON_RESAMPLES)
            changed = replace(own, judge=replace(own.judge, evaluation=fast))
            at = NodeName(k, "judge", f"seed{seed}-ahead{steps}")
            nodes.append(_judge(graph, changed, at, dict.fromkeys(usual, steps), moved, annotations, horizon=Horizon()))
        if shown is not None and unseen is not None:
            of_unseen = replace(own, tasks=(unseen,))
            at = NodeName(k, "judge", f"seed{seed}-unseen")
            unseen_judges.append(
                _judge(graph, of_unseen, at, label_lookaheads(of_unseen), foreign, shown["annotations"])
            )
    return Judged(
        graph=graph,
        entries=models,
        seeds=numbers,
        judges=tuple(judges),
        horizons={steps: tuple(nodes) for steps, nodes in ahead.items() if nodes},
        gives_advantages=given,
        values={name: tuple(nodes) for name, nodes in labelled.items()},
        unseen=unseen,
        unseen_judges=tuple(unseen_judges),
        unseen_values={name: tuple(nodes) for name, nodes in elsewhere.items()},
    )


def unseen_task(config: RunConfig, asked: str | None, *, simulated: bool) -> str | None:
    """The task to try the models on that they were not trained on; None for none.

    Args:
        config: of the comparison.
        asked: by the person; None: the usual one, where it can be.
        simulated: the experience is.

    Raises:
        UnknownName: no such task.
        ConfigError: it cannot be demonstrated here, is one of those that were learned, or has another robot.
    """
    from data.task_list import tasks_of
    from data.tasks import TASKS, capabilities_of

    if asked == "none" or (asked is None and (not simulated or UNSEEN in config.tasks)):
        return None
    task = asked or UNSEEN
    problem = "" if capabilities_of(TASKS.get(task)).expert else "nobody demonstrates it in a simulated world"
    if task in config.tasks:
        problem = "the models learn it"
    try:
        tasks_of((*config.tasks, task))
    except ConfigError as error:
        problem = problem or error.message
    if problem and asked is not None:
        raise ConfigError(f"--unseen-task {asked}: {problem}", hint="--unseen-task none")
    return None if problem else task


def _check_horizon(config: RunConfig, given: Sequence[str]) -> None:
    """Refuses labels that look otherwise than N steps ahead beside models that give their advantages themselves."""
    horizon = config.advantage.label.horizon
    if given and horizon != N_STEP:
        raise ConfigError(
            f"advantage.label.horizon = {horizon}: '{given[0]}' gives its advantages itself, a look-ahead apart",
            hint="recap compare --set advantage.label.horizon=n_step",
        )


def _record_unseen(graph: Graph, config: RunConfig, task: str) -> dict[str, OutputRef]:
    """{"episodes", "annotations"} of demonstrations, some of them flawed as those of the run are."""
    count = min(config.demos.starts, MOST_UNSEEN)
    recorded = graph.add(
        NodeName(0, "record", task),
        "record",
        replace(config.demos, episodes=count),
        RecordFacts(tasks=(task,), env=config.env, workers=config.workers),
    )["episodes"]
    annotate = graph.add(NodeName(0, "annotate", task), "annotate", config.annotate, experience=recorded)
    return {"episodes": recorded, "annotations": annotate["annotations"]}


def _label_unseen(
    graph: Graph,
    config: RunConfig,
    name: NodeName,
    entry: Entry,
    made: Mapping[str, OutputRef],
    shown: Mapping[str, OutputRef],
    task: str,
) -> OutputRef:
    from data.task_list import tasks_of
    from value_model.models import family_of

    given = family_of(entry.model).gives_advantages
    facts = LabelUnseenFacts(
        tasks=(task,),
        workers=config.workers,
        runtime=config.runtime,
        model=entry.model,
        prompt=tasks_of(config.tasks)[0].spec.prompt,
        lookahead=label_lookaheads(replace(config, tasks=(task,))) if given else {},
        draws=config.value_label.draws,
        noise_seed=config.seed,
    )
    inputs = {"models": made["models"], "training": made["training"], "episodes": shown["episodes"]}
    return graph.add(name, "label_unseen", None, facts, **inputs)["values"]


def _judge(
    graph: Graph,
    config: RunConfig,
    name: NodeName,
    lookahead: Mapping[str, int],
    values: Mapping[str, OutputRef],
    annotations: OutputRef,
    *,
    horizon: Horizon | None = None,
) -> str:
    settings: JudgeConfig = config.judge
    facts = JudgeFacts(
        tasks=config.tasks,
        name=next(iter(values)),
        lookahead=lookahead,
        returns=config.returns,
        horizon=config.advantage.label.looks if horizon is None else horizon,
        positive_fraction=config.advantage.label.positive_fraction,
    )
    inputs: dict[str, Any] = {"values": values, "annotations": annotations}
    return graph.add(name, "judge", settings, facts, **inputs).name
