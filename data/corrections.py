"""A policy under the eyes of a supervisor: the expert takes over when it goes wrong, and hands back.

The supervisor sees the scene as a person does: it reads the simulator's truth, which no model may.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from data.attempt import Actor, ChunkPlayer, ExpertActor
from data.sim.seeds import derive
from data.tasks import Expert, SimTask
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.protocols import SimulatedEnv
from recap.types import Event, PrivilegedTruth

ERROR, NEUTRAL, MILESTONE = -1, 0, 1
MISPLACED, STALL = "misplaced", "stall"
TAKEOVER = "takeover:"
"""How the name of the event of a take-over begins; its reason follows."""
TRIES = 2
"""Grasps without a gain that show good will: each starts the patience anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorrectionConfig:
    """How patient the supervisor is and how long the expert stays."""

    patience_steps: int = setting(
        30,
        minimum=1,
        help="control steps without a gain of true progress or a new grasp that count as a stall",
    )
    min_gain: float = setting(
        0.03, above=0, maximum=1, help="a gain of true progress (0..1) smaller than this does not end a stall"
    )
    reaction_steps: int = setting(
        5, minimum=0, help="control steps between seeing that it goes wrong and the expert's first action"
    )
    max_takeovers: int = setting(3, minimum=0, help="take-overs per attempt; 0: watch only, a plain rollout")
    hand_back_steps: int = setting(
        70,
        minimum=0,
        help="the expert hands back only while this many control steps are left; later it finishes the job itself",
    )

    def __post_init__(self) -> None:
        validate(self)


class Supervisor:
    """Decides when to take over, from the truth so far. One per attempt; `watch` before each step of the policy."""

    def __init__(self, config: CorrectionConfig) -> None:
        self._config = config
        self._seen = 0
        self._best = 0.0
        self._since = 0
        self._tries = 0
        self._lifted_at: float | None = None
        self._alarm: tuple[int, str] | None = None

    def start(self, truth: PrivilegedTruth) -> None:
        """The policy has the controls from now on: what happened before is forgiven."""
        self._seen = len(truth.events)
        self._best, self._since = truth.metrics["final_progress"], len(truth.progress)
        self._lifted_at = self._alarm = None
        self._tries = 0

    def watch(self, truth: PrivilegedTruth) -> str | None:
        """Why the expert must act now, or None: the name of the first error, "misplaced", or "stall".

        An error stands once seen. The others are doubts: a sub-goal reached, or for a stall a gain of progress or a new
        try, within the reaction time dispels them.
        """
        step, progress = len(truth.progress), truth.metrics["final_progress"]
        news = truth.events[self._seen :]
        self._seen = len(truth.events)
        gained = progress >= self._best + self._config.min_gain
        reached = any(event.kind == MILESTONE for event in news)
        if gained:
            self._best, self._since, self._tries = progress, step, 0
        tries_again = not gained and self._tries < TRIES and any(event.name.startswith("grasped_") for event in news)
        if tries_again:
            self._since, self._tries = step, self._tries + 1
        doubt = None if self._alarm is None else self._alarm[1]
        if (doubt in (MISPLACED, STALL) and reached) or (doubt == STALL and (gained or tries_again)):
            self._alarm = None
        error = next((event.name for event in news if event.kind == ERROR), None)
        if error is not None and (self._alarm is None or doubt in (MISPLACED, STALL)):
            began = step if self._alarm is None else self._alarm[0]
            self._alarm = (began, error)
        moved = self._moved(news, progress)
        if self._alarm is None and moved and not reached:
            self._alarm = (step, MISPLACED)
        if self._alarm is None and step - self._since >= self._config.patience_steps:
            self._alarm = (step, STALL)
        if self._alarm is not None and step - self._alarm[0] >= self._config.reaction_steps:
            return self._alarm[1]
        return None

    def _moved(self, news: tuple[Event, ...], progress: float) -> bool:
        """Something was let go that lies otherwise than where it was taken up."""
        names = [event.name for event in news]
        if self._lifted_at is None and any(name.startswith("grasped_") for name in names):
            self._lifted_at = progress
        if self._lifted_at is None or not any(name.startswith("released_") for name in names):
            return False
        before, self._lifted_at = self._lifted_at, None
        return abs(progress - before) >= self._config.min_gain


def supervised(
    task: SimTask,
    env: SimulatedEnv,
    player: ChunkPlayer,
    seed: int,
    *,
    noise_seed: int,
    config: CorrectionConfig,
    changes: list[Event],
) -> Iterator[Actor]:
    """Who has the controls in an attempt of a policy with an expert beside it, for `data.attempt.attempt`.

    An error event, or `patience_steps` without progress, calls the expert; it acts after `reaction_steps`, until it
    has let go after a milestone of its own, and the policy goes on with a new chunk. `changes` gets the neutral events
    "takeover:<reason>" (expert's first step) and "hand_back" (policy's next step).

    Raises:
        ConfigError: no expert takes over in this environment.
    """
    if not env.capabilities.takeover:
        raise ConfigError(
            f"task '{task.spec.id}': no expert takes over in its environment", hint="--set rollouts.corrections=0"
        )
    latest = task.spec.max_steps - config.hand_back_steps
    supervisor = Supervisor(config)
    supervisor.start(env.truth())
    expert: Expert | None = None
    milestones = takeovers = 0
    while not env.finished:
        truth = env.truth()
        step = len(truth.progress)
        if expert is not None and _may_go(expert, truth, milestones, latest):
            expert = None
            supervisor.start(truth)
            player.begin()
            changes.append(Event(t=step, name="hand_back", kind=NEUTRAL))
        elif expert is None and takeovers < config.max_takeovers:
            reason = supervisor.watch(truth)
            if reason is not None:
                takeovers += 1
                milestones = _milestones(truth)
                expert = task.make_takeover(env, derive("takeover", seed, noise_seed, takeovers))
                changes.append(Event(t=step, name=f"{TAKEOVER}{reason}", kind=NEUTRAL))
        yield player if expert is None else ExpertActor(expert)


def _milestones(truth: PrivilegedTruth) -> int:
    return sum(event.kind == MILESTONE for event in truth.events)


def _may_go(expert: Expert, truth: PrivilegedTruth, milestones: int, latest: int) -> bool:
    """The expert has nothing left to do, or has let go after a milestone with time left for the policy."""
    if expert.done:
        return True
    return expert.rested and _milestones(truth) > milestones and len(truth.progress) <= latest
