"""promote: does the challenger replace the champion? Both play the same gate starts until the test decides.

Owns who plays which start, resumably; the decision is `recap.gate`. The champion that comes out is the policy that
collects next, whatever the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.attempts import pin_renderer, play_missing, starts_of
from pipelines.ledger import Ledger
from pipelines.world import ACTING, task_world
from recap.config import setting, validate
from recap.gate import GateConfig
from recap.specs import Split, start_seeds
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step


@dataclass(frozen=True, kw_only=True, slots=True)
class PromoteConfig:
    """Settings of one promotion decision."""

    task: str
    """Task id, or several with commas between: their starts take turns, and one decision is made over all."""
    gate: GateConfig = field(default_factory=GateConfig)
    first_seed: int = setting(0, minimum=0, help="offset of the first start within the GATE seeds")
    noise_seed: int = setting(0, minimum=0, help="seed of the policies' inference noise, the same for both")
    renderer: str = setting("auto", choices=("auto", "egl", "osmesa", "ray"), help="image backend")
    image_size: int = setting(64, minimum=16, maximum=512, help="pixels, height and width of every camera")
    workers: int = setting(2, minimum=1, maximum=1024, semantic=False, help="evaluators working at once")

    def __post_init__(self) -> None:
        validate(self)

    @property
    def starts(self) -> list[int]:
        """Start seeds it plays; ConfigError if they leave their range."""
        return start_seeds(Split.GATE, self.gate.cap, offset=self.first_seed)


@step(
    name="promote",
    version=1,
    config=PromoteConfig,
    inputs=("champion", "challenger"),
    outputs=("champion", "decision"),
    libraries=("mujoco", "numpy", "torch"),
    code=(
        "data.task_list",
        "policy.models.pi05",
        "data.rollout",
        "data.tasks",
        "data.sim",
        "recap.gate",
        "recap.stats",
        "pipelines.attempts",
        "pipelines.workers",
        "policy.models",
        "policy.conditioning",
        "data.resize",
        "data.normalise",
        "pipelines.summary",
    ),
    world=task_world(*ACTING, robot=True),
)
def promote(ctx: StepContext, config: PromoteConfig, inputs: Mapping[str, Artifact]) -> Mapping[str, Output]:
    """Outputs the champion from now on and the decision with every attempt behind it."""
    from pipelines.attempts import link_tree
    from pipelines.summary import attempt_of
    from pipelines.workers import make_evaluator
    from recap.gate import decide, next_block
    from recap.stats import is_success

    # Tasks take turns, so that every look of the test sees them alike.
    starts = starts_of(config.task, config.starts)
    pairs = list(starts)[: config.gate.cap]
    renderer = pin_renderer(ctx, config.task, config.renderer, setting="promote.renderer")
    ledger = Ledger(ctx.scratch / "attempts.jsonl", key="key")
    players = {name: str(inputs[name].path) for name in ("champion", "challenger")}
    rows: dict[str, dict[str, Any]] = {}
    begun: list[str] = []
    won: dict[str, list[bool]] = {}
    decision = decide([], [], config.gate)
    while (block := next_block(decision)) is not None:
        begun = pairs[: block.stop]
        # Start by start and not player by player: a kill leaves whole pairs behind.
        jobs = {
            f"{name}/{key}": (f"{name}/{key}", players[name], starts[key], False) for key in begun for name in players
        }
        rows = play_missing(
            ctx,
            ledger,
            jobs,
            role="evaluator",
            make_worker=make_evaluator,
            worker_args=(renderer, config.image_size, config.noise_seed, str(ctx.workspace.episodes)),
            workers=config.workers,
        )
        won = {name: [is_success(attempt_of(rows[f"{name}/{key}"])) for key in begun] for name in players}
        aborted = [any(rows[f"{name}/{key}"]["outcome"] == "aborted" for name in players) for key in begun]
        decision = decide(won["champion"], won["challenger"], config.gate, aborted=aborted)
    chosen = "challenger" if decision.promoted else "champion"
    out = ctx.out / "champion"
    link_tree(inputs[chosen].path, out)
    difference = decision.difference
    ctx.journal.metrics(
        {
            "promoted": float(decision.promoted),
            "pairs": float(decision.pairs),
            **({} if difference is None else {"difference": difference.value}),
        },
        step=0,
    )
    played = [rows[key] for key in rows]
    by_task = _by_task(config.task, [starts[key][0] for key in begun], won)
    return {
        "champion": DirOutput(out, identity=inputs[chosen].identity),
        "decision": JsonOutput(
            {
                **decision.to_json(),
                "renderer": renderer,
                **({"tasks": by_task} if len(by_task) > 1 else {}),
                "champion_policy_id": _policy_id(played, "champion"),
                "challenger_policy_id": _policy_id(played, "challenger"),
                "attempts": [{"key": row["key"], "outcome": row["outcome"], "steps": row["steps"]} for row in played],
            }
        ),
    }


def _by_task(task: str, of_pairs: Sequence[str], won: Mapping[str, Sequence[bool]]) -> dict[str, dict[str, int]]:
    """{task: pairs, and successes of each player}: one decision over several tasks may hide a loss in one of them."""
    from data.task_list import task_ids
    from pipelines.summary import count_by_task

    counts = {
        "pairs": count_by_task(of_pairs, [True] * len(of_pairs)),
        **{name: count_by_task(of_pairs, made) for name, made in won.items()},
    }
    return {one: {name: found.get(one, 0) for name, found in counts.items()} for one in task_ids(task)}


def _policy_id(rows: list[dict[str, Any]], player: str) -> str:
    return str(next(row["policy_id"] for row in rows if row["key"].startswith(f"{player}/")))
