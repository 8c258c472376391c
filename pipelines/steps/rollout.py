"""rollout: the champion's own experience. Attempts it makes alone, and attempts in which a person corrects it.

Owns which start seeds are attempted and which of them have a supervisor; how an attempt is played belongs to `data`.
Every finished episode survives a kill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from data.corrections import CorrectionConfig
from pipelines.attempts import attempt_shares, lost_episodes, pin_renderer, play_missing, usable_ids
from pipelines.ledger import Ledger
from pipelines.world import ACTING, task_world
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.specs import Split, start_seeds
from recap.step import Artifact, JsonOutput, StepContext, step
from recap.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutConfig:
    """Settings of one collection with a policy."""

    task: str
    """Task id."""
    attempts: int = setting(120, minimum=0, maximum=1_000_000, help="attempts that the policy makes alone")
    corrections: int = setting(40, minimum=0, maximum=1_000_000, help="further attempts with a supervisor who corrects")
    first_seed: int = setting(1_000_000, minimum=0, help="offset of the first start within the TRAIN seeds")
    noise_seed: int = setting(0, minimum=0, help="seed of the policy's inference noise")
    correction: CorrectionConfig = field(default_factory=CorrectionConfig)
    """When the expert that stands in for a human takes over, and when it hands back."""
    renderer: str = setting("auto", choices=("auto", "egl", "osmesa", "ray"), help="image backend")
    image_size: int = setting(64, minimum=16, maximum=512, help="pixels, height and width of every camera")
    workers: int = setting(2, minimum=1, maximum=1024, semantic=False, help="collectors working at once")

    def __post_init__(self) -> None:
        validate(self)
        if self.attempts + self.corrections < 1:
            raise ConfigError("RolloutConfig: attempts and corrections are both 0: nothing to collect")

    @property
    def starts(self) -> list[int]:
        """Start seeds it plays; ConfigError if they leave their range."""
        return start_seeds(Split.TRAIN, self.attempts + self.corrections, offset=self.first_seed)


def _lost_episodes(workspace: Workspace, outputs: Mapping[str, Artifact]) -> str:
    return lost_episodes(workspace, outputs["episodes"])


@step(
    name="rollout",
    version=1,
    config=RolloutConfig,
    inputs=("policy", "previous"),
    outputs=("episodes", "experience", "summary"),
    libraries=("mujoco", "numpy", "torch"),
    code=(
        "policy.models.pi05",
        "data.corrections",
        "data.rollout",
        "data.tasks",
        "data.sim",
        "data.episodes",
        "pipelines.attempts",
        "pipelines.workers",
        "policy.models",
        "policy.conditioning",
        "data.resize",
        "data.normalise",
        "data.episode_file",
    ),
    check=_lost_episodes,
    world=task_world(*ACTING, robot=True),
)
def rollout(ctx: StepContext, config: RolloutConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, JsonOutput]:
    """Outputs the new episodes, all experience so far (`previous` and the new ones), and how each attempt ended."""
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from pipelines.workers import make_rollout_collector

    seeds = config.starts
    ledger = Ledger(ctx.workspace.root / "collections" / f"{ctx.key}.jsonl", key="start_seed")
    renderer = pin_renderer(ctx, config.task, config.renderer, setting="rollout.renderer")
    present = set(EpisodeStore(ctx.workspace.episodes).files())
    rows = play_missing(
        ctx,
        ledger,
        {seed: (seed, index >= config.attempts) for index, seed in enumerate(seeds)},
        role="collector",
        make_worker=make_rollout_collector,
        worker_args=(
            config.task,
            renderer,
            config.image_size,
            str(inputs["policy"].path),
            config.noise_seed,
            config.correction,
            str(ctx.workspace.episodes),
        ),
        workers=config.workers,
        unit="episodes",
        lost={seed for seed, row in ledger.rows().items() if row["episode_id"] not in present},
    )
    attempts = list(rows.values())
    human = sum(row["human_steps"] for row in attempts)
    ctx.journal.metrics({**attempt_shares(attempts), "human_frames": float(human)}, step=0)
    new = EpisodeSet.of(usable_ids(attempts, config.task))
    return {
        "episodes": JsonOutput(new.to_json()),
        "experience": JsonOutput((EpisodeSet.from_json(inputs["previous"].json()) | new).to_json()),
        "summary": JsonOutput({"task": config.task, "attempts": attempts}),
    }
