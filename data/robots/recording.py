"""One attempt on a robot: a policy acts, a person acts, or both in turn, until the operator judges it.

The loop is `data.attempt.attempt`; here are the operator's keys, which say who has the controls and when it is over.
The whole attempt is one recording, whoever acted at which step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from data.attempt import Actor, Recorder, attempt
from data.robots.chunks import AsyncChunkPlayer
from data.robots.keyboard import Key
from data.robots.lerobot_robot import LeRobotRobot, Teleoperator
from data.robots.pace import PaceReport, before_others
from data.robots.signals import StopSignals
from data.tasks import TaskDefinition
from recap.errors import ActionRefused, ConfigError, RecapError
from recap.protocols import PolicyClient
from recap.types import EpisodeDraft, Outcome

VERDICTS = {Key.SUCCESS: Outcome.SUCCESS, Key.FAILURE: Outcome.FAILURE, Key.STOP: Outcome.ABORTED, Key.DISCARD: None}
"""What a key makes of an attempt; None: it is not kept."""
_FIRST_S = 60.0
"""How long an attempt waits for a policy's first actions, with nothing sent."""
LOOK_S = 0.1
"""How long a look for a key lasts before a wish to stop is looked at."""
_SHORT_S = 0.01
_Acting = AsyncChunkPlayer | Teleoperator


