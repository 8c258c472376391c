"""The one control loop: an environment, whoever has the controls at each step, and a recorder.

Observation t comes before action t. Who has the controls is decided outside, by an iterator of actors: one throughout
(rollout.py), a policy with an expert beside it (corrections.py), an operator's keys (robots/recording.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np

from data.sim.seeds import derive
from data.tasks import Expert
from recap import faults
from recap.errors import ActionRefused, ConfigError, RecapError
from recap.protocols import Env, PolicyClient, Sent
from recap.specs import TaskSpec
from recap.types import EpisodeDraft, FloatArray, FrameArray, Observation, Source


class Actor(Protocol):
    """Who can have the controls: a policy, an expert, a person at a teleoperator."""

    @property
    def name(self) -> str:
        """As messages call it: "the policy"."""
        ...

    @property
    def human(self) -> bool:
        """Its steps are marked as intervened: a person, or the expert who plays one."""
        ...

    @property
    def looks(self) -> bool:
        """Its next action needs the pictures."""
        ...

    def act(self, observation: Observation, step: int) -> FloatArray:
        """[A] action for `step` of the attempt."""
        ...


class ExpertActor:
    """A scripted expert at the controls; it reads the simulator, not the observation."""

    name, human, looks = "the expert", True, False

    def __init__(self, expert: Expert) -> None:
        self._expert = expert

    def act(self, observation: Observation, step: int) -> FloatArray:
        """[A] action for the present state."""
        return self._expert.act()


def ask_chunk(client: PolicyClient, observation: Observation, *, seed: int, channels: int) -> tuple[FloatArray, float]:
    """[H, A] actions of a policy for one observation, and the seconds that they took.

    Raises:
        RecapError: fewer actions than the policy wants executed, or not of `channels` channels.
    """
    began = time.perf_counter()
    (chunk,) = client.infer([observation], [seed])
    seconds = time.perf_counter() - began
    if chunk.ndim != 2 or chunk.shape[1] != channels or chunk.shape[0] < client.execute:
        raise RecapError(
            f"policy {client.policy_id}: action chunk has shape {chunk.shape}, "
            f"expected at least ({client.execute}, {channels})",
            hint=f"execute at most the chunk length of the policy (got execute={client.execute})",
        )
    return chunk, seconds


class ChunkPlayer:
    """A policy at the controls: plays its chunks, one action per step, and asks for the next when one is used up."""

    name, human = "the policy", False

    def __init__(self, client: PolicyClient, task: TaskSpec, *, channels: int, noise_seed: int, number: int) -> None:
        """The noise of a chunk depends on (noise_seed, number, step) only; `number`: of the attempt, or its start seed.

        Raises:
            ConfigError: the client's `execute` is below 1.
        """
        if client.execute < 1:
            raise ConfigError(f"execute: got {client.execute}, expected at least 1 action per chunk")
        self._client, self._period_s, self._channels = client, 1.0 / task.rate_hz, channels
        self._noise_seed, self._number = noise_seed, number
        self._chunk: FloatArray = np.empty((0, channels), dtype=np.float32)
        self._at = client.execute
        self.late_s = 0.0
        """Seconds of inference beyond the control period so far."""

    @property
    def looks(self) -> bool:
        return self._at >= self._client.execute

    def begin(self) -> None:
        """It gets the controls: what is left of the chunk is dropped, for someone else acted."""
        self._at = self._client.execute

    def act(self, observation: Observation, step: int) -> FloatArray:
        """[A] action for `step` of the attempt; the frames are read only if the policy looks.

        Raises:
            RecapError: the policy gives too few actions or the wrong shape.
        """
        if self.looks:
            chunk, seconds = ask_chunk(
                self._client,
                observation,
                seed=derive("chunk", self._noise_seed, self._number, step),
                channels=self._channels,
            )
            self.late_s += max(0.0, seconds - self._period_s)
            self._chunk, self._at = chunk, 0
        action = np.asarray(self._chunk[self._at], dtype=np.float32)
        self._at += 1
        return action


class Recorder:
    """Gathers the steps of one attempt; whatever ends it, those so far stay."""

    def __init__(self, *, films: bool = True) -> None:
        """Without `films` the steps are counted and nothing else is kept."""
        self.films = films
        self.steps = self.human_steps = 0
        self._seen: list[Observation] = []
        self._sent: list[Sent] = []
        self._intervened: list[bool] = []

    def add(self, observation: Observation, sent: Sent, *, intervened: bool) -> None:
        """Keeps one step: what was seen, what was then sent, and whether a human (or the expert) sent it."""
        self.steps += 1
        self.human_steps += intervened
        if self.films:
            self._seen.append(observation)
            self._sent.append(sent)
            self._intervened.append(intervened)

    def draft(self, task: TaskSpec, env: Env, seed: int, *, policy_id: str | None) -> EpisodeDraft | None:
        """The episode of the steps so far; None without any, or if they were not kept.

        A DEMO without a policy, a CORRECTION where a human acted beside it, else a ROLLOUT.
        """
        if not self._seen:
            return None
        action, asked = _stack([one.action for one in self._sent]), _stack([one.asked for one in self._sent])
        stale = np.array([bool(one.stale) for one in self._sent])
        frames: dict[str, FrameArray] = {
            name: np.stack([seen.frames[name] for seen in self._seen]) for name in self._seen[0].frames
        }
        acted = Source.CORRECTION if self.human_steps else Source.ROLLOUT
        return EpisodeDraft(
            task=task.id,
            robot=env.spec.id,
            source=Source.DEMO if policy_id is None else acted,
            policy_id=policy_id,
            rate_hz=task.rate_hz,
            start_seed=seed if env.capabilities.simulated_time else None,
            renderer=env.renderer,
            state=np.stack([seen.state for seen in self._seen]),
            action=action,
            intervened=np.array(self._intervened, dtype=np.bool_),
            frames=frames,
            software=env.software,
            asked=None if np.array_equal(asked, action) else asked,
            stale=stale if stale.any() else None,
        )


def attempt(
    env: Env, actors: Iterable[Actor], recorder: Recorder, seed: int, *, say: Callable[[str], None] = lambda text: None
) -> None:
    """Plays one attempt from the start state of `seed`, to the end of `actors`.

    `actors` is asked before each step who has the controls, for the first time after the scene was reset: a generator
    may look at the scene, and ends the attempt by ending. `say` hears what an operator should know.

    Raises:
        ActionRefused: the environment sent nothing; says at which step and who wanted it.
    """
    env.reset(seed)
    for actor in actors:
        observation = env.observe(draw=recorder.films or actor.looks)
        action = actor.act(observation, recorder.steps)
        try:
            sent = env.step(action)
        except ActionRefused as refused:
            raise ActionRefused(f"step {recorder.steps}, {actor.name}: {refused.message}") from None
        if sent.stale:
            say(f"step {recorder.steps} went on with an earlier reading: {sent.stale}")
        recorder.add(observation, sent, intervened=actor.human)
        faults.point("record.after_step")


def _stack(rows: list[FloatArray]) -> FloatArray:
    return np.stack(rows).astype(np.float32)
