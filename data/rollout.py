"""One attempt from start to verdict: recorded from the expert, or acted by a policy.

Owns the loop and its alignment (observation t, then action t). Knows no task and no network.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Protocol

import numpy as np

from data.sim.flaws import FlawConfig
from data.sim.seeds import derive
from data.tasks import SimTask, packages_of
from recap.errors import ConfigError, RecapError
from recap.protocols import Policy, Robot, SimulatedRobot
from recap.types import Attempt, EpisodeDraft, FloatArray, FrameArray, Observation, PrivilegedTruth, Source


class FilmedRobot(Robot, Protocol):
    """A robot that says where its pictures come from."""

    @property
    def renderer(self) -> str | None:
        """Image backend in simulation; None for real cameras."""
        ...


class Recorder:
    """Gathers the steps of one attempt."""

    def __init__(self) -> None:
        self._intervened: list[bool] = []
        self._states: list[FloatArray] = []
        self._actions: list[FloatArray] = []
        self._frames: dict[str, list[FrameArray]] = {}
        self._asked: list[FloatArray] = []
        self._stale: list[bool] = []

    def add(
        self,
        state: FloatArray,
        frames: dict[str, FrameArray],
        action: FloatArray,
        *,
        intervened: bool,
        asked: FloatArray | None = None,
        stale: bool = False,
    ) -> None:
        """Keeps one step: what was seen, what was then sent, and whether a human (or the expert) sent it.

        `asked` is what the robot was asked to do, by default `action`; `stale` says that an earlier reading stood in.
        """
        self._asked.append(np.array(action if asked is None else asked, dtype=np.float32))
        self._stale.append(stale)
        self._intervened.append(intervened)
        self._states.append(state)
        self._actions.append(np.array(action, dtype=np.float32))
        for name, frame in frames.items():
            self._frames.setdefault(name, []).append(frame)

    def draft(
        self,
        task: SimTask,
        robot: FilmedRobot,
        seed: int | None,
        *,
        source: Source,
        policy_id: str | None,
        software: Mapping[str, str] | None = None,
    ) -> EpisodeDraft:
        """The episode of the steps so far; at least one. `software`: versions, by default of the task's world."""
        action, asked = np.stack(self._actions), np.stack(self._asked)
        return EpisodeDraft(
            task=task.spec.id,
            robot=robot.spec.id,
            source=source,
            policy_id=policy_id,
            rate_hz=task.spec.rate_hz,
            start_seed=seed,
            renderer=robot.renderer,
            state=np.stack(self._states),
            action=action,
            intervened=np.array(self._intervened, dtype=np.bool_),
            frames={name: np.stack(frames) for name, frames in self._frames.items()},
            software=versions(*packages_of(task)) if software is None else software,
            asked=None if np.array_equal(asked, action) else asked,
            stale=np.array(self._stale, dtype=np.bool_) if any(self._stale) else None,
        )


def versions(*packages: str) -> dict[str, str]:
    """{package: version} of `packages` and of what every recording rests on."""
    names = {name: name for name in (*packages, "numpy")} | {"recap": "recap-rl"}
    return {name: _version(distribution) for name, distribution in names.items()}


@cache
def _version(distribution: str) -> str:
    """Looked up on the disk once: a process runs what it has imported, whatever is installed meanwhile."""
    return version(distribution)


