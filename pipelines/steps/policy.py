"""policy: trains the policy on experience, by imitation or conditioned on the advantage of every frame.

Composition only: which episodes, which tags, which model, from which starting weights. Training itself, with its exact
resume, belongs to the policy's family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.world import task_world
from policy.models.pi05.config import Pi05Config
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyConfig:
    """Settings of one policy training."""

    task: str
    """Task id."""
    model: Pi05Config = field(default_factory=Pi05Config)
    """The policy family is the one that this configuration belongs to."""
    tags: str = setting(
        "labels",
        choices=("labels", "positive", "none"),
        help="the advantage in the prompt: of the labels, positive throughout (iteration 0), or none (pretraining)",
    )
    dropout: float = setting(0.3, minimum=0, maximum=1, help="share of samples whose tag is left out")

    def __post_init__(self) -> None:
        validate(self)


@step(
    name="policy",
    version=2,
    config=PolicyConfig,
    inputs=("experience",),
    optional=("labels", "base"),
    outputs=("candidates", "training"),
    libraries=("torch", "numpy"),
    code=(
        "data.task_list",
        "policy.conditioning",
        "policy.models.pi05",
        "recap.training",
        "data.batches",
        "data.framecache",
        "data.frame_table",
        "data.normalise",
        "pipelines.workers",
        "policy.models",
        "data.resize",
        "data.episode_file",
        "data.sim.seeds",
        "pipelines.experience",
        "value_model.episodes",
    ),
    world=task_world("prompt", robot=True),
)
def policy(ctx: StepContext, config: PolicyConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, Output]:
    """Trains in the long-lived trainer; outputs candidate bundles and the figures of the training.

    `labels` says which frames are positive and which episodes may be learned from; `base` holds the weights to start
    from (the last candidate of another training).

    Raises:
        ConfigError: tags of labels without labels, or labels that nothing uses.
    """
    from pipelines.workers import train_policy

    if (config.tags == "labels") != ("labels" in inputs):
        got = "labels" if "labels" in inputs else "no labels"
        raise ConfigError(f"{ctx.node}: tags = '{config.tags}' with {got} among its inputs")
    out = ctx.scratch / "candidates"
    training = ctx.executor.call(
        "trainer",
        train_policy,
        (
            config,
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
    return {"candidates": DirOutput(out), "training": JsonOutput(training)}
