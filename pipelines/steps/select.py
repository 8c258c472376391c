"""select: which of a training's candidates, and how strongly guided, on VALIDATION starts.

A lower loss is not a better policy, so checkpoints are compared by what they do. First the candidates, each plainly
(guidance as first listed); then the best of them with every other guidance. Owns that order and the choice.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.attempts import link_tree, pin_renderer, play_missing, starts_of
from pipelines.ledger import Ledger
from pipelines.world import ACTING, task_world
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.specs import Split, start_seeds
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectConfig:
    """Settings of one choice."""

    task: str
    """Task id, or several with commas between."""
    attempts: int = setting(
        24, minimum=0, maximum=100_000, help="VALIDATION starts per option and task; 0: the last candidate"
    )
    guidance: tuple[float, ...] = setting(
        (1.0,), minimum=0, help="strengths beta to try; the first is the one that candidates are compared with"
    )
    first_seed: int = setting(0, minimum=0, help="offset of the first start within the VALIDATION seeds")
    noise_seed: int = setting(0, minimum=0, help="seed of the policy's inference noise")
    renderer: str = setting("auto", choices=("auto", "egl", "osmesa", "ray"), help="image backend")
    image_size: int = setting(64, minimum=16, maximum=512, help="pixels, height and width of every camera")
    workers: int = setting(2, minimum=1, maximum=1024, semantic=False, help="evaluators working at once")

    def __post_init__(self) -> None:
        validate(self)
        if not self.guidance:
            raise ConfigError("SelectConfig.guidance: no strength to try, expected at least one, e.g. 1.0")

    @property
    def starts(self) -> list[int]:
        """Start seeds it plays; ConfigError if they leave their range."""
        return start_seeds(Split.VALIDATION, self.attempts, offset=self.first_seed)

    def refuse_untried(self) -> None:
        """Raises ConfigError if strengths are listed that no attempt would try."""
        if self.attempts == 0 and len(self.guidance) > 1:
            others = ", ".join(f"{beta:g}" for beta in self.guidance[1:])
            raise ConfigError(
                f"select: guidance {others} to try with 0 attempts each",
                hint=f"--set select.guidance={self.guidance[0]:g}   (or --set select.attempts=N)",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Option:
    """One policy that may be chosen."""

    step: int
    guidance: float
    path: Path

    @property
    def name(self) -> str:
        return f"step-{self.step:06d}-beta-{self.guidance:g}"


@step(
    name="select",
    version=1,
    config=SelectConfig,
    inputs=("candidates",),
    outputs=("policy", "selection"),
    libraries=("mujoco", "numpy", "torch"),
    code=(
        "data.task_list",
        "policy.models",
        "policy.models.pi05",
        "data.rollout",
        "data.tasks",
        "data.sim",
        "pipelines.attempts",
        "pipelines.workers",
        "policy.conditioning",
        "data.resize",
        "data.normalise",
        "recap.stats",
        "pipelines.summary",
    ),
    world=task_world(*ACTING, robot=True),
)
def select(ctx: StepContext, config: SelectConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, Output]:
    """Outputs the chosen policy bundle and how every option did."""
    from policy.models import candidates

    plain = config.guidance[0]
    found = candidates(inputs["candidates"].path)
    options = [_guided(ctx, step, path, plain) for step, path in found]
    scores: dict[str, dict[str, Any]] = {}
    if config.attempts == 0:
        config.refuse_untried()
        chosen = options[-1]
    else:
        chosen = _best(_play(ctx, config, options, scores), scores)
        guided = [
            _guided(ctx, chosen.step, path, beta)
            for beta in config.guidance[1:]
            for step, path in found
            if step == chosen.step
        ]
        chosen = _best([chosen, *_play(ctx, config, guided, scores)], scores)
    out = ctx.out / "policy"
    link_tree(chosen.path, out)
    selection = {
        "task": config.task,
        "split": "validation",
        "chosen": chosen.name,
        "candidates": list(scores.values())
        or [{"name": chosen.name, "step": chosen.step, "guidance": chosen.guidance, "attempts": 0, "successes": 0}],
    }
    ctx.journal.metrics({"chosen_step": float(chosen.step), "chosen_guidance": chosen.guidance}, step=0)
    return {"policy": DirOutput(out), "selection": JsonOutput(selection)}


def _guided(ctx: StepContext, step: int, path: Path, beta: float) -> _Option:
    """The candidate itself, or the same weights with another guidance, kept in scratch."""
    from policy.models import reguide

    if beta == 1.0:
        return _Option(step=step, guidance=beta, path=path)
    target = ctx.scratch / "guided" / f"{path.name}-beta-{beta:g}"
    shutil.rmtree(target, ignore_errors=True)  # a killed attempt may have left it half written
    reguide(path, target, beta)
    return _Option(step=step, guidance=beta, path=target)


def _play(
    ctx: StepContext,
    config: SelectConfig,
    options: Sequence[_Option],
    scores: dict[str, dict[str, Any]],
) -> Sequence[_Option]:
    from data.task_list import tasks_of
    from pipelines.summary import attempt_of, count_by_task
    from pipelines.workers import make_evaluator
    from recap.stats import is_success

    starts = starts_of(config.task, config.starts)
    max_steps = {task.spec.id: task.spec.max_steps for task in tasks_of(config.task)}
    rows = play_missing(
        ctx,
        Ledger(ctx.scratch / "attempts.jsonl", key="key"),
        {
            f"{o.name}/{key}": (f"{o.name}/{key}", str(o.path), start, False)
            for o in options
            for key, start in starts.items()
        },
        role="evaluator",
        make_worker=make_evaluator,
        worker_args=(
            pin_renderer(ctx, config.task, config.renderer, setting="select.renderer"),
            config.image_size,
            config.noise_seed,
            str(ctx.workspace.episodes),
        ),
        workers=config.workers,
    )
    for option in options:
        attempts = [attempt_of(rows[f"{option.name}/{key}"]) for key in starts]
        limits = [max_steps[task] for task, _ in starts.values()]
        won = [is_success(attempt) for attempt in attempts]
        scores[option.name] = {
            "name": option.name,
            "step": option.step,
            "guidance": option.guidance,
            "attempts": len(attempts),
            "successes": sum(won),
            **({"by_task": count_by_task([task for task, _ in starts.values()], won)} if len(max_steps) > 1 else {}),
            # A failure costs the whole time, however early it came: as in throughput.
            "steps_used": sum(a.steps if ok else limit for a, ok, limit in zip(attempts, won, limits, strict=True)),
        }
    return options


def _best(options: Sequence[_Option], scores: Mapping[str, Mapping[str, Any]]) -> _Option:
    """Most successes; among equals the faster, then the one trained longer, then the one listed first."""
    return max(
        options,
        key=lambda option: (scores[option.name]["successes"], -scores[option.name]["steps_used"], option.step),
    )