class Keys(Protocol):
    """Where the operator's keys come from."""

    def read(self, *, wait_s: float = 0.0) -> list[Key]: ...

    def forget(self) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordingSetup:
    """Who can act, and on what."""

    task: TaskDefinition
    robot: LeRobotRobot
    teleoperator: Teleoperator | None
    """None: nobody can take over."""
    policy: PolicyClient | None
    """None: demonstrations, the person acts throughout."""
    noise_seed: int = 0
    """Seed of the policy's randomness."""

    def __post_init__(self) -> None:
        if self.teleoperator is None and self.policy is None:
            raise ConfigError(
                "nobody to act: expected a teleoperator, a policy, or both",
                hint="recap data record ... --teleop-config FILE   (or --policy BUNDLE, or both)",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """How an attempt ended."""

    outcome: Outcome | None
    """None: discarded."""
    note: str = ""
    """Why, where the operator did not say it with a key of its own; else empty."""
    leave: bool = False
    """The operator wants to end the session."""
    error: Exception | None = None
    """What ended it, if it was neither the operator nor the time limit."""
    by_policy: bool = False
    """It ended because an action of the policy was refused, or came too late."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Played:
    """An attempt that is over."""

    verdict: Verdict
    draft: EpisodeDraft | None
    """What was recorded; None if it ended before the first step."""
    pace: PaceReport
    inference_s: float
    """Seconds of inference beyond the control period."""


class Operator:
    """Who has the controls in one attempt, by the operator's keys, and how it ended."""

    def __init__(
        self,
        setup: RecordingSetup,
        player: AsyncChunkPlayer | None,
        *,
        keys: Keys,
        stop: StopSignals,
        say: Callable[[str], None],
    ) -> None:
        self._player, self._teleoperator, self._max_steps = player, setup.teleoperator, setup.task.spec.max_steps
        self._keys, self._stop, self._say = keys, stop, say
        self._robot = setup.robot
        self.verdict: Verdict | None = None
        """None while the attempt goes on."""
        self.acting: _Acting | None = None
        """Who had the controls last."""

    def actors(self) -> Iterator[Actor]:
        """Who acts at each step, until a verdict, the time limit or a wish to stop."""
        acting: _Acting | None = self._player or self._teleoperator
        assert acting is not None, "a setup has one of them"
        acting.begin()
        typed = [] if self._player is None else self._await_first(self._player)
        for step in range(self._max_steps + 1):
            paused = False
            while True:
                keys, typed = [*typed, *self._keys.read(wait_s=LOOK_S if paused else 0.0)], []
                acting, go_on = self._obey(keys, acting, step, paused=paused)
                if self.verdict is not None:
                    return
                if go_on:
                    break
                paused = True
            if paused:
                self._robot.resume()
                acting.begin()
            if step < self._max_steps:
                self.acting = acting
                yield acting
        self.verdict = Verdict(outcome=Outcome.FAILURE, note="time limit")

    def _await_first(self, player: AsyncChunkPlayer) -> list[Key]:
        """Waits for the policy's first actions; the keys typed meanwhile.

        Nothing was sent yet that could be held, and where the robot is need not be a command: it stands by itself.

        Raises:
            RecapError: there are none within a minute.
        """
        player.ask(self._robot.observe(), 0)
        typed: list[Key] = []
        until = time.monotonic() + _FIRST_S
        while not (player.answered or self._stop.asked or {*VERDICTS, Key.QUIT} & {*typed}):
            if time.monotonic() > until:
                raise RecapError(f"the policy gave no action within {_FIRST_S:.0f} s of the attempt's beginning")
            typed += self._keys.read(wait_s=_SHORT_S)
        self._robot.resume(look_again=False)
        return typed

    def _obey(self, keys: list[Key], acting: _Acting, step: int, *, paused: bool) -> tuple[_Acting, bool]:
        """Who acts after these keys, and whether anything is sent: not while paused, which p or Enter ends."""
        for key in keys:
            if key in VERDICTS or key is Key.QUIT:
                note = "stopped by the operator" if key in (Key.STOP, Key.QUIT) else ""
                self.verdict = Verdict(outcome=VERDICTS.get(key, Outcome.ABORTED), note=note, leave=key is Key.QUIT)
                return acting, False
            if key is Key.INTERVENE:
                acting = self._intervene(acting, step)
            elif key is Key.HAND_BACK:
                acting = self._hand_back(acting, step)
            elif key is Key.PAUSE or (key is Key.START and paused):
                paused = not paused
                if paused:
                    self._say(f"step {step}: paused, nothing is sent; p or Enter goes on")
        if self._stop.asked:
            self.verdict = Verdict(outcome=Outcome.ABORTED, note=f"stopped by {self._stop.asked}", leave=True)
        return acting, not paused

    def _intervene(self, acting: _Acting, step: int) -> _Acting:
        if self._teleoperator is None:
            self._say("nobody can take over: no teleoperator (--teleop-config)")
            return acting
        if acting is not self._teleoperator:
            self._teleoperator.begin()
            self._say(f"step {step}: you have the controls")
        return self._teleoperator

    def _hand_back(self, acting: _Acting, step: int) -> _Acting:
        if self._player is None:
            self._say("nobody to hand back to: no policy (--policy)")
            return acting
        if acting is not self._player:
            self._player.begin()
            self._say(f"step {step}: the policy has the controls")
        return self._player


def play(setup: RecordingSetup, number: int, *, keys: Keys, stop: StopSignals, say: Callable[[str], None]) -> Played:
    """Plays until a verdict, the time limit, a wish to stop, or an error; whatever it was, what was recorded stays.

    A refused action, a fault of the robot, an error of the policy and an operator who stops make it ABORTED. `number`
    counts the attempts of a session; the policy's noise depends on it.
    """
    robot, policy, task = setup.robot, setup.policy, setup.task.spec
    player = None
    if policy is not None:
        player = AsyncChunkPlayer(
            policy,
            rate_hz=task.rate_hz,
            channels=len(robot.spec.action_names),
            hold=robot.present_command,
            noise_seed=setup.noise_seed,
            number=number,
            blend_steps=round(robot.setup.blend_s * task.rate_hz),
            late_steps=round(robot.setup.late_s * task.rate_hz),
        )
    recorder, operator = Recorder(), Operator(setup, player, keys=keys, stop=stop, say=say)
    try:
        with before_others():
            attempt(robot, operator.actors(), recorder, number, say=say)
        verdict = operator.verdict
        assert verdict is not None, "the actors end with one"
    # An attempt is kept whatever ends it: the session raises what is not the operator's to deal with.
    except Exception as error:
        note = str(error).splitlines()[0] if str(error) else type(error).__name__
        by_policy = isinstance(error, ActionRefused) and operator.acting is player
        verdict = Verdict(outcome=Outcome.ABORTED, note=note, error=error, by_policy=by_policy)
    finally:
        if player is not None:
            player.close()
    return Played(
        verdict=verdict,
        draft=recorder.draft(task, robot, number, policy_id=None if policy is None else policy.policy_id),
        pace=robot.pace(),
        inference_s=0.0 if player is None else player.late_s,
    )
