"""gate: does the challenger replace the champion? Both play the same GATE starts until the test decides.

Owns who plays which start, resumably; the decision is `recap.gate`. The champion that comes out is the policy that
collects next, whatever the verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.attempts import link_tree, pin_renderer, starts_of
from pipelines.facts import ACTING, ActingFacts, task_context
from pipelines.ledger import Ledger
from pipelines.operator import CAMERAS
from pipelines.steps.gate.outputs import GateAttempt, GateResult, TaskPairs
from pipelines.steps.gate.robot import PLAYERS, play_on_robot
from recap.gate import GateConfig
from recap.specs import Split, start_seeds
from recap.step import Artifact, DirOutput, JsonOutput, Output, StepContext, step
from recap.types import Outcome


@step(
    name="gate",
    version=1,
    config=GateConfig,
    facts=ActingFacts,
    inputs=PLAYERS,
    optional=("robot",),
    outputs=("champion", "decision"),
    libraries=("mujoco", "numpy", "torch"),
    context=task_context(*ACTING, robot=True),
)
def gate(
    ctx: StepContext, config: GateConfig, facts: ActingFacts, inputs: Mapping[str, Artifact]
) -> Mapping[str, Output]:
    """Outputs the champion from now on, and the decision (GateResult).

    With `robot` its operator makes the attempts of both, in an order that he is not told (robot.py).

    Raises:
        WaitingForOperator: attempts on the robot are still to be made.
    """
    from pipelines.steps.evaluate.summary import attempt_of
    from pipelines.steps.evaluate.worker import play_policies
    from recap.gate import decide, next_block
    from recap.stats import is_success

    # Tasks take turns, so that every look of the test sees them alike.
    starts = starts_of(facts.tasks, start_seeds(Split.GATE, config.cap, offset=facts.first_seed))
    pairs = list(starts)[: config.cap]
    on_robot = "robot" in inputs
    renderer = CAMERAS if on_robot else pin_renderer(ctx, facts)
    ledger = Ledger(ctx.scratch / "attempts.jsonl", key="key")
    rows: dict[str, dict[str, Any]] = {}
    begun: list[str] = []
    won: dict[str, list[bool]] = {name: [] for name in PLAYERS}
    decision = decide([], [], config)
    while (block := next_block(decision)) is not None:
        begun = pairs[: block.stop]
        if on_robot:
            rows = play_on_robot(ctx, facts, inputs, pairs, begun)
        else:
            # Start by start and not player by player: a kill leaves whole pairs behind.
            jobs = {
                f"{name}/{key}": (f"{name}/{key}", str(inputs[name].path), starts[key], False)
                for key in begun
                for name in PLAYERS
            }
            rows = play_policies(ctx, facts, ledger, jobs, renderer)
        won = {name: [is_success(attempt_of(rows[f"{name}/{key}"])) for key in begun] for name in PLAYERS}
        aborted = [any(rows[f"{name}/{key}"]["outcome"] == Outcome.ABORTED for name in PLAYERS) for key in begun]
        decision = decide(won["champion"], won["challenger"], config, aborted=aborted, paired=not on_robot)
    chosen = "challenger" if decision.promoted else "champion"
    out = ctx.out / "champion"
    link_tree(inputs[chosen].path, out)
    figures = {"promoted": float(decision.promoted), "pairs": float(decision.pairs)}
    if decision.difference is not None:
        figures["difference"] = decision.difference.value
    ctx.journal.metrics(figures, step=0)
    played = list(rows.values())
    ids = {name: next(row["policy_id"] for row in played if row["key"].startswith(f"{name}/")) for name in PLAYERS}
    result = GateResult(
        decision=decision,
        renderer=renderer,
        champion_policy_id=ids["champion"],
        challenger_policy_id=ids["challenger"],
        attempts=tuple(
            GateAttempt(key=row["key"], outcome=Outcome(row["outcome"]), steps=row["steps"]) for row in played
        ),
        tasks=_by_task(facts.tasks, [starts[key][0] for key in begun], won, aborted),
    )
    return {"champion": DirOutput(out, identity=inputs[chosen].identity), "decision": JsonOutput.of(result)}


def _by_task(
    tasks: Sequence[str], of_pairs: Sequence[str], won: Mapping[str, Sequence[bool]], aborted: Sequence[bool]
) -> dict[str, TaskPairs]:
    from pipelines.steps.evaluate.summary import count_by_task

    counts = [not left_out for left_out in aborted]
    pairs = count_by_task(of_pairs, counts)
    successes = {
        name: count_by_task(of_pairs, [a and b for a, b in zip(made, counts, strict=True)])
        for name, made in won.items()
    }
    return {
        task: TaskPairs(pairs=pairs.get(task, 0), **{name: found.get(task, 0) for name, found in successes.items()})
        for task in tasks
    }
