"""replay: the offline evaluation. The chosen policy acts on recorded observations; the actions are compared.

Composition only; the figures stand in `pipelines/replay.py`. It is no evaluation of success, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.world import task_world
from recap.config import setting, validate
from recap.step import Artifact, JsonOutput, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayConfig:
    """Settings of one replay."""

    task: str
    """Task id."""
    frames: int = setting(100, minimum=1, maximum=1_000_000, help="frames of each kind: demos, positive, negative")
    seed: int = setting(0, minimum=0, help="of the choice of frames and of the policy's inference noise")
    margin: float = setting(
        0.05, minimum=0, maximum=10, help="share of the recorded action range that actions may lie beyond it"
    )

    def __post_init__(self) -> None:
        validate(self)


@step(
    name="replay",
    version=1,
    config=ReplayConfig,
    inputs=("policy", "experience"),
    optional=("labels",),
    outputs=("replay",),
    libraries=("torch", "numpy"),
    code=(
        "data.task_list",
        "policy.models.pi05",
        "data.framecache",
        "data.frame_table",
        "pipelines.experience",
        "pipelines.replay",
        "policy.models",
        "data.resize",
        "data.episode_file",
        "data.sim.seeds",
    ),
    world=task_world("prompt", robot=True),
)
def replay(ctx: StepContext, config: ReplayConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, JsonOutput]:
    """Outputs the figures; `labels` says which frames are positive and which episodes are replayed.

    Raises:
        HealthError: the policy gives actions that no robot may be sent.
    """
    from pipelines.replay import replay_policy

    figures = ctx.executor.call(
        "evaluator",
        replay_policy,
        (
            config,
            inputs["experience"].json(),
            inputs["policy"].path,
            inputs["labels"].path if "labels" in inputs else None,
            ctx.workspace.episodes,
            ctx.workspace.cache,
            ctx.journal,
        ),
    )
    ctx.journal.metrics(
        {
            "outside_share": figures["contract"]["outside_share"],
            **{
                f"{name}_mean_error": sum(group["error"]) / len(group["error"])
                for name, group in figures["groups"].items()
            },
        },
        step=0,
    )
    return {"replay": JsonOutput(figures)}
