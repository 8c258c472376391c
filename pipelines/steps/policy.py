"""policy: trains the policy on an EpisodeSet. In iteration 0, by imitation of the demonstrations.

Composition only: which episodes, which model. Training itself, with its exact resume, belongs to the policy's family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from policy.models.pi05.config import Pi05Config
from recap.config import validate
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyConfig:
    """Settings of one policy training."""

    task: str
    """Task id."""
    model: Pi05Config = field(default_factory=Pi05Config)
    """The policy family is the one that this configuration belongs to."""

    def __post_init__(self) -> None:
        validate(self)


@step(
    name="policy",
    version=1,
    config=PolicyConfig,
    inputs=("demos",),
    outputs=("policy", "training"),
    libraries=("torch", "numpy"),
    code=(
        "policy.models.pi05",
        "recap.training",
        "data.batches",
        "data.framecache",
        "data.normalise",
        "pipelines.workers",
    ),
)
def policy(ctx: StepContext, config: PolicyConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, Output]:
    """Trains in the long-lived trainer; outputs the policy bundle and the figures of its training."""
    from pipelines.workers import train_policy

    out = ctx.scratch / "bundle"
    training = ctx.executor.call(
        "trainer",
        train_policy,
        (
            config,
            inputs["demos"].json(),
            ctx.workspace.episodes,
            ctx.workspace.cache,
            ctx.scratch / "fit",
            out,
            ctx.journal,
        ),
    )
    return {"policy": DirOutput(out), "training": JsonOutput(training)}
