"""policy: trains the policy on experience, by imitation or conditioned on the advantage of every frame.

Composition only: which episodes, which condition, which model, from which starting weights. Training itself, with its
exact resume, belongs to the policy's family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.facts import ComputeFacts, task_context
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyConfig:
    """Settings of one policy training."""

    model: Any
    """The policy family is the one that this configuration belongs to."""
    dropout: float = setting(
        0.3, minimum=0, maximum=1, help="fraction of samples whose advantage condition is left out"
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyFacts(ComputeFacts):
    """What the graph says of a training."""

    condition: str = setting("labels", choices=("labels", "positive", "none"))
    """Advantage condition in the prompt: of the labels, positive throughout (iteration 0), or none (pretraining)."""
    seed: int = setting(0, minimum=0)
    """Of starting weights and training noise."""


@step(
    name="policy",
    version=3,
    config=PolicyConfig,
    facts=PolicyFacts,
    inputs=("experience",),
    optional=("labels", "base"),
    outputs=("candidates", "training"),
    libraries=("torch", "numpy"),
    context=task_context("prompt", robot=True),
)
def policy(
    ctx: StepContext, config: PolicyConfig, facts: PolicyFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, Output]:
    """Trains in the long-lived trainer; outputs candidate bundles and the figures of the training (PolicyTraining).

    `labels` says which frames are positive and which episodes may be learned from; `base` holds the weights to start
    from (the last candidate of another training).

    Raises:
        ConfigError: a condition of labels without labels, or labels that nothing uses.
    """
    from pipelines.steps.policy.worker import train_policy

    if (facts.condition == "labels") != ("labels" in inputs):
        got = "labels" if "labels" in inputs else "no labels"
        raise ConfigError(f"{ctx.node}: condition = '{facts.condition}' with {got} among its inputs")
    out = ctx.scratch / "candidates"
    training = ctx.executor.call(
        "trainer",
        train_policy,
        (
            config,
            facts,
            inputs["experience"].json(),
            inputs["labels"].path if "labels" in inputs else None,
            inputs["base"].path if "base" in inputs else None,
            ctx.workspace.episodes,
            ctx.workspace.cache,
            ctx.scratch / "fit",
            out,
            ctx.journal,
        ),
    )
    return {"candidates": DirOutput(out), "training": JsonOutput.of(training)}
