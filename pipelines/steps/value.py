"""value: trains the value model by folds and labels every frame by the model that did not see it.

Composition only: what a value model is stands in `value_model/models`; how its values are judged is another step
(health). Folds resume from their checkpoints and labelling from its finished shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.attempts import play_missing
from pipelines.ledger import Ledger
from pipelines.world import task_world
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step
from value_model.models.clock import ClockConfig
from value_model.models.state_only import StateOnlyConfig
from value_model.models.viva.config import VivaConfig
from value_model.returns import ReturnConfig

if TYPE_CHECKING:
    from pipelines.value_workers import ValuePlan
    from recap.types import BoolArray, FloatArray, IntArray
    from value_model.episodes import EpisodeFacts


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueConfig:
    """Settings of one value step."""

    task: str
    """Task id."""
    model: Any = field(default_factory=VivaConfig)
    """The value model family is the one that this configuration belongs to."""
    returns: ReturnConfig = field(default_factory=ReturnConfig)
    lookahead: int = setting(18, minimum=1, help="N = K, control steps (the loop sets it from the task)")
    cross_fit: int = setting(2, minimum=1, maximum=20, help="folds by episode; 1: a model labels what it has seen")
    draws: int = setting(1, minimum=1, maximum=1000, help="noise draws per frame, averaged")
    noise_seed: int = setting(0, minimum=0, help="seed of the labelling noise")
    seed: int = setting(0, minimum=0, help="of starting weights and training noise")
    controls: bool = setting(True, help="train clock and state_only on the same folds, for the health table")
    sample: int = setting(24, minimum=0, help="episodes labelled again with other noise and by the model that saw them")
    shard_episodes: int = setting(16, minimum=1, semantic=False, help="episodes labelled per job")
    workers: int = setting(2, minimum=1, maximum=1024, semantic=False, help="trainers and labellers working at once")

    def __post_init__(self) -> None:
        validate(self)

    @property
    def models(self) -> dict[str, Any]:
        """{name: configuration}: the model itself and its controls."""
        controls = {"clock": ClockConfig(), "state_only": StateOnlyConfig()} if self.controls else {}
        return {"model": self.model, **controls}


@step(
    name="value",
    version=3,
    config=ValueConfig,
    inputs=("experience", "annotations"),
    outputs=("models", "values", "training"),
    libraries=("torch", "diffusers", "numpy"),
    code=(
        "data.task_list",
        "value_model.bundle",
        "value_model.models",
        "value_model.episodes",
        "value_model.folds",
        "value_model.per_prompt",
        "value_model.returns",
        "recap.training",
        "data.batches",
        "data.framecache",
        "data.frame_table",
        "pipelines.experience",
        "pipelines.value_workers",
        "data.resize",
        "data.episode_file",
        "data.sim.seeds",
    ),
    world=task_world("prompt", "max_steps", robot=True),
)
def value(ctx: StepContext, config: ValueConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, Output]:
    """Outputs the fold models, values of every frame and the figures of training.

    The table of values holds, per frame: `value` and its `spread` over noise draws; one array per control; and, NaN
    outside the sampled episodes, `redrawn` (other noise) and `seen` (by a model that saw the episode in training).
    """
    import numpy as np

    from data.annotation import Annotations
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from pipelines.experience import episode_facts, labelled_ids, pack, picture_size
    from pipelines.value_workers import ValuePlan, shards_of
    from value_model.folds import assign_folds
    from value_model.models import family_of

    annotations = Annotations.from_json(inputs["annotations"].json())
    missing = set(annotations.by_id) - set(EpisodeSet.from_json(inputs["experience"].json()))
    if missing:
        raise ConfigError(f"{ctx.node}: annotations of {len(missing)} episodes that are not among the experience")
    ids = labelled_ids(annotations)
    store = EpisodeStore(ctx.workspace.episodes)
    # Packed here once, so that two workers do not wait for each other to do it.
    size = picture_size(store, ids, config.task, config.models.values())
    packed = pack(store, ids, ctx.workspace.cache, config.task, ctx.journal, image_size=size)
    facts = episode_facts(store, annotations, ids, packed.offsets, current=())
    strata = [
        f"{task}/{source.value}/{outcome.value}"
        for task, source, outcome in zip(facts.tasks, facts.sources, facts.outcomes, strict=True)
    ]
    folds = assign_folds(ids, strata, config.cross_fit)
    plan = ValuePlan(
        config=config,
        ids=ids,
        annotations=inputs["annotations"].json(),
        folds=tuple(folds.tolist()),
        episodes=ctx.workspace.episodes,
        cache=ctx.workspace.cache,
        scratch=ctx.scratch,
    )
    trained = _train(ctx, plan)
    sample = np.flatnonzero(_sampled(facts, config.sample))
    jobs: dict[str, Any] = {}
    for name in config.models:
        jobs |= shards_of(folds, size=config.shard_episodes, name=name, noise_seed=config.noise_seed)
    for episode in sample.tolist() if config.cross_fit > 1 else []:
        other, fold = config.noise_seed + 1, int(folds[episode])
        jobs[f"redrawn/{episode}"] = (f"redrawn/{episode}", "model", fold, (episode,), other)
        seen = (fold + 1) % config.cross_fit
        jobs[f"seen/{episode}"] = (f"seen/{episode}", "model", seen, (episode,), config.noise_seed)
    _label(ctx, plan, jobs)
    controls = [name for name in config.models if name != "model"]
    held_out, spread = _gather(plan, jobs, "model", packed.offsets)
    arrays = {"value": held_out, "spread": spread}
    for name in (*controls, *(("redrawn", "seen") if config.cross_fit > 1 and len(sample) else ())):
        arrays[name] = _gather(plan, jobs, name, packed.offsets)[0]
    out = ctx.out / "values"
    FrameTable(
        ids=ids,
        offsets=packed.offsets,
        arrays=arrays,
        facts={
            "model": family_of(config.model).name,
            "controls": controls,
            "folds": folds.tolist(),
            "draws": config.draws,
            "lookahead": dict.fromkeys(facts.task_ids, config.lookahead),
        },
    ).write(out)
    return {
        "models": DirOutput(ctx.scratch / "models"),
        "values": DirOutput(out),
        "training": JsonOutput({"folds": [row for row in trained.values() if row["name"] == "model"]}),
    }


def _train(ctx: StepContext, plan: ValuePlan) -> dict[str, dict[str, Any]]:
    """Every fold of every model, each once."""
    from pipelines.value_workers import make_value_trainer
    from value_model.bundle import is_whole

    config = plan.config
    jobs = {
        f"{name}/{fold}": (f"{name}/{fold}", name, fold) for name in config.models for fold in range(config.cross_fit)
    }
    ledger = Ledger(ctx.scratch / "trained.jsonl", key="key")
    return play_missing(
        ctx,
        ledger,
        jobs,
        role="value",
        make_worker=make_value_trainer,
        worker_args=(plan, ctx.journal),
        workers=config.workers,
        unit="folds",
        lost={key for key, (_, name, fold) in jobs.items() if not is_whole(plan.model_dir(name, fold))},
    )


def _label(ctx: StepContext, plan: ValuePlan, jobs: Mapping[str, Any]) -> None:
    from pipelines.value_workers import make_labeller

    play_missing(
        ctx,
        Ledger(ctx.scratch / "labelled.jsonl", key="key"),
        jobs,
        role="value",
        make_worker=make_labeller,
        worker_args=(plan, ctx.journal),
        workers=plan.config.workers,
        unit="shards",
        lost={key for key in jobs if not plan.shard(key).exists()},
    )


def _gather(plan: ValuePlan, jobs: Mapping[str, Any], name: str, offsets: IntArray) -> tuple[FloatArray, FloatArray]:
    """(value [N], spread [N]) from the shards of one kind; NaN where none was asked for."""
    import numpy as np

    table = np.full((2, int(offsets[-1])), np.nan, dtype=np.float32)
    for key, job in jobs.items():
        if key.split("/")[0] == name:
            rows = np.concatenate([np.arange(offsets[e], offsets[e + 1]) for e in job[3]])
            table[:, rows] = np.load(plan.shard(key), allow_pickle=False)
    return table[0], table[1]


def _sampled(facts: EpisodeFacts, count: int) -> BoolArray:
    """[E] True for `count` episodes, spread evenly over the order of ids."""
    import numpy as np

    chosen = np.zeros(facts.num_episodes, dtype=np.bool_)
    chosen[np.linspace(0, facts.num_episodes - 1, min(count, facts.num_episodes)).astype(np.int64)] = count > 0
    return chosen
