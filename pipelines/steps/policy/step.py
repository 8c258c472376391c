"""policy: trains the policy on experience, by imitation or conditioned on the advantage of every frame.

Composition only: which episodes, which condition, which model, from which starting weights. Training itself, with its
exact resume, belongs to the policy's family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipelines.facts import ComputeFacts, task_context
from policy.teaching import GRADED, TOLD
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
    conditioning: str = setting(
        "hard",
        choices=("hard", "continuous", "weighted", "filtered"),
        help="what labels do: a condition, a graded one, a weight of the loss, or the choice of frames",
    )
    temperature: float = setting(
        0.5, minimum=0.01, help="weighted: e^(2 / temperature) is the weight of the best frame over that of the worst"
    )
    value_bins: int = setting(
        1, minimum=1, help="weighted, continuous: rank advantages among frames of about the same value, in so many bins"
    )

    def __post_init__(self) -> None:
        validate(self)
        if not self.told and self.dropout != _default("dropout"):
            self._refuse("dropout", "hears no condition to leave out")
        if self.conditioning != "weighted" and self.temperature != _default("temperature"):
            self._refuse("temperature", "has no weights")
        if self.conditioning not in GRADED and self.value_bins != _default("value_bins"):
            self._refuse("value_bins", "ranks no advantages")

    @property
    def told(self) -> bool:
        """Whether the policy hears a condition, and acts by one."""
        return self.conditioning in TOLD

    def before_labels(self) -> PolicyConfig:
        """The same training without labels, where all ways that hear a condition are one, and so are the others."""
        return PolicyConfig(model=self.model, dropout=self.dropout, conditioning="hard" if self.told else "filtered")

    def _refuse(self, name: str, why: str) -> None:
        raise ConfigError(
            f"PolicyConfig.{name}: conditioning = '{self.conditioning}' {why}",
            hint="leave that setting out",
        )


def _default(name: str) -> Any:
    return next(field.default for field in fields(PolicyConfig) if field.name == name)


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyFacts(ComputeFacts):
    """What the graph says of a training."""

    condition: str = setting("labels", choices=("labels", "positive", "none"))
    """Advantage condition: of the labels, positive throughout (iteration 0), or none (pretraining)."""
    seed: int = setting(0, minimum=0)
    """Of starting weights and training noise."""


@step(
    name="policy",
    version=4,
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
        ConfigError: a condition of labels without labels, labels that nothing uses, or a way of conditioning that the
            model cannot learn in.
    """
    from pipelines.ranks import trained
    from pipelines.steps.policy.worker import train_policy
    from policy.models import family_of

    if (facts.condition == "labels") != ("labels" in inputs):
        got = "labels" if "labels" in inputs else "no labels"
        raise ConfigError(f"{ctx.node}: condition = '{facts.condition}' with {got} among its inputs")
    family = family_of(config.model)
    family.check_conditioning(config.model, config.conditioning)
    out = ctx.scratch / "candidates"
    training = trained(
        ctx.executor,
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
        ),
        journal=ctx.journal,
        settings=facts.runtime if family.networks else facts.runtime.alone(),
    )
    return {"candidates": DirOutput(out), "training": JsonOutput.of(training)}
