"""Attempts on a real robot as a recording: which there are to be made, and by whom. Its operator makes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipelines.operator import Slot, aborted_on_robot, attempts_on_robot, slot_of
from pipelines.steps.record.outputs import RecordedAttempt, Recording
from recap.step import Artifact, StepContext
from recap.types import Outcome, Source

if TYPE_CHECKING:
    from pipelines.steps.record.step import OnRobotConfig, RecordFacts

_CORRECTED = "corrected"


def record_on_robot(
    ctx: StepContext, config: OnRobotConfig, facts: RecordFacts, inputs: Mapping[str, Artifact]
) -> Recording:
    """The attempts that were asked for, and those that were aborted meanwhile.

    Raises:
        WaitingForOperator: attempts are still to be made.
    """
    policy, robot = inputs.get("policy"), inputs["robot"]
    alone = "you demonstrate" if policy is None else "the policy acts alone; take over to protect the robot only"
    slots: list[Slot] = [slot_of(ctx.workspace, f"alone/{n}", n, alone, policy) for n in range(config.attempts)]
    slots += [
        slot_of(ctx.workspace, f"{_CORRECTED}/{n}", config.attempts + n, "the policy acts; correct it (i, h)", policy)
        for n in range(config.corrections)
    ]
    rows = list(attempts_on_robot(ctx, robot, facts.task, slots, noise_seed=facts.noise_seed).values())
    rows += aborted_on_robot(ctx, robot, facts.task, slots)
    return Recording(
        task=facts.task,
        attempts=tuple(
            RecordedAttempt(
                episode_id=row["episode_id"],
                source=Source(row["source"]),
                outcome=Outcome(row["outcome"]),
                steps=row["steps"],
                human_steps=row["human_steps"],
                supervised=row["slot"].startswith(f"{_CORRECTED}/"),
            )
            for row in rows
        ),
    )
