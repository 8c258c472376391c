"""collect: experience recorded to disk. In iteration 0, demonstrations by the scripted expert.

Owns which start seeds are recorded and in what order they are listed; how an attempt is simulated and stored belongs to
`data`. Every finished episode survives a kill: a re-issued step records only the seeds that are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data.sim.flaws import FlawConfig
from pipelines.ledger import Ledger
from recap.config import setting, validate
from recap.errors import ConfigError
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


def _lost_episodes(workspace: Workspace, outputs: Mapping[str, Artifact]) -> str:
    """Why a committed collection can no longer be used: episodes that are gone from the store."""
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore

    demos = EpisodeSet.from_json(outputs["demos"].json())
    lost = set(demos) - set(EpisodeStore(workspace.episodes).files())
    return f"{len(lost)} of {len(demos)} episodes are gone, {min(lost)[:12]} first" if lost else ""


@step(
    name="collect",
    version=1,
    config=CollectConfig,
    inputs=(),
    outputs=("demos", "summary"),
    libraries=("mujoco", "numpy"),
    code=("data.rollout", "data.tasks", "data.sim", "data.episodes", "pipelines.workers"),
    check=_lost_episodes,
)
def collect(ctx: StepContext, config: CollectConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, JsonOutput]:
    """Records one demonstration per TRAIN start seed; outputs the EpisodeSet and how each attempt ended."""
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from data.sim.backend import choose_renderer
    from pipelines.workers import make_collector

    seeds = start_seeds(Split.TRAIN, config.episodes, offset=config.first_seed)
    # Not in scratch: when episodes are lost after the step was committed, only those are recorded again.
    ledger = Ledger(ctx.workspace.root / "collections" / f"{ctx.key}.jsonl", key="start_seed")
    renderer = _pin_renderer(ctx, choose_renderer(config.renderer))
    store = EpisodeStore(ctx.workspace.episodes)
    present = set(store.files())
    done = {seed: row for seed, row in ledger.rows().items() if row["episode_id"] in present}
    todo = [seed for seed in seeds if seed not in done]
    ctx.journal.progress(len(done), len(seeds), "episodes")

    def keep(_: int, row: dict[str, Any]) -> None:
        ledger.append(row)
        done[row["start_seed"]] = row
        ctx.journal.progress(len(done), len(seeds), "episodes")

    ctx.executor.map(
        "collector",
        make_collector,
        (config.task, renderer, config.image_size, config.flaws, str(ctx.workspace.episodes)),
        todo,
        keep,
        num_workers=config.workers,
    )
    attempts = [done[seed] for seed in seeds]
    outcomes = [row["outcome"] for row in attempts]
    ctx.journal.metrics(
        {
            "episodes": len(attempts),
            "frames": sum(row["steps"] for row in attempts),
            "success_share": outcomes.count("success") / len(attempts),
        },
        step=0,
    )
    # Aborted attempts (broken physics) stay on disk and in the summary, but nothing is learned from them.
    usable = [row["episode_id"] for row in attempts if row["outcome"] != "aborted"]
    if not usable:
        raise ConfigError(f"all {len(attempts)} attempts at {config.task} were aborted: nothing to learn from")
    return {
        "demos": JsonOutput(EpisodeSet.of(usable).to_json()),
        "summary": JsonOutput({"task": config.task, "attempts": attempts}),
    }


def _pin_renderer(ctx: StepContext, renderer: str) -> str:
    """The renderer of the first attempt at this step: one collection never mixes image backends."""
    marker = ctx.scratch / "renderer"
    if not marker.exists():
        marker.write_text(renderer)
        return renderer
    pinned = marker.read_text()
    if pinned != renderer:
        raise ConfigError(
            f"{ctx.node} began with the '{pinned}' renderer and this machine now offers '{renderer}': "
            "one collection never mixes image backends",
            hint=f"recap run ... --set collect.renderer={renderer}   (starts this collection anew)",
        )
    return pinned
