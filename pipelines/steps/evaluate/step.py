"""evaluate: how often, and how fast, a policy succeeds from starts that nothing was tuned on.

Owns the choice of starts and the summary with its intervals; one attempt is played by `data`. Every finished attempt
survives a kill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.attempts import pin_renderer
from pipelines.facts import ACTING, ActingFacts, task_context
from pipelines.ledger import Ledger
from pipelines.operator import ALONE, CAMERAS, attempts_on_robot, slot_of
from pipelines.steps.evaluate.outputs import (
    AttemptTiming,
    EvaluatedAttempt,
    Evaluation,
    Film,
    Timing,
)
from pipelines.steps.evaluate.summary import attempt_of, success_summary, throughput_summary
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.specs import Split, start_seeds
from recap.step import Artifact, JsonOutput, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """Settings of one evaluation."""

    split: str = setting("test", choices=("validation", "gate", "test"), help="which starts")
    attempts: int = setting(120, minimum=1, maximum=1_000_000, help="starts to attempt, one attempt each")
    films: int = setting(6, minimum=0, help="attempts recorded as whole episodes, for the report")

    def __post_init__(self) -> None:
        validate(self)
        if self.films > self.attempts:
            raise ConfigError(f"EvaluateConfig.films: {self.films} films of {self.attempts} attempts")


@step(
    name="evaluate",
    version=2,
    config=EvaluateConfig,
    facts=ActingFacts,
    inputs=("policy",),
    optional=("robot",),
    outputs=("evaluation", "timing"),
    libraries=("mujoco", "numpy", "torch"),
    context=task_context(*ACTING, "reset_s", robot=True),
)
def evaluate(
    ctx: StepContext, config: EvaluateConfig, facts: ActingFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, JsonOutput]:
    """Attempts every start once; outputs the attempts and their summary (Evaluation, Timing).

    With `robot` its operator makes the attempts, and starts are numbers only.

    Raises:
        WaitingForOperator: attempts on the robot are still to be made.
    """
    from data.tasks import TASKS
    from pipelines.steps.evaluate.worker import play_policies

    task = facts.tasks[0]
    seeds = start_seeds(Split[config.split.upper()], config.attempts, offset=facts.first_seed)
    filmed = set(seeds[: config.films])
    if "robot" in inputs:
        renderer = CAMERAS
        slots = [slot_of(ctx.workspace, str(seed), seed, ALONE, inputs["policy"]) for seed in seeds]
        played: dict[Any, dict[str, Any]] = dict(
            attempts_on_robot(ctx, inputs["robot"], task, slots, noise_seed=facts.noise_seed)
        )
    else:
        renderer = pin_renderer(ctx, facts)
        policy = str(inputs["policy"].path)
        played = play_policies(
            ctx,
            facts,
            Ledger(ctx.scratch / "attempts.jsonl", key="key"),
            {seed: (seed, policy, (task, seed), seed in filmed) for seed in seeds},
            renderer,
        )
    rows = list(played.values())
    attempts = [attempt_of(row) for row in rows]
    success, throughput = success_summary(attempts), throughput_summary(attempts, TASKS.get(task).spec)
    figures = {**asdict(success), **asdict(throughput)}
    ctx.journal.metrics({name: float(value) for name, value in figures.items()}, step=0)
    evaluation = Evaluation(
        task=task,
        split=config.split,
        renderer=renderer,
        policy_id=rows[0]["policy_id"],
        attempts=tuple(
            EvaluatedAttempt(
                start_seed=one.start_seed,
                outcome=one.outcome,
                steps=one.steps,
                human_steps=one.human_steps,
                metrics=row["metrics"],
            )
            for one, row in zip(attempts, rows, strict=True)
        ),
        films=tuple(
            Film(start_seed=one.start_seed, episode_id=row["episode_id"], outcome=one.outcome)
            for one, row in zip(attempts, rows, strict=True)
            # On a robot every attempt is an episode.
            if row["episode_id"] is not None and one.start_seed in filmed
        ),
        summary=success,
    )
    timing = Timing(
        attempts=tuple(AttemptTiming(start_seed=one.start_seed, inference_s=one.inference_s) for one in attempts),
        summary=throughput,
    )
    return {"evaluation": JsonOutput.of(evaluation), "timing": JsonOutput.of(timing)}
