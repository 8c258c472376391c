"""The loop as a graph of steps. Iteration 0: demonstrations -> policy (imitation) -> evaluation.

    0/collect --demos--> 0/policy --policy--> 0/evaluate

Composition only: what a step does stands in `pipelines/steps/<step>.py`.
"""

from __future__ import annotations

from dataclasses import replace

from pipelines.config import LoopConfig
from recap.graph import Graph


def build_graph(config: LoopConfig) -> Graph:
    """The steps of a run, wired. Settings that must agree between steps are checked by the steps themselves."""
    graph = Graph()
    collect = graph.add("0/collect", "collect", replace(config.collect, task=config.task))
    policy = graph.add("0/policy", "policy", replace(config.policy, task=config.task), demos=collect["demos"])
    graph.add("0/evaluate", "evaluate", replace(config.evaluate, task=config.task), policy=policy["policy"])
    return graph
