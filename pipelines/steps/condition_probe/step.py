"""condition_probe: how far the advantage condition moves a policy, in success and in actions.

A policy that ignores its condition cannot gain from labels, however good they are. Plays the chosen policy told
positive, negative and nothing, on the same VALIDATION starts with the same noise; and compares the actions that it
gives on recorded observations, under two conditions and under two noises (`worker.py`). Nothing depends on it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.attempts import pin_renderer, starts_of
from pipelines.facts import ACTING, ActingFacts, task_context
from pipelines.ledger import Ledger
from pipelines.steps.condition_probe.outputs import ActionDistance, ConditionProbe, Told
from recap.config import setting, validate
from recap.specs import Split, start_seeds
from recap.step import Artifact, JsonOutput, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class ConditionProbeConfig:
    """Settings of one probe."""

    attempts: int = setting(
        0, minimum=0, maximum=100_000, help="VALIDATION starts per condition and task; 0: nothing is probed"
    )
    frames: int = setting(50, minimum=1, maximum=1_000_000, help="recorded observations that actions are compared on")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeFacts(ActingFacts):
    """What the graph says of a probe."""

    arm: str
    """Whose labels the policy was trained on."""


@step(
    name="condition_probe",
    version=1,
    config=ConditionProbeConfig,
    facts=ProbeFacts,
    inputs=("policy", "experience"),
    outputs=("probe",),
    libraries=("mujoco", "numpy", "torch"),
    context=task_context(*ACTING, robot=True),
)
def condition_probe(
    ctx: StepContext, config: ConditionProbeConfig, facts: ProbeFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, JsonOutput]:
    """Outputs success under each condition and the distance of conditioned actions (ConditionProbe).

    Raises:
        ConfigError: a policy whose family hears one condition only.
    """
    from pipelines.steps.condition_probe.worker import action_distance
    from pipelines.steps.evaluate.summary import attempt_of, count_by_task, success_summary
    from pipelines.steps.evaluate.worker import play_policies
    from policy.conditioning import NEGATIVE, POSITIVE
    from recap.stats import is_success

    policy = inputs["policy"].path
    told = {
        name: _told(ctx, policy, name, words)
        for name, words in {"positive": POSITIVE, "negative": NEGATIVE, "absent": ""}.items()
    }
    starts = starts_of(facts.tasks, start_seeds(Split.VALIDATION, config.attempts, offset=facts.first_seed))
    rows = play_policies(
        ctx,
        facts,
        Ledger(ctx.scratch / "attempts.jsonl", key="key"),
        {
            f"{name}/{key}": (f"{name}/{key}", str(path), start, False)
            for name, path in told.items()
            for key, start in starts.items()
        },
        pin_renderer(ctx, facts),
    )
    conditions = {}
    for name in told:
        attempts = [attempt_of(rows[f"{name}/{key}"]) for key in starts]
        found = success_summary(attempts)
        conditions[name] = Told(
            attempts=found.attempts,
            successes=found.successes,
            success=found.success,
            success_low=found.success_low,
            success_high=found.success_high,
            by_task=count_by_task([task for task, _ in starts.values()], [is_success(one) for one in attempts]),
        )
    distance: ActionDistance = ctx.executor.call(
        "evaluator",
        action_distance,
        (
            config.frames,
            facts,
            inputs["experience"].json(),
            {name: told[name] for name in ("positive", "negative")},
            ctx.workspace.episodes,
            ctx.workspace.cache,
            ctx.journal,
        ),
    )
    probe = ConditionProbe(
        arm=facts.arm,
        tasks=facts.tasks,
        split="validation",
        policy_id=rows[f"positive/{next(iter(starts))}"]["policy_id"],
        conditions=conditions,
        distance=distance,
    )
    figures = {f"success_{name}": one.success for name, one in conditions.items()}
    ctx.journal.metrics({**figures, "condition_distance": distance.condition, "noise_distance": distance.noise}, step=0)
    return {"probe": JsonOutput.of(probe)}


def _told(ctx: StepContext, policy: Path, name: str, words: str) -> Path:
    """The same weights told other words, kept in scratch."""
    from policy.models import with_condition

    target = ctx.scratch / "told" / name
    shutil.rmtree(target, ignore_errors=True)  # a killed attempt may have left it half written
    with_condition(policy, target, words)
    return target
