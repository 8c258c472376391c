"""collect: experience recorded to disk. In iteration 0, demonstrations by the scripted expert.

Owns which start seeds are recorded and in what order they are listed; how an attempt is simulated and stored belongs to
`data`. Every finished episode survives a kill: a re-issued step records only the seeds that are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from data.sim.flaws import FlawConfig
from pipelines.attempts import attempt_shares, lost_episodes, pin_renderer, play_missing, usable_ids
from pipelines.ledger import Ledger
from pipelines.world import ACTING, task_world
from recap.config import setting, validate
from recap.specs import Split, start_seeds
from recap.step import Artifact, JsonOutput, StepContext, step
from recap.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class CollectConfig:
    """Settings of one collection."""

    task: str
    """Task id."""
    episodes: int = setting(200, minimum=1, maximum=1_000_000, help="demonstrations to record")
    first_seed: int = setting(0, minimum=0, help="offset of the first start within the TRAIN seeds")
    flaws: FlawConfig = field(default_factory=FlawConfig)
    """How the expert that stands in for a human errs."""
    renderer: str = setting("auto", choices=("auto", "egl", "osmesa", "ray"), help="image backend")
    image_size: int = setting(64, minimum=16, maximum=512, help="pixels, height and width of every camera")
    workers: int = setting(2, minimum=1, maximum=1024, semantic=False, help="collectors working at once")

    def __post_init__(self) -> None:
        validate(self)

    @property
    def starts(self) -> list[int]:
        """Start seeds it plays; ConfigError if they leave their range."""
        return start_seeds(Split.TRAIN, self.episodes, offset=self.first_seed)


def _lost_episodes(workspace: Workspace, outputs: Mapping[str, Artifact]) -> str:
    """Why a committed collection can no longer be used: episodes that are gone from the store."""
    return lost_episodes(workspace, outputs["demos"])


@step(
    name="collect",
    version=1,
    config=CollectConfig,
    inputs=(),
    outputs=("demos", "summary"),
    libraries=("mujoco", "numpy"),
    code=(
        "data.rollout",
        "data.tasks",
        "data.sim",
        "data.episodes",
        "pipelines.attempts",
        "pipelines.workers",
        "data.episode_file",
    ),
    check=_lost_episodes,
    world=task_world(*ACTING, robot=True),
)
def collect(ctx: StepContext, config: CollectConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, JsonOutput]:
    """Records one demonstration per TRAIN start seed; outputs the EpisodeSet and how each attempt ended."""
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from pipelines.workers import make_collector

    seeds = config.starts
    # Not in scratch: when episodes are lost after the step was committed, only those are recorded again.
    ledger = Ledger(ctx.workspace.root / "collections" / f"{ctx.key}.jsonl", key="start_seed")
    renderer = pin_renderer(ctx, config.task, config.renderer, setting="collect.renderer")
    present = set(EpisodeStore(ctx.workspace.episodes).files())
    rows = play_missing(
        ctx,
        ledger,
        {seed: seed for seed in seeds},
        role="collector",
        make_worker=make_collector,
        worker_args=(config.task, renderer, config.image_size, config.flaws, str(ctx.workspace.episodes)),
        workers=config.workers,
        unit="episodes",
        lost={seed for seed, row in ledger.rows().items() if row["episode_id"] not in present},
    )
    attempts = list(rows.values())
    ctx.journal.metrics(attempt_shares(attempts), step=0)
    return {
        "demos": JsonOutput(EpisodeSet.of(usable_ids(attempts, config.task)).to_json()),
        "summary": JsonOutput({"task": config.task, "attempts": attempts}),
    }
