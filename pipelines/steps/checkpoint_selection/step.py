"""checkpoint_selection: which of a training's candidates, and how it acts, on VALIDATION starts.

A lower loss is not a better policy, so checkpoints are compared by what they do. First the candidates, each acting as
first listed; then the best of them with every other noise scale, then with every other guidance. The same rule for
every policy of a run. Owns that order and the choice.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pipelines.attempts import link_tree, pin_renderer, starts_of
from pipelines.facts import ACTING, ActingFacts, task_context
from pipelines.ledger import Ledger
from pipelines.steps.checkpoint_selection.outputs import Candidate, Selection
from policy.models import Acting, candidates, with_acting
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.specs import Split, start_seeds
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckpointSelectionConfig:
    """Settings of one choice."""

    attempts: int = setting(
        24, minimum=0, maximum=100_000, help="VALIDATION starts per option and task; 0: the last candidate"
    )
    guidance: tuple[float, ...] = setting(
        (1.0,), minimum=0, help="strengths beta to try; the first is the one that candidates are compared with"
    )
    noise_scale: tuple[float, ...] = setting(
        (1.0,),
        minimum=0,
        help="factors on the flow's starting noise to try (1: as trained, 0: none); candidates act by the first",
    )

    def __post_init__(self) -> None:
        validate(self)
        for name, listed in self._listed().items():
            if not listed:
                raise ConfigError(f"CheckpointSelectionConfig.{name}: nothing to try, expected at least one, e.g. 1.0")
            if len(set(listed)) != len(listed):
                raise ConfigError(f"CheckpointSelectionConfig.{name}: {listed} lists a number twice")

    def _listed(self) -> dict[str, tuple[float, ...]]:
        return {"guidance": self.guidance, "noise_scale": self.noise_scale}

    def refuse_untried(self) -> None:
        """Raises ConfigError if ways of acting are listed that no attempt would try."""
        for name, listed in self._listed().items():
            if self.attempts == 0 and len(listed) > 1:
                others = ", ".join(f"{number:g}" for number in listed[1:])
                raise ConfigError(
                    f"checkpoint_selection: {name} {others} to try with 0 attempts each",
                    hint="--set checkpoint_selection.guidance=1 --set checkpoint_selection.noise_scale=1   "
                    "(or --set checkpoint_selection.attempts=24)",
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectionFacts(ActingFacts):
    """What the graph says of a choice."""

    compare: bool = True
    """False where nothing can be attempted (offline): the last candidate."""
    guide: bool = True
    """False where the policy knows no other condition that a guidance could push away from (iteration 0)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Option:
    """One policy that may be chosen."""

    step: int
    acting: Acting
    path: Path

    @property
    def name(self) -> str:
        return f"step-{self.step:06d}-beta-{self.acting.guidance:g}-noise-{self.acting.noise_scale:g}"


@step(
    name="checkpoint_selection",
    version=2,
    config=CheckpointSelectionConfig,
    facts=SelectionFacts,
    inputs=("candidates",),
    outputs=("policy", "selection"),
    libraries=("mujoco", "numpy", "torch"),
    context=task_context(*ACTING, robot=True),
)
def checkpoint_selection(
    ctx: StepContext, config: CheckpointSelectionConfig, facts: SelectionFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, Output]:
    """Outputs the chosen policy bundle and how every option did (Selection)."""
    plain, *strengths = config.guidance if facts.guide and facts.compare else (1.0,)
    scale, *scales = config.noise_scale
    weights = dict(candidates(inputs["candidates"].path))
    first = Acting(guidance=plain, noise_scale=scale)
    options = [_acting(ctx, step, weights[step], first) for step in weights]
    scores: dict[str, Candidate] = {}
    if config.attempts == 0 or not facts.compare:
        if facts.compare:
            config.refuse_untried()
        chosen = options[-1]
        scores[chosen.name] = Candidate(
            name=chosen.name, step=chosen.step, **asdict(chosen.acting), attempts=0, successes=0
        )
    else:
        chosen = _best(_play(ctx, config, facts, options, scores), scores)
        for name, others in (("noise_scale", scales), ("guidance", strengths)):
            ways = [replace(chosen.acting, **{name: number}) for number in others]
            tried = [_acting(ctx, chosen.step, weights[chosen.step], way) for way in ways]
            chosen = _best([chosen, *_play(ctx, config, facts, tried, scores)], scores)
    out = ctx.out / "policy"
    link_tree(chosen.path, out)
    figures = {"chosen_step": float(chosen.step)} | {f"chosen_{k}": v for k, v in asdict(chosen.acting).items()}
    ctx.journal.metrics(figures, step=0)
    selection = Selection(tasks=facts.tasks, split="validation", chosen=chosen.name, candidates=tuple(scores.values()))
    return {"policy": DirOutput(out), "selection": JsonOutput.of(selection)}


def _acting(ctx: StepContext, step: int, path: Path, acting: Acting) -> _Option:
    """The candidate itself, or the same weights acting in another way, kept in scratch."""
    plain = _Option(step=step, acting=acting, path=path)
    if acting == Acting():
        return plain
    target = ctx.scratch / "acting" / plain.name
    shutil.rmtree(target, ignore_errors=True)  # a killed attempt may have left it half written
    with_acting(path, target, acting)
    return replace(plain, path=target)


def _play(
    ctx: StepContext,
    config: CheckpointSelectionConfig,
    facts: SelectionFacts,
    options: Sequence[_Option],
    scores: dict[str, Candidate],
) -> Sequence[_Option]:
    from data.task_list import tasks_of
    from pipelines.steps.evaluate.summary import attempt_of, count_by_task
    from pipelines.steps.evaluate.worker import play_policies
    from recap.stats import is_success

    starts = starts_of(facts.tasks, start_seeds(Split.VALIDATION, config.attempts, offset=facts.first_seed))
    max_steps = {task.spec.id: task.spec.max_steps for task in tasks_of(facts.tasks)}
    rows = play_policies(
        ctx,
        facts,
        Ledger(ctx.scratch / "attempts.jsonl", key="key"),
        {
            f"{o.name}/{key}": (f"{o.name}/{key}", str(o.path), start, False)
            for o in options
            for key, start in starts.items()
        },
        pin_renderer(ctx, facts),
    )
    for option in options:
        attempts = [attempt_of(rows[f"{option.name}/{key}"]) for key in starts]
        limits = [max_steps[task] for task, _ in starts.values()]
        won = [is_success(attempt) for attempt in attempts]
        scores[option.name] = Candidate(
            name=option.name,
            step=option.step,
            **asdict(option.acting),
            attempts=len(attempts),
            successes=sum(won),
            by_task=count_by_task([task for task, _ in starts.values()], won),
            steps_used=sum(a.steps if ok else limit for a, ok, limit in zip(attempts, won, limits, strict=True)),
        )
    return options


def _best(options: Sequence[_Option], scores: Mapping[str, Candidate]) -> _Option:
    """Most successes; among equals the faster, then the one trained longer, then the one listed first."""
    return max(
        options,
        key=lambda option: (scores[option.name].successes, -scores[option.name].steps_used, option.step),
    )
