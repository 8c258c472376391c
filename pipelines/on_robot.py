"""The loop on a real robot as a graph of steps: its operator makes the attempts, everything between them is as ever.

    0/TASK/record (a person demonstrates) -> 0/pretrain -> 0/policy -> 0/checkpoint_selection (the last candidate)
      -> 0/TASK/evaluate
    k/TASK/record (the champion acts, a person corrects) -> k/annotate -> values, labels -> k/policy (from base)
      -> k/checkpoint_selection -> k/gate (interleaved attempts of both: they are the measurement, too)

Composition only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipelines.config import RunConfig
from pipelines.facts import ActingFacts, EnvConfig
from pipelines.steps.checkpoint_selection.step import SelectionFacts
from pipelines.steps.evaluate.step import EvaluateConfig
from pipelines.steps.record.step import OnRobotConfig, RecordFacts
from pipelines.wiring import acting, add_imitation, add_training, join
from recap.graph import Graph, NodeHandle, NodeName, OutputRef


def build_robot_graph(config: RunConfig) -> Graph:
    """The steps of a run on a robot, wired; reads which devices its files name.

    Raises:
        ConfigError: a file that is not there or not readable.
    """
    from data.robots.env_file import read_env_file

    graph, task = Graph(), config.tasks[0]
    robot = graph.constant(NodeName(0, "robot"), read_env_file(Path(config.robot_from)).identity)
    demos = graph.add(
        NodeName(0, "record", task),
        "record",
        OnRobotConfig(attempts=config.demos.episodes),
        RecordFacts(tasks=config.tasks, env=EnvConfig(), workers=config.workers),
        robot=robot,
    )["episodes"]
    recorded = {f"0-{task}": demos}
    base, policy = add_imitation(graph, config, demos)
    champion = _select(graph, config, 0, policy)
    graph.add(
        NodeName(0, "evaluate", task),
        "evaluate",
        # On a robot there are no starts to choose among.
        replace(config.evaluate, split=EvaluateConfig().split),
        _acting(config),
        policy=champion,
        robot=robot,
    )
    for k in range(1, config.iterations + 1):
        new = graph.add(
            NodeName(k, "record", task),
            "record",
            OnRobotConfig(attempts=config.rollouts.attempts, corrections=config.rollouts.corrections),
            RecordFacts(
                tasks=config.tasks, env=EnvConfig(), workers=config.workers, role="rollouts", noise_seed=config.seed
            ),
            policy=champion,
            robot=robot,
        )["episodes"]
        recorded[f"{k}-{task}"] = new
        experience = join(graph, k, "experience", recorded)
        annotate = graph.add(NodeName(k, "annotate"), "annotate", config.annotate, experience=experience)
        arm = next(
            add_training(
                graph,
                config,
                k,
                episodes=new,
                experience=experience,
                annotations=annotate["annotations"],
                base=base,
            )
        )
        champion = graph.add(
            NodeName(k, "gate"),
            "gate",
            config.gate,
            _acting(config),
            champion=champion,
            challenger=_select(graph, config, k, arm.policy),
            robot=robot,
        )["champion"]
    return graph


def _select(graph: Graph, config: RunConfig, k: int, policy: NodeHandle) -> OutputRef:
    # Attempts on a robot are too dear to compare candidates by: the one trained longest, acting as first listed.
    settings = replace(
        config.checkpoint_selection,
        attempts=0,
        guidance=(1.0,),
        noise_scale=config.checkpoint_selection.noise_scale[:1],
    )
    facts = SelectionFacts(tasks=config.tasks, env=EnvConfig(), compare=False, guide=False)
    name = NodeName(k, "checkpoint_selection")
    return graph.add(name, "checkpoint_selection", settings, facts, candidates=policy["candidates"])["policy"]


def _acting(config: RunConfig) -> ActingFacts:
    # What a simulator is set to says nothing of a robot.
    return ActingFacts(tasks=config.tasks, **{**acting(config), "env": EnvConfig()})
