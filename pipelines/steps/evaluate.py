"""evaluate: how often, and how fast, a policy succeeds from starts that nothing was tuned on.

Owns the choice of starts and the summary with its intervals; one attempt is played by `data.rollout`. Every finished
attempt survives a kill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.attempts import pin_renderer, play_missing
from pipelines.ledger import Ledger
from pipelines.summary import success_summary, throughput_summary
from pipelines.world import ACTING, task_world
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.specs import Split, start_seeds
from recap.step import Artifact, JsonOutput, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Settings of one evaluation."""

    task: str
    """Task id; one."""
    split: str = setting("test", choices=("validation", "gate", "test"), help="which starts")
    attempts: int = setting(120, minimum=1, maximum=1_000_000, help="starts to attempt, one attempt each")
    noise_seed: int = setting(0, minimum=0, help="seed of the policy's inference noise")
    films: int = setting(6, minimum=0, help="attempts recorded as whole episodes, for the report")
    renderer: str = setting("auto", choices=("auto", "egl", "osmesa", "ray"), help="image backend")
    image_size: int = setting(64, minimum=16, maximum=512, help="pixels, height and width of every camera")
    workers: int = setting(2, minimum=1, maximum=1024, semantic=False, help="evaluators working at once")

    def __post_init__(self) -> None:
        validate(self)
        if self.films > self.attempts:
            raise ConfigError(f"EvaluateConfig.films: {self.films} films of {self.attempts} attempts")

    @property
    def starts(self) -> list[int]:
        """Start seeds it plays; ConfigError if they leave their range."""
        return start_seeds(Split[self.split.upper()], self.attempts)


@step(
    name="evaluate",
    version=1,
    config=EvaluateConfig,
    inputs=("policy",),
    outputs=("evaluation", "timing"),
    libraries=("mujoco", "numpy", "torch"),
    code=(
        "policy.models.pi05",
        "data.rollout",
        "data.tasks",
        "data.sim",
        "recap.stats",
        "pipelines.attempts",
        "pipelines.summary",
        "pipelines.workers",
        "policy.models",
        "policy.conditioning",
        "data.resize",
        "data.normalise",
        "data.episode_file",
    ),
    world=task_world(*ACTING, "reset_s", robot=True),
)
def evaluate(ctx: StepContext, config: EvaluateConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, JsonOutput]:
    """Attempts every start once; outputs the attempts and their summary."""
    from data.tasks import TASKS
    from pipelines.workers import make_evaluator

    seeds = config.starts
    filmed = set(seeds[: config.films])
    renderer = pin_renderer(ctx, config.task, config.renderer, setting="evaluate.renderer")
    policy = str(inputs["policy"].path)
    played = play_missing(
        ctx,
        Ledger(ctx.scratch / "attempts.jsonl", key="key"),
        {seed: (seed, policy, (config.task, seed), seed in filmed) for seed in seeds},
        role="evaluator",
        make_worker=make_evaluator,
        worker_args=(renderer, config.image_size, config.noise_seed, str(ctx.workspace.episodes)),
        workers=config.workers,
    )
    rows = list(played.values())
    summary = success_summary(rows)
    throughput = throughput_summary(rows, TASKS.get(config.task).spec)
    ctx.journal.metrics({name: float(value) for name, value in (summary | throughput).items()}, step=0)
    kept = ("start_seed", "outcome", "steps", "human_steps", "metrics")
    evaluation = {
        "task": config.task,
        "split": config.split,
        "renderer": renderer,
        "policy_id": rows[0]["policy_id"],
        "attempts": [{name: row[name] for name in kept} for row in rows],
        "films": [
            {name: row[name] for name in ("start_seed", "episode_id", "outcome")}
            for row in rows
            if row["episode_id"] is not None
        ],
        "summary": summary,
    }
    # What the clock says is an output of its own: two runs of one seed then give equal evaluations.
    timing = {
        "attempts": [{"start_seed": row["start_seed"], "inference_s": row["inference_s"]} for row in rows],
        "summary": throughput,
    }
    return {"evaluation": JsonOutput(evaluation), "timing": JsonOutput(timing)}