class ChunkPlayer:
    """Plays a policy's chunks, one action per step, and asks for the next chunk when one is used up."""

    def __init__(
        self, task: SimTask, robot: Robot, policy: Policy, seed: int, *, noise_seed: int, execute: int
    ) -> None:
        """Raises ConfigError if `execute` is below 1."""
        if execute < 1:
            raise ConfigError(f"execute: got {execute}, expected at least 1 action per chunk")
        self._task, self._robot, self._policy = task, robot, policy
        self._seed, self._noise_seed, self._execute = seed, noise_seed, execute
        self._channels = len(robot.spec.action_names)
        self._chunk: FloatArray = np.empty((0, self._channels), dtype=np.float32)
        self._at = execute
        self.late_s = 0.0
        """Seconds of inference beyond the control period so far."""

    @property
    def looks(self) -> bool:
        """The next action needs a new chunk, so the policy will look at the scene."""
        return self._at >= self._execute

    def forget(self) -> None:
        """Drops what is left of the chunk: someone else acted, it no longer fits."""
        self._at = self._execute

    def action(self, state: FloatArray, frames: dict[str, FrameArray], step: int) -> FloatArray:
        """[A] action for `step` of the attempt; `frames` is read only if the policy looks.

        Raises:
            RecapError: the policy gives too few actions or the wrong shape.
        """
        if self.looks:
            observation = Observation(state=state, frames=frames, prompt=self._task.spec.prompt)
            began = time.perf_counter()
            chunk = self._policy.act(observation, noise_seed=derive("chunk", self._noise_seed, self._seed, step))
            self.late_s += max(0.0, time.perf_counter() - began - 1.0 / self._task.spec.rate_hz)
            if chunk.ndim != 2 or chunk.shape[1] != self._channels or chunk.shape[0] < self._execute:
                raise RecapError(
                    f"policy {self._policy.policy_id}: action chunk has shape {chunk.shape}, "
                    f"expected at least ({self._execute}, {self._channels})",
                    hint=f"execute at most the chunk length of the policy (got execute={self._execute})",
                )
            self._chunk, self._at = chunk, 0
        action = np.asarray(self._chunk[self._at], dtype=np.float32)
        self._at += 1
        return action


def record_demo(
    task: SimTask, robot: SimulatedRobot, seed: int, flaws: FlawConfig
) -> tuple[EpisodeDraft, PrivilegedTruth]:
    """The demonstration that the scripted expert gives from the start state of `seed`.

    Ends with the verdict, or when the expert has nothing left to do (then a FAILURE). Bit-identical on one machine
    for the same task, seed, flaws and renderer.
    """
    robot.reset(seed)
    expert = task.make_expert(robot, seed, flaws)
    recorder = Recorder()
    while not robot.finished and not expert.done:
        state, frames = robot.state(), robot.frames()
        action = expert.act()
        recorder.add(state, frames, action, intervened=True)
        robot.step(action)
    return recorder.draft(task, robot, seed, source=Source.DEMO, policy_id=None), robot.truth()


def rollout(
    task: SimTask,
    robot: SimulatedRobot,
    policy: Policy,
    seed: int,
    *,
    noise_seed: int,
    execute: int,
    record: bool,
) -> tuple[Attempt, EpisodeDraft | None, PrivilegedTruth]:
    """One attempt of `policy` from the start state of `seed`.

    Args:
        task: What to do.
        robot: A robot of that task; its state is overwritten.
        policy: Gives [H, A] per call; its first `execute` actions are sent before it is asked again.
        seed: Start seed.
        noise_seed: Seed of the policy's randomness; the noise of a chunk depends on (noise_seed, seed, step) only.
        execute: Actions sent per chunk, 1..H.
        record: Draw and keep every step; else images are drawn only when the policy looks.

    Returns:
        The attempt, the episode if recorded, the simulator's truth.

    Raises:
        ConfigError: `execute` is below 1.
        RecapError: the policy gives too few actions or the wrong shape.
    """
    player = ChunkPlayer(task, robot, policy, seed, noise_seed=noise_seed, execute=execute)
    robot.reset(seed)
    recorder = Recorder() if record else None
    steps = 0
    while not robot.finished:
        state = robot.state()
        frames = robot.frames() if player.looks or recorder else {}
        action = player.action(state, frames, steps)
        if recorder:
            recorder.add(state, frames, action, intervened=False)
        robot.step(action)
        steps += 1
    truth = robot.truth()
    attempt = Attempt(
        start_seed=seed, outcome=truth.outcome, steps=steps, inference_s=player.late_s, metrics=dict(truth.metrics)
    )
    draft = recorder.draft(task, robot, seed, source=Source.ROLLOUT, policy_id=policy.policy_id) if recorder else None
    return attempt, draft, truth
