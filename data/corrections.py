"""Attempts of a policy under the eyes of a supervisor: the expert takes over when it goes wrong, and hands back.

Owns when to take over and when to hand back, and the record of who acted. The supervisor sees the scene as a person
does: it reads the simulator's truth, which no model may. Knows no task, no cloth and no network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from data.rollout import ChunkPlayer, Recorder
from data.sim.seeds import derive
from data.tasks import Expert, SimTask
from recap.config import setting, validate
from recap.protocols import Policy, SimulatedRobot
from recap.types import Attempt, EpisodeDraft, Event, PrivilegedTruth, Source

ERROR, NEUTRAL, MILESTONE = -1, 0, 1
MISPLACED, STALL = "misplaced", "stall"
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


def rollout_with_corrections(
    task: SimTask,
    robot: SimulatedRobot,
    policy: Policy,
    seed: int,
    *,
    noise_seed: int,
    execute: int,
    correction: CorrectionConfig,
) -> tuple[Attempt, EpisodeDraft, PrivilegedTruth]:
    """One recorded attempt of `policy` from the start state of `seed`, with the expert's help where it goes wrong.

    An error event, or `patience_steps` without progress, calls the expert; it acts after `reaction_steps`, until it
    has let go after a milestone of its own, and the policy goes on with a new chunk. All steps count towards the time
    limit, whoever acts. Without a take-over the attempt is bit-identical to `data.rollout.rollout`. A pure function of
    its arguments (inference time apart).

    Args:
        task: What to do.
        robot: A robot of that task; its state is overwritten.
        policy: Gives [H, A] per call; its first `execute` actions are sent before it is asked again.
        seed: Start seed.
        noise_seed: Seed of the policy's randomness and of the expert's target noise.
        execute: Actions sent per chunk, 1..H.
        correction: When to take over.

    Returns:
        The attempt (`human_steps`: steps of the expert; metrics: those of the detector and "takeovers"); the episode,
        a CORRECTION if the expert acted at all, else a ROLLOUT; the simulator's truth, with the neutral events
        "takeover:<reason>" (expert's first step) and "hand_back" (policy's next step).

    Raises:
        ConfigError: `execute` is below 1.
        RecapError: the policy gives too few actions or the wrong shape.
    """
    player = ChunkPlayer(task, robot, policy, seed, noise_seed=noise_seed, execute=execute)
    robot.reset(seed)
    recorder, supervisor = Recorder(), Supervisor(correction)
    supervisor.start(robot.truth())
    changes: list[Event] = []
    expert: Expert | None = None
    milestones = steps = human_steps = takeovers = 0
    while not robot.finished:
        truth = robot.truth()
        if expert is not None and _may_go(expert, truth, milestones, task.spec.max_steps - correction.hand_back_steps):
            expert = None
            supervisor.start(truth)
            player.forget()
            changes.append(Event(t=steps, name="hand_back", kind=NEUTRAL))
        elif expert is None and takeovers < correction.max_takeovers:
            reason = supervisor.watch(truth)
            if reason is not None:
                takeovers += 1
                milestones = _milestones(truth)
                expert = task.make_takeover(robot, derive("takeover", seed, noise_seed, takeovers))
                changes.append(Event(t=steps, name=f"takeover:{reason}", kind=NEUTRAL))
        state, frames = robot.state(), robot.frames()
        action = player.action(state, frames, steps) if expert is None else expert.act()
        recorder.add(state, frames, action, intervened=expert is not None)
        robot.step(action)
        steps += 1
        human_steps += expert is not None
    truth = robot.truth()
    if changes:
        truth = replace(truth, events=tuple(sorted([*truth.events, *changes], key=lambda event: event.t)))
    attempt = Attempt(
        start_seed=seed,
        outcome=truth.outcome,
        steps=steps,
        inference_s=player.late_s,
        human_steps=human_steps,
        metrics={**truth.metrics, "takeovers": takeovers},
    )
    source = Source.CORRECTION if human_steps else Source.ROLLOUT
    return attempt, recorder.draft(task, robot, seed, source=source, policy_id=policy.policy_id), truth


def _milestones(truth: PrivilegedTruth) -> int:
    return sum(event.kind == MILESTONE for event in truth.events)


def _may_go(expert: Expert, truth: PrivilegedTruth, milestones: int, latest: int) -> bool:
    """The expert has nothing left to do, or has let go after a milestone with time left for the policy."""
    if expert.done:
        return True
    return expert.rested and _milestones(truth) > milestones and len(truth.progress) <= latest
