"""Attempts on a robot: what a run asks of its operator, and what there is of it.

    <workspace>/runs/<run>/operator.json       what is missing, for `recap robot`
    <workspace>/runs/<run>/robot/<node>.jsonl  one line per attempt, then its episode, then its label

A step asks for slots, each filled by one attempt that is judged success or failure, on the same devices and with the
same weights. What counts is what people say of the episode now. Who makes the attempts: operating.py.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.ledger import Ledger
from recap.errors import WaitingForOperator
from recap.files import write_atomic
from recap.step import Artifact, StepContext
from recap.types import JUDGED, Annotation, Outcome
from recap.workspace import Workspace, workspace_option

NOTE = "operator.json"
CAMERAS = "camera"
"""What steps on a robot name as their image backend."""
ALONE = "the policy acts alone; with any help it is no success"


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """One attempt that a step needs."""

    key: str
    """Of its own within the node."""
    number: int
    """The noise of the policy depends on it."""
    remark: str
    """What the operator is told when it begins."""
    policy: str = ""
    """Bundle, below the workspace; "": a person acts."""
    policy_id: str = ""
    """Identity of its weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a step that waits needs."""

    run: str
    node: str
    task: str
    devices: str
    """Identity of the robot and the teleoperator that attempts count for."""
    named: Mapping[str, Any]
    """Those two as the run's --env file named them: {"robot": {"type": ..., "id": ...}, ...}."""
    noise_seed: int
    slots: tuple[Slot, ...]
    """All of them, in the order that they are to be made in; those that are filled already too."""


def slot_of(workspace: Workspace, key: str, number: int, remark: str, policy: Artifact | None) -> Slot:
    """A slot for a policy, or for a person."""
    if policy is None:
        return Slot(key=key, number=number, remark=remark)
    bundle = str(policy.path.relative_to(workspace.root))
    return Slot(key=key, number=number, remark=remark, policy=bundle, policy_id=policy.identity)


def attempts_on_robot(
    ctx: StepContext, robot: Artifact, task: str, slots: Sequence[Slot], *, noise_seed: int
) -> dict[str, dict[str, Any]]:
    """{slot: row of the attempt that fills it}, in order of `slots`; each row as a worker of a simulator returns it.

    Raises:
        WaitingForOperator: attempts are missing; the note that `recap robot` reads is on disk.
    """
    request = _request(ctx, robot, task, slots, noise_seed=noise_seed)
    attempts = Attempts(ctx.workspace, request)
    rows = attempts.filled()
    ctx.journal.progress(len(rows), len(slots), "attempts")
    note = ctx.workspace.run_dir(ctx.run_name) / NOTE
    if len(rows) < len(slots):
        write_atomic(note, json.dumps(asdict(request), indent=1).encode())
        raise WaitingForOperator(
            f"{ctx.node}: {len(slots) - len(rows)} of {len(slots)} attempts on the robot are still to be made"
            + attempts.left_out(),
            hint=robot_command(ctx.run_name, ctx.workspace.root),
        )
    note.unlink(missing_ok=True)
    return {slot.key: rows[slot.key] for slot in slots}


def aborted_on_robot(ctx: StepContext, robot: Artifact, task: str, slots: Sequence[Slot]) -> list[dict[str, Any]]:
    """Rows of the attempts for `slots` that were aborted, each made again."""
    return Attempts(ctx.workspace, _request(ctx, robot, task, slots)).aborted()


def _request(ctx: StepContext, robot: Artifact, task: str, slots: Sequence[Slot], *, noise_seed: int = 0) -> Request:
    return Request(
        run=ctx.run_name,
        node=ctx.node,
        task=task,
        devices=robot.identity,
        named=robot.json(),
        noise_seed=noise_seed,
        slots=tuple(slots),
    )


def robot_command(run: str, root: Path) -> str:
    """The command line with which an operator makes the attempts."""
    return shlex.join(["recap", "robot", run, *workspace_option(root)])


class Attempts:
    """The attempts of one node that were made, and which of them count."""

    def __init__(self, workspace: Workspace, request: Request) -> None:
        from data.annotation import LabelBook
        from data.episodes import EpisodeStore

        self.request = request
        self.slots = {slot.key: slot for slot in request.slots}
        self.store, self.book = EpisodeStore(workspace.episodes), LabelBook(workspace.root / "labels")
        folder = workspace.run_dir(request.run) / "robot"
        # Not by the episode alone: a simulated robot may record the same twice, and each was an attempt.
        self.ledger = Ledger(folder / f"{request.node.replace('/', '-')}.jsonl", key="attempt")

    def filled(self) -> dict[str, dict[str, Any]]:
        """{slot: row}, with what people say of the episode now as its outcome; the latest attempt of a slot counts."""
        return {row["slot"]: row for row in self._judged() if Outcome(row["outcome"]) in JUDGED}

    def aborted(self) -> list[dict[str, Any]]:
        """Rows of the attempts that were called aborted."""
        return [row for row in self._judged() if row["outcome"] == Outcome.ABORTED]

    def left_out(self) -> str:
        """What lies in the log and does not count, for a message; "" if nothing."""
        others = sum(not self._counts(row) for row in self.ledger.rows().values())
        return f"; {others} made before do not count: of other devices or of other weights" if others else ""

    def _counts(self, row: Mapping[str, Any]) -> bool:
        slot = self.slots.get(row["slot"])
        # More slots than before are asked for as fewer are: what is not asked for is no stranger.
        return row["devices"] == self.request.devices and (slot is None or slot.policy_id == row["policy_id"])

    def _judged(self) -> list[dict[str, Any]]:
        """The rows of slots asked for whose episode is there and judged."""
        rows = [row for row in self.ledger.rows().values() if row["slot"] in self.slots and self._counts(row)]
        labels: Mapping[str, Annotation] = self.book.annotations() if rows else {}
        there = self.store.files() if rows else {}
        return [
            {**row, "outcome": labels[row["episode_id"]].outcome.value}
            for row in rows
            if row["episode_id"] in labels and row["episode_id"] in there
        ]
