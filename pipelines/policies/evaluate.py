"""One `recap evaluate`: policies attempt the same starts of a task, outside of a run.

    0/policy/adopt -> 0/policy/TASK/evaluate          0/against/adopt -> 0/against/TASK/evaluate

The steps of a run, on its workers: every attempt is kept, what a run has evaluated already is not played again, and a
killed evaluation goes on when it is issued again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import RunConfig
from pipelines.facts import ActingFacts
from pipelines.graph import check_starts
from pipelines.policies.found import FoundPolicy, check_fits, check_statistics, find_policy
from pipelines.policies.request import EvaluationRequest
from pipelines.run import watched
from pipelines.settings import set_all
from pipelines.steps.adopt.step import AdoptConfig
from pipelines.steps.evaluate.outputs import Evaluation, SuccessSummary, ThroughputSummary, Timing
from pipelines.steps.evaluate.summary import (
    PairedDifference,
    PairedThroughput,
    paired_difference,
    paired_throughput,
)
from pipelines.wiring import acting
from recap.explain import is_finished
from recap.graph import Graph, NodeName
from recap.hashing import sha256_hex
from recap.runner import RunSummary
from recap.specs import Split
from recap.step import Artifact
from recap.workspace import Workspace, check_name

FIRST, SECOND = "policy", "against"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatedPolicy:
    """How one policy did."""

    policy: str
    """Which it is, in words."""
    policy_id: str
    success: SuccessSummary
    throughput: ThroughputSummary


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationResult:
    """What an evaluation found."""

    name: str
    task: str
    starts: str
    policy: EvaluatedPolicy
    against: EvaluatedPolicy | None
    success_difference: PairedDifference | None
    """Of the first minus the second, on the same starts."""
    throughput_difference: PairedThroughput | None
    executed: tuple[str, ...]
    """Nodes whose step ran."""
    cached: tuple[str, ...]
    seconds: float
    command: str
    """Issues it again."""


def evaluate_policies(root: Path, asked: EvaluationRequest, say: Callable[[str], None]) -> EvaluationResult:
    """Brings an evaluation up to date and returns what it found.

    Args:
        root: workspace directory; made if absent.
        asked: what to evaluate.
        say: prints one line for a person.

    Raises:
        RecapError: see recap.errors; attempts that were played are kept.
    """
    from data.tasks import TASKS

    policies = {FIRST: find_policy(root, asked.policy)}
    if asked.against is not None:
        policies[SECOND] = find_policy(root, asked.against)
    task_id = asked.task_of(policies[FIRST])
    task = TASKS.simulated(task_id)
    for policy in policies.values():
        check_fits(policy, task)

    def graph_of(config: RunConfig) -> Graph:
        return build_evaluation(config, policies)

    config = set_all(asked.config(policies[FIRST], task_id), asked.settings, graph_of)
    graph, name = graph_of(config), asked.name or _usual_name(policies, task_id)
    workspace = Workspace.open(root)
    if not is_finished(workspace, graph, name):
        from pipelines.attempts import renderer_here

        renderer = renderer_here(workspace.root, (task_id,), config.env.renderer)
        for policy in policies.values():
            check_statistics(policy, task, renderer=renderer, image_size=config.env.image_size)
    again = asked.command(root)
    with workspace.lock(f"evaluate {name}"):
        params = {"task": task_id, **{role: policy.name for role, policy in policies.items()}}
        with watched(workspace, config, name, params, say, again=again) as (runner, _):
            began = time.monotonic()
            summary = runner.run(graph, name)
            seconds = time.monotonic() - began
    found = _read(summary)
    first, second = found[FIRST], found.get(SECOND)
    return EvaluationResult(
        name=name,
        task=task_id,
        starts=config.evaluate.split,
        policy=_evaluated(policies[FIRST], *first),
        against=None if second is None else _evaluated(policies[SECOND], *second),
        success_difference=None if second is None else paired_difference(first[0].attempts, second[0].attempts),
        throughput_difference=None if second is None else paired_throughput(first, second, task.spec),
        executed=tuple(summary.executed),
        cached=tuple(summary.cached),
        seconds=seconds,
        command=again,
    )


def build_evaluation(config: RunConfig, policies: Mapping[str, FoundPolicy]) -> Graph:
    """The steps of an evaluation at the one task of `config`, wired."""
    graph, (task,) = Graph(), config.tasks
    check_starts(Split[config.evaluate.split.upper()], config.evaluate.attempts, 0, "evaluate.attempts")
    for role, policy in policies.items():
        adopted = graph.add(NodeName(0, "adopt", role), "adopt", AdoptConfig(policy=str(policy.path)))
        facts = ActingFacts(tasks=(task,), **acting(config))
        name = NodeName(0, "evaluate", f"{role}/{task}")
        graph.add(name, "evaluate", config.evaluate, facts, policy=adopted["policy"])
    return graph


def _usual_name(policies: Mapping[str, FoundPolicy], task: str) -> str:
    """The same policies by the same names are one evaluation."""
    first = policies[FIRST]
    known = first.path.name if first.invocation is None else first.invocation.name
    told = "\n".join([task, *(str(policy.path) for policy in policies.values())])
    kept = "".join(letter if letter.isalnum() or letter in "_-" else "-" for letter in known)[:60].strip("-_")
    return check_name("evaluation", f"evaluate-{kept or 'policy'}-{sha256_hex(told.encode())[:8]}")


def _read(summary: RunSummary) -> dict[str, tuple[Evaluation, Timing]]:
    made: Mapping[str, Mapping[str, Artifact]] = summary.of("evaluate")
    return {
        NodeName.parse(node).subject.partition("/")[0]: (
            outputs["evaluation"].read(Evaluation),
            outputs["timing"].read(Timing),
        )
        for node, outputs in made.items()
    }


def _evaluated(policy: FoundPolicy, evaluation: Evaluation, timing: Timing) -> EvaluatedPolicy:
    return EvaluatedPolicy(
        policy=policy.name,
        policy_id=evaluation.policy_id,
        success=evaluation.summary,
        throughput=timing.summary,
    )
