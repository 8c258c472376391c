"""One attempt on a robot: a policy acts, a person acts, or both in turn, until the operator judges it.

Owns the control loop and who has the controls. The whole attempt is one recording, whoever acted at which step. Stores
nothing and keeps no verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from data.robots.keyboard import Key
from data.robots.lerobot_robot import Leader, LeRobotRobot
from data.robots.pace import PaceReport
from data.robots.signals import StopSignals
from data.rollout import ChunkPlayer, Recorder, versions
from data.tasks import SimTask
from recap import faults
from recap.errors import ActionRefused, ConfigError
from recap.protocols import Policy
from recap.types import EpisodeDraft, Outcome, Source

VERDICTS = {Key.SUCCESS: Outcome.SUCCESS, Key.FAILURE: Outcome.FAILURE, Key.STOP: Outcome.ABORTED, Key.DISCARD: None}
"""What a key makes of an attempt; None: it is not kept."""


class Keys(Protocol):
    """Where the operator's keys come from."""

    def read(self, *, wait_s: float = 0.0) -> list[Key]: ...

    def forget(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Cast:
    """Who can act, and on what."""

    task: SimTask
    robot: LeRobotRobot
    leader: Leader | None
    """The person at the teleoperator; None: nobody can take over."""
    policy: Policy | None
    """None: demonstrations, the person acts throughout."""
    noise_seed: int = 0
    """Seed of the policy's randomness."""

    def __post_init__(self) -> None:
        if self.leader is None and self.policy is None:
            raise ConfigError(
                "nobody to act: expected a teleoperator, a policy, or both",
                hint="recap data record ... --teleop-config FILE   (or --policy BUNDLE, or both)",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """An attempt that is over."""

    draft: EpisodeDraft | None
    """What was recorded; None if it ended before the first step."""
    outcome: Outcome | None
    """None: discarded."""
    note: str
    """Why, where the operator did not say it with a key of its own; else empty."""
    human_steps: int
    stale_steps: tuple[int, ...]
    """Steps that went on with an earlier reading of the robot or the teleoperator."""
    pace: PaceReport
    inference_s: float
    """Seconds of inference beyond the control period."""
    leave: bool
    """The operator wants to end the session."""
    error: Exception | None
    """What ended it, if it was neither the operator nor the time limit."""


class Attempt:
    """The loop of one attempt. Call `play` once."""

    def __init__(self, cast: Cast, number: int, *, keys: Keys, stop: StopSignals, say: Callable[[str], None]) -> None:
        """`number` counts the attempts of a session; the policy's noise depends on it."""
        self._cast, self._keys, self._stop, self._say = cast, keys, stop, say
        self._recorder = Recorder()
        self._player = (
            None
            if cast.policy is None
            else ChunkPlayer(
                cast.task,
                cast.robot,
                cast.policy,
                number,
                noise_seed=cast.noise_seed,
                execute=cast.policy.execute,
            )
        )
        self._number = number
        self._human = False
        self._steps = self._human_steps = 0
        self._stale_steps: list[int] = []

    def play(self) -> Played:
        """Plays until a verdict, the time limit, a wish to stop, or an error; whatever it was, what was recorded stays.

        A refused action, a fault of the robot, an error of the policy and an operator who stops make it ABORTED.
        """
        robot = self._cast.robot
        leave, note, error = False, "", None
        outcome: Outcome | None
        try:
            robot.reset(self._number)
            if self._player is None:
                self._take_over()
            while True:
                ended = self._look_at_keys()
                if ended is not None:
                    outcome, note, leave = ended
                    break
                if self._steps >= self._cast.task.spec.max_steps:
                    outcome, note = Outcome.FAILURE, "time limit"
                    break
                self._step()
        # An attempt is kept whatever ends it: the session raises what is not the operator's to deal with.
        except Exception as caught:
            outcome, error = Outcome.ABORTED, caught
            note = str(caught).splitlines()[0] if str(caught) else type(caught).__name__
        return Played(
            draft=self._draft(),
            outcome=outcome,
            note=note,
            human_steps=self._human_steps,
            stale_steps=tuple(self._stale_steps),
            pace=robot.pace(),
            inference_s=self._player.late_s if self._player is not None else 0.0,
            leave=leave,
            error=error,
        )

    def _step(self) -> None:
        robot = self._cast.robot
        state, frames = robot.state(), robot.frames()
        if self._human:
            assert self._cast.leader is not None, "nobody takes over without one"
            action = self._cast.leader.action()
        else:
            assert self._player is not None, "without a policy a person acts"
            action = self._player.action(state, frames, self._steps)
        try:
            robot.step(action)
        except ActionRefused as refused:
            who = "the teleoperator" if self._human else "the policy"
            raise ActionRefused(f"step {self._steps}, {who}: {refused.message}") from None
        assert robot.sent is not None, "a step was sent"
        self._recorder.add(
            state, frames, robot.sent, intervened=self._human, asked=robot.asked, stale=bool(robot.stale)
        )
        if robot.stale:
            self._stale_steps.append(self._steps)
            self._say(f"step {self._steps} went on with an earlier reading: {robot.stale}")
        self._steps += 1
        self._human_steps += self._human
        faults.point("record.after_step")

    def _look_at_keys(self) -> tuple[Outcome | None, str, bool] | None:
        """(outcome, note, end the session?) if the attempt is over now."""
        if self._stop.asked:
            return Outcome.ABORTED, f"stopped by {self._stop.asked}", True
        for key in self._keys.read():
            if key in VERDICTS:
                return VERDICTS[key], "stopped by the operator" if key is Key.STOP else "", False
            if key is Key.QUIT:
                return Outcome.ABORTED, "stopped by the operator", True
            if key is Key.INTERVENE:
                self._intervene()
            elif key is Key.HAND_BACK:
                self._hand_back()
        return None

    def _intervene(self) -> None:
        if self._cast.leader is None:
            self._say("nobody can take over: no teleoperator (--teleop-config)")
        elif not self._human:
            self._take_over()
            self._say(f"step {self._steps}: you have the controls")

    def _take_over(self) -> None:
        assert self._cast.leader is not None, "checked by the callers"
        self._cast.leader.take_over()
        self._human = True

    def _hand_back(self) -> None:
        if self._player is None:
            self._say("nobody to hand back to: no policy (--policy)")
        elif self._human:
            self._player.forget()
            self._human = False
            self._say(f"step {self._steps}: the policy has the controls")

    def _draft(self) -> EpisodeDraft | None:
        if not self._steps:
            return None
        policy = self._cast.policy
        source = Source.DEMO if policy is None else Source.CORRECTION if self._human_steps else Source.ROLLOUT
        return self._recorder.draft(
            self._cast.task,
            self._cast.robot,
            None,
            source=source,
            policy_id=None if policy is None else policy.policy_id,
            software={**versions("lerobot"), "robot": str(self._cast.robot.device.name)},
        )
