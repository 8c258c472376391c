"""The offline start as a graph of steps: recorded experience in, a policy out. No robot, no simulator, no gate.

    0/TASK/record (imported demos) -> 0/pretrain -> 0/policy -> 0/checkpoint_selection (the last candidate)
      -> 0/TASK/open_loop_eval
    1/TASK/record (imported rollouts) -> 1/annotate -> values, labels -> 1/policy (from base) -> ...

Composition only. Nothing in it measures success: that takes attempts.
"""

from __future__ import annotations

from pipelines.config import RunConfig
from pipelines.facts import EnvConfig
from pipelines.steps.checkpoint_selection.step import CheckpointSelectionConfig, SelectionFacts
from pipelines.steps.record.folder import contents, open_recorded
from pipelines.steps.record.step import RecordFacts
from pipelines.wiring import Arm, add_imitation, add_training, compute_facts, join
from recap.graph import Graph, NodeHandle, NodeName, OutputRef


def build_offline_graph(config: RunConfig) -> Graph:
    """The steps of an offline run, wired; looks at the names of the recorded episodes.

    Raises:
        ConfigError: a folder is not there or holds no episode.
    """
    graph = Graph()
    demos = import_recorded(graph, config, 0)
    experience, annotations, rollouts = demos, None, None
    # Added before the training of iteration 0: a swapped folder or missing labels should not come after hours.
    if config.iterations:
        rollouts = import_recorded(graph, config, 1)
        experience = join(graph, 1, "experience", {"demos": demos, "rollouts": rollouts})
        annotate = graph.add(NodeName(1, "annotate"), "annotate", config.annotate, experience=experience)
        annotations = annotate["annotations"]
    base, policy = add_imitation(graph, config, demos)
    _measure(graph, config, 0, policy, experience=demos)
    if rollouts is not None and annotations is not None:
        arms = add_training(
            graph, config, 1, episodes=rollouts, experience=experience, annotations=annotations, base=base
        )
        for arm in arms:
            _measure(graph, config, 1, arm.policy, arm, experience=experience, labels=arm.labels)
    return graph


def import_facts(config: RunConfig, role: str) -> RecordFacts:
    """Of the import of one folder."""
    folder = config.demos_from if role == "demos" else config.rollouts_from
    return RecordFacts(tasks=config.tasks, env=EnvConfig(), workers=config.workers, role=role, folder=folder)


def import_recorded(graph: Graph, config: RunConfig, k: int) -> OutputRef:
    """The episodes of --demos (k = 0) or --rollouts (1), taken over; ConfigError if there are none."""
    facts = import_facts(config, "demos" if k == 0 else "rollouts")
    found = contents(open_recorded(facts.folder, option=facts.option), option=facts.option)
    source = graph.constant(NodeName(k, "source"), found)
    name = NodeName(k, "record", config.tasks[0])
    return graph.add(name, "record", config.imported, facts, source=source)["episodes"]


def _measure(
    graph: Graph, config: RunConfig, k: int, policy: NodeHandle, arm: Arm | None = None, **inputs: OutputRef
) -> None:
    # Nothing to compare candidates by without attempts: the one trained longest, acting by its condition alone.
    facts = SelectionFacts(tasks=config.tasks, env=EnvConfig(), compare=False, guide=False)
    chosen = graph.add(
        NodeName(k, "checkpoint_selection", arm.name if arm else ""),
        "checkpoint_selection",
        CheckpointSelectionConfig(attempts=0),
        facts,
        candidates=policy["candidates"],
    )["policy"]
    task = config.tasks[0]
    name = NodeName(k, "open_loop_eval", arm.of_task(task) if arm else task)
    graph.add(name, "open_loop_eval", config.open_loop_eval, compute_facts(config), policy=chosen, **inputs)
