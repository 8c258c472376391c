"""Attempts in simulation, judged by the simulator: a demonstration of the expert, or a policy, corrected or alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from data.attempt import Actor, ChunkPlayer, ExpertActor, Recorder, attempt
from data.corrections import NEUTRAL, TAKEOVER, CorrectionConfig, supervised
from data.sim.flaws import FlawConfig
from data.tasks import SimTask, flaws_of
from recap.protocols import PolicyClient, SimulatedEnv
from recap.types import Attempt, EpisodeDraft, Event, PrivilegedTruth

FLAW = "flaw:"
"""Of the event that names an expert's injected flaw."""


def record_demo(task: SimTask, env: SimulatedEnv, seed: int, flaws: FlawConfig) -> tuple[EpisodeDraft, PrivilegedTruth]:
    """The demonstration that the scripted expert gives from the start state of `seed`.

    Ends with the verdict, or when the expert has nothing left to do (then a FAILURE). Bit-identical on one machine
    for the same task, seed, flaws and renderer. The truth says how the expert erred (neutral event "flaw:MODE").
    """
    recorder = Recorder()
    attempt(env, _demonstrating(task, env, seed, flaws), recorder, seed)
    draft = recorder.draft(task.spec, env, seed, policy_id=None)
    assert draft is not None, "no expert is done before its first step"
    truth, injected = env.truth(), flaws_of(task, flaws, seed)
    if injected.flawed:
        truth = replace(truth, events=(Event(t=0, name=f"{FLAW}{injected.mode}", kind=NEUTRAL), *truth.events))
    return draft, truth


def rollout(
    task: SimTask,
    env: SimulatedEnv,
    client: PolicyClient,
    seed: int,
    *,
    noise_seed: int,
    record: bool = True,
    correction: CorrectionConfig | None = None,
) -> tuple[Attempt, EpisodeDraft | None, PrivilegedTruth]:
    """One attempt of a policy from the start state of `seed`, on its own or with the expert's help where it goes wrong.

    All steps count towards the time limit, whoever acts. A pure function of its arguments, inference time apart;
    without a take-over a supervised attempt is bit-identical to one without a supervisor.

    Args:
        task: What to do.
        env: An environment of that task; its state is overwritten.
        client: The policy; its first `execute` actions of a chunk are sent before it is asked again.
        seed: Start seed.
        noise_seed: Seed of the policy's randomness and of the expert's target noise; that of a chunk depends on
            (noise_seed, seed, step) only.
        record: Draw and keep every step; else images are drawn only when the policy looks, and there is no episode.
        correction: When the expert takes over; None: never, nobody watches.

    Returns:
        The attempt (with `correction`, its metrics have "takeovers"), the episode if recorded, and the simulator's
        truth, with the events of `supervised`.

    Raises:
        ConfigError: `client.execute` is below 1, or no expert takes over in this environment.
        RecapError: the policy gives too few actions or the wrong shape.
    """
    player = ChunkPlayer(client, task.spec, channels=len(env.spec.action_names), noise_seed=noise_seed, number=seed)
    recorder, changes = Recorder(films=record), list[Event]()
    actors = (
        _alone(env, player)
        if correction is None
        else supervised(task, env, player, seed, noise_seed=noise_seed, config=correction, changes=changes)
    )
    attempt(env, actors, recorder, seed)
    truth = env.truth()
    metrics = dict(truth.metrics)
    if correction is not None:
        metrics["takeovers"] = sum(event.name.startswith(TAKEOVER) for event in changes)
    if changes:
        truth = replace(truth, events=tuple(sorted([*truth.events, *changes], key=lambda event: event.t)))
    played = Attempt(
        start_seed=seed,
        outcome=truth.outcome,
        steps=recorder.steps,
        inference_s=player.late_s,
        human_steps=recorder.human_steps,
        metrics=metrics,
    )
    return played, recorder.draft(task.spec, env, seed, policy_id=client.policy_id), truth


def _demonstrating(task: SimTask, env: SimulatedEnv, seed: int, flaws: FlawConfig) -> Iterator[Actor]:
    # A generator begins after the reset: the expert is made for the scene as it then is.
    expert = task.make_expert(env, seed, flaws)
    actor = ExpertActor(expert)
    while not env.finished and not expert.done:
        yield actor


def _alone(env: SimulatedEnv, player: ChunkPlayer) -> Iterator[Actor]:
    while not env.finished:
        yield player
