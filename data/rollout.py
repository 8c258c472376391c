"""One attempt from start to verdict: recorded from the expert, or acted by a policy.

Owns the loop and its alignment (observation t, then action t). Knows no task and no network.
"""

from __future__ import annotations

import time
from importlib.metadata import version

import numpy as np

from data.sim.flaws import FlawConfig
from data.sim.seeds import derive
from data.tasks import SimTask
from recap.errors import ConfigError, RecapError
from recap.protocols import Policy, SimulatedRobot
from recap.types import Attempt, EpisodeDraft, FloatArray, FrameArray, Observation, PrivilegedTruth, Source


class _Recorder:
    """Gathers the steps of one attempt."""

    def __init__(self) -> None:
        self._states: list[FloatArray] = []
        self._actions: list[FloatArray] = []
        self._frames: dict[str, list[FrameArray]] = {}

    def add(self, state: FloatArray, frames: dict[str, FrameArray], action: FloatArray) -> None:
        self._states.append(state)
        self._actions.append(np.array(action, dtype=np.float32))
        for name, frame in frames.items():
            self._frames.setdefault(name, []).append(frame)

    def draft(
        self, task: SimTask, robot: SimulatedRobot, seed: int, *, source: Source, policy_id: str | None
    ) -> EpisodeDraft:
        return EpisodeDraft(
            task=task.spec.id,
            robot=robot.spec.id,
            source=source,
            policy_id=policy_id,
            rate_hz=task.spec.rate_hz,
            start_seed=seed,
            renderer=robot.renderer,
            state=np.stack(self._states),
            action=np.stack(self._actions),
            intervened=np.full(len(self._states), source is Source.DEMO),
            frames={name: np.stack(frames) for name, frames in self._frames.items()},
            software={"mujoco": version("mujoco"), "numpy": version("numpy"), "recap": version("recap-rl")},
        )


def record_demo(
    task: SimTask, robot: SimulatedRobot, seed: int, flaws: FlawConfig
) -> tuple[EpisodeDraft, PrivilegedTruth]:
    """The demonstration that the scripted expert gives from the start state of `seed`.

    Ends with the verdict, or when the expert has nothing left to do (then a FAILURE). Bit-identical on one machine
    for the same task, seed, flaws and renderer.
    """
    robot.reset(seed)
    expert = task.make_expert(robot, seed, flaws)
    recorder = _Recorder()
    while not robot.finished and not expert.done:
        state, frames = robot.state(), robot.frames()
        action = expert.act()
        recorder.add(state, frames, action)
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
    if execute < 1:
        raise ConfigError(f"execute: got {execute}, expected at least 1 action per chunk")
    robot.reset(seed)
    recorder = _Recorder() if record else None
    period = 1.0 / task.spec.rate_hz
    channels = len(robot.spec.action_names)
    late, steps = 0.0, 0
    chunk: FloatArray = np.empty((0, channels), dtype=np.float32)
    while not robot.finished:
        looks = steps % execute == 0
        state = robot.state()
        frames = robot.frames() if looks or recorder else {}
        if looks:
            observation = Observation(state=state, frames=frames, prompt=task.spec.prompt)
            began = time.perf_counter()
            chunk = policy.act(observation, noise_seed=derive("chunk", noise_seed, seed, steps))
            late += max(0.0, time.perf_counter() - began - period)
            if chunk.ndim != 2 or chunk.shape[1] != channels or chunk.shape[0] < execute:
                raise RecapError(
                    f"policy {policy.policy_id}: action chunk has shape {chunk.shape}, "
                    f"expected at least ({execute}, {channels})",
                    hint=f"execute at most the chunk length of the policy (got execute={execute})",
                )
        action = np.asarray(chunk[steps % execute], dtype=np.float32)
        if recorder:
            recorder.add(state, frames, action)
        robot.step(action)
        steps += 1
    truth = robot.truth()
    attempt = Attempt(
        start_seed=seed, outcome=truth.outcome, steps=steps, inference_s=late, metrics=dict(truth.metrics)
    )
    draft = recorder.draft(task, robot, seed, source=Source.ROLLOUT, policy_id=policy.policy_id) if recorder else None
    return attempt, draft, truth
