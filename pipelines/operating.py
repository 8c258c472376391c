"""The attempts that a run waits for, made: a plan of `data.robots.session`. What counts of them: operator.py."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from data.robots.session import Kept, Turn
from pipelines.operator import NOTE, Attempts, Request, Slot
from recap.config import from_json
from recap.errors import ConfigError, UnknownName
from recap.types import Annotation, Outcome, Source
from recap.workspace import Workspace

_REPLAYED = 3
"""Demonstrations that a policy is asked about before it moves a robot."""

if TYPE_CHECKING:
    from data.robots.lerobot_config import RobotSetup
    from data.robots.replay import Replay
    from data.tasks import TaskDefinition
    from recap.protocols import PolicyClient
    from recap.training.config import RuntimeConfig


def read_request(workspace: Workspace, run: str | None) -> Request:
    """What a run waits for; of the run that asked last if None.

    Raises:
        UnknownName: no such run.
        ConfigError: it waits for no operator, or its note is not readable.
    """
    notes = {path.parent.name: path for path in workspace.runs.glob(f"*/{NOTE}")}
    if run is None and notes:
        run = max(notes, key=lambda name: notes[name].stat().st_mtime)
    if run is not None and not workspace.run_dir(run).is_dir():
        raise UnknownName.among("run", run, workspace.run_names(), hint="recap list")
    if run is None:
        raise ConfigError(
            f"no run in {workspace.root} waits for attempts on a robot", hint="recap run --task NAME --env FILE"
        )
    if run not in notes:
        raise ConfigError(f"run '{run}' waits for no attempts on a robot", hint=f"recap resume {shlex.quote(run)}")
    try:
        request = from_json(Request, json.loads(notes[run].read_bytes()))
    except (ValueError, ConfigError) as error:
        raise ConfigError(
            f"{notes[run]}: not what a waiting run writes ({error})", hint=f"recap resume {shlex.quote(run)}"
        ) from error
    for slot in request.slots:
        if slot.policy and not (workspace.root / slot.policy).resolve().is_relative_to(workspace.root.resolve()):
            raise ConfigError(f"{notes[run]}: policy {slot.policy}, expected one below {workspace.root}")
    return request


def policies_of(workspace: Workspace, request: Request, runtime: RuntimeConfig) -> dict[str, PolicyClient]:
    """{bundle: policy} of all that a request names, loaded."""
    from policy.client import LocalClient
    from policy.models import load_policy
    from recap.training.runtime import Runtime

    bundles = sorted({slot.policy for slot in request.slots if slot.policy})
    return {
        bundle: LocalClient(load_policy(workspace.root / bundle, runtime=Runtime.of(runtime))) for bundle in bundles
    }


def replayed(
    workspace: Workspace, clients: Mapping[str, PolicyClient], task: TaskDefinition, setup: RobotSetup, *, most: float
) -> list[Replay]:
    """What each policy says of recorded demonstrations.

    Raises:
        HealthError: as `data.robots.replay`.
    """
    from data.episodes import EpisodeStore
    from data.robots.replay import replay

    store = EpisodeStore(workspace.episodes)
    demos = [row.id for row in store.rows() if row.task == task.spec.id and row.source is Source.DEMO][-_REPLAYED:]
    episodes = [store.load(name) for name in demos] if clients else []
    return [
        replay(client, episodes, task.robot, setup, prompt=task.spec.prompt, most=most) for client in clients.values()
    ]


class Missing:
    """A plan of the attempts that are missing, each noted before it is stored."""

    def __init__(self, made: Attempts, client_of: Callable[[Slot], PolicyClient | None]) -> None:
        """`client_of` gives the policy of a slot; None for a person's."""
        self._made, self._client_of = made, client_of

    def recover(self, *, by: str) -> str:
        """Writes the label that a kill left out between an episode and it; the id of that episode, or ""."""
        rows = list(self._made.ledger.rows().values())
        if not rows or rows[-1]["episode_id"] not in self._made.store.files():
            return ""
        episode = str(rows[-1]["episode_id"])
        if any(episode in entry.labels for entry in self._made.book.entries()):
            return ""
        self._made.book.record(Annotation(episode_id=episode, outcome=Outcome(rows[-1]["outcome"])), by=by)
        return episode

    def progress(self, kept: Sequence[Kept]) -> tuple[int, int]:
        """How many slots are filled, and how many there are."""
        return len(self._made.filled()), len(self._made.slots)

    def next(self, kept: Sequence[Kept]) -> Turn | None:
        """The first slot, in order, that is not filled.

        A policy that asks for what must not be sent has failed: were it aborted and made again, the worse policy would
        be measured by its better attempts.
        """
        filled = self._made.filled()
        slot = next((slot for key, slot in self._made.slots.items() if key not in filled), None)
        if slot is None:
            return None
        return Turn(
            policy=self._client_of(slot), number=slot.number, slot=slot.key, remark=slot.remark, stopped=Outcome.FAILURE
        )

    def note(self, one: Kept, episode_id: str, outcome: Outcome) -> None:
        """Appends the attempt's line."""
        slot = self._made.slots[one.slot]
        self._made.ledger.append(
            {
                "attempt": f"{one.slot}@{episode_id}",
                "episode_id": episode_id,
                "slot": one.slot,
                "key": one.slot,
                "devices": self._made.request.devices,
                "policy_id": slot.policy_id,
                "start_seed": slot.number,
                "source": one.source,
                "outcome": outcome.value,
                "steps": one.steps,
                "human_steps": one.human_steps,
                # A step in which the policy was late is one of `steps`: its time is counted there.
                "inference_s": 0.0,
                "metrics": {
                    "late_steps": one.pace.late,
                    "stale_steps": len(one.stale_steps),
                    "held_s": one.inference_s,
                },
                "at": time.time(),
            }
        )
