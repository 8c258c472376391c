"""A policy at the controls of a robot that does not wait: it computes in a thread while its last chunk plays.

The rule. A chunk asked for at time s says what to send at s, s + 1, ... At time t its action number t - s is sent, so
the d actions that were in the past when it arrived are dropped. A new chunk takes over at the step it arrives; with
`blend_steps` its share grows from then on over so many steps, as long as the old one still has actions. The next is
asked for once `execute` actions of the last have been due, or earlier where it would come too late: when no more are
left than the longest inference so far took, and one.

Where there is no action (before the first chunk, or when one is late) the command sent last is held; when one is late,
and only then, a quarter of the period is waited for it. Time is counted in actions sent: while a command is held it
stands still, as the robot does, which would otherwise leap over what the chunk meant for those steps. The watchdog
counts: after `late_steps` such steps in a row the attempt is over.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import numpy as np

from data.attempt import ask_chunk
from data.sim.seeds import derive
from recap.errors import ActionRefused, ConfigError
from recap.protocols import PolicyClient
from recap.types import FloatArray, Observation

_GRACE = 0.25
"""Share of the period that is waited for an action when there is none to send."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chunk:
    """Actions for the times from `first` on."""

    first: int
    actions: FloatArray
    """[H, A]"""

    def at(self, time: int) -> FloatArray | None:
        """[A] for that time; None past its end."""
        place = time - self.first
        return self.actions[place] if 0 <= place < len(self.actions) else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """An inference under way."""

    time: int
    turn: int
    """Of whose turn at the controls it is: one from before a take-over is of no use after it."""
    answer: Future[FloatArray]


class AsyncChunkPlayer:
    """A policy as an actor. Close it: its thread ends with the inference under way.

    Example:
        player = AsyncChunkPlayer(client, rate_hz=30, channels=6, hold=robot.present_command, noise_seed=0, number=7)
    """

    name, human, looks = "the policy", False, True

    def __init__(
        self,
        client: PolicyClient,
        *,
        rate_hz: float,
        channels: int,
        hold: Callable[[], FloatArray],
        noise_seed: int,
        number: int,
        blend_steps: int = 0,
        late_steps: int = 15,
    ) -> None:
        """The noise of a chunk depends on (noise_seed, number, step asked at) only; `number`: of the attempt.

        Args:
            client: the policy.
            rate_hz: of the control loop.
            channels: A.
            hold: [A] the command that keeps the robot where it is.
            noise_seed: seed of the policy's randomness.
            number: of the attempt.
            blend_steps: over so many steps a new chunk takes over; 0: at once.
            late_steps: so many steps in a row may be held for want of an action.

        Raises:
            ConfigError: the client's `execute` is below 1.
        """
        if client.execute < 1:
            raise ConfigError(f"execute: got {client.execute}, expected at least 1 action per chunk")
        self._client, self._period_s, self._channels, self._hold = client, 1.0 / rate_hz, channels, hold
        self._noise_seed, self._number = noise_seed, number
        self._blend_steps, self._late_steps = blend_steps, late_steps
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policy")
        self._playing: _Chunk | None = None
        self._before: _Chunk | None = None
        self._asked: _Asked | None = None
        self._time = self._arrived = self._turn = self._held = 0
        self._longest_s = 0.0
        self.late_s = 0.0
        """Seconds in which the last command was held for want of an action."""

    def begin(self) -> None:
        """It gets the controls: what is left of its chunks is dropped, for someone else acted."""
        self._playing = self._before = None
        self._turn += 1
        self._held = 0

    def ask(self, observation: Observation, step: int) -> None:
        """Asks for a chunk now. Whoever would rather wait than have a command held looks at `answered`."""
        answer = self._thread.submit(self._infer, observation, step)
        self._asked = _Asked(time=self._time, turn=self._turn, answer=answer)

    @property
    def answered(self) -> bool:
        """No inference is under way."""
        return self._asked is None or self._asked.answer.done()

    def close(self) -> None:
        """Ends the thread, after the inference under way."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def act(self, observation: Observation, step: int) -> FloatArray:
        """[A] action for `step` of the attempt; at once, whatever the policy does.

        Raises:
            RecapError: the policy failed, or gives too few actions or the wrong shape.
            ActionRefused: no action for `late_steps` steps in a row.
        """
        self._take()
        if self._asked is None and self._due():
            self.ask(observation, step)
        action = self._action()
        if action is None and self._playing is not None and self._asked is not None:
            wait([self._asked.answer], timeout=_GRACE * self._period_s)
            self._take()
            action = self._action()
        if action is None:
            return self._wait(step)
        self._held = 0
        old = None if self._before is None else self._before.at(self._time)
        share = (self._time - self._arrived + 1) / (self._blend_steps + 1)
        self._time += 1
        if old is not None and share < 1.0:
            action = old + np.float32(share) * (action - old)
        return np.asarray(action, dtype=np.float32)

    def _action(self) -> FloatArray | None:
        return None if self._playing is None else self._playing.at(self._time)

    def _due(self) -> bool:
        if self._playing is None:
            return True
        place, length = self._time - self._playing.first, len(self._playing.actions)
        needed = math.ceil(self._longest_s / self._period_s) + 1
        return place >= min(self._client.execute, max(length - needed, 1))

    def _take(self) -> None:
        """Lets a chunk that has arrived take over."""
        if self._asked is None or not self._asked.answer.done():
            return
        asked, self._asked = self._asked, None
        chunk = _Chunk(first=asked.time, actions=asked.answer.result())
        if asked.turn == self._turn:
            self._before, self._playing, self._arrived = self._playing, chunk, self._time

    def _wait(self, step: int) -> FloatArray:
        self._held += 1
        self.late_s += self._period_s
        if self._held > self._late_steps:
            raise ActionRefused(
                f"step {step}: the policy gave no action for {self._held - 1} steps "
                f"(recap.late_s); its longest inference so far took {self._longest_s:.2f} s"
            )
        return self._hold()

    def _infer(self, observation: Observation, step: int) -> FloatArray:
        seed = derive("chunk", self._noise_seed, self._number, step)
        chunk, seconds = ask_chunk(self._client, observation, seed=seed, channels=self._channels)
        self._longest_s = max(self._longest_s, seconds)
        return chunk
