import time

import numpy as np
import pytest

from data.rollout import FLAW, record_demo, rollout
from data.sim.bimanual_task import BimanualTask, TaskEnv
from data.sim.flaws import CLEAN, FlawConfig
from data.sim.garment import GarmentScenario
from policy.client import LocalClient
from recap.errors import ConfigError, RecapError
from recap.types import FloatArray, Observation, Outcome, Source
from value_model.segments import action_segments

Task, Robot = BimanualTask[GarmentScenario], TaskEnv[GarmentScenario]


class Holding:
    """Stays where it is; notes what it was asked."""

    policy_id = "holding"

    def __init__(self, *, horizon: int = 10, execute: int = 8, delay_s: float = 0.0) -> None:
        self.horizon, self.execute, self.delay_s = horizon, execute, delay_s
        self.seeds: list[int] = []
        self.seen: list[Observation] = []

    def act(self, observation: Observation, *, noise_seed: int) -> FloatArray:
        self.seeds.append(noise_seed)
        self.seen.append(observation)
        time.sleep(self.delay_s)
        return np.tile(observation.state, (self.horizon, 1))


class Replaying:
    """Sends a recorded demonstration again."""

    policy_id, execute = "replay", 8

    def __init__(self, actions: FloatArray) -> None:
        self.actions, self.at = actions, 0

    def act(self, observation: Observation, *, noise_seed: int) -> FloatArray:
        chunk = self.actions[self.at : self.at + 8]
        self.at += 8
        return np.concatenate([chunk, np.repeat(self.actions[-1:], 8 - len(chunk), axis=0)])


def test_the_truth_of_a_demonstration_says_how_the_expert_erred(task: Task, robot: Robot) -> None:
    biased = FlawConfig(flawed_share=1.0, skipping_weight=0, hesitant_weight=0, fumbling_weight=0)
    _, truth = record_demo(task, robot, 4, biased)
    assert [(event.t, event.name, event.kind) for event in truth.events if event.name.startswith(FLAW)] == [
        (0, "flaw:biased", 0)
    ]
    carries = [segment.quality for segment in action_segments(truth) if segment.kind == "carry"]
    assert len(carries) >= 2
    assert set(carries) == {-1}
    _, truth = record_demo(task, robot, 4, CLEAN)
    assert not [event for event in truth.events if event.name.startswith(FLAW)]


def test_a_demo_is_bit_identical_and_aligned(task: Task, robot: Robot) -> None:
    first, truth = record_demo(task, robot, 4, CLEAN)
    record_demo(task, robot, 5, CLEAN)
    again, _ = record_demo(task, robot, 4, CLEAN)
    assert truth.outcome is Outcome.SUCCESS
    assert first.source is Source.DEMO
    assert first.intervened.all()
    assert first.renderer == "ray"
    assert first.start_seed == 4
    assert first.state.shape == first.action.shape == (truth.progress.shape[0], 14)
    assert first.state.dtype == first.action.dtype == np.float32
    assert np.array_equal(first.state, again.state)
    assert np.array_equal(first.action, again.action)
    assert all(np.array_equal(first.frames[name], again.frames[name]) for name in first.frames)
    robot.reset(4)
    assert np.array_equal(first.state[0], robot.observe(draw=False).state)
    robot.step(first.action[0])
    assert np.array_equal(first.state[1], robot.observe(draw=False).state)


def test_replaying_a_demo_reproduces_it(task: Task, robot: Robot) -> None:
    demo, truth = record_demo(task, robot, 6, CLEAN)
    attempt, draft, again = rollout(task, robot, LocalClient(Replaying(demo.action)), 6, noise_seed=0)
    assert attempt.outcome is truth.outcome is Outcome.SUCCESS
    assert attempt.steps == demo.length
    assert draft is not None
    assert np.array_equal(draft.state, demo.state)
    assert np.array_equal(again.progress, truth.progress)
    assert draft.source is Source.ROLLOUT
    assert not draft.intervened.any()
    assert draft.policy_id == "replay"


def test_a_rollout_asks_once_per_chunk_with_noise_of_its_own(task: Task, robot: Robot) -> None:
    policy = Holding()
    attempt, draft, truth = rollout(task, robot, LocalClient(policy), 1, noise_seed=3, record=False)
    assert draft is None
    assert attempt.outcome is Outcome.FAILURE
    assert attempt.steps == task.spec.max_steps == len(truth.progress)
    assert len(policy.seeds) == len(set(policy.seeds)) == -(-task.spec.max_steps // 8)
    assert policy.seen[0].prompt == "fold the shirt"
    again, other = Holding(), Holding()
    rollout(task, robot, LocalClient(again), 1, noise_seed=3, record=False)
    rollout(task, robot, LocalClient(other), 1, noise_seed=4, record=False)
    assert again.seeds == policy.seeds
    assert not set(other.seeds) & set(policy.seeds)


def test_only_inference_beyond_the_control_period_counts(task: Task, robot: Robot) -> None:
    quick, _, _ = rollout(task, robot, LocalClient(Holding(horizon=75, execute=75)), 1, noise_seed=0, record=False)
    slow, _, _ = rollout(
        task, robot, LocalClient(Holding(horizon=75, execute=75, delay_s=0.25)), 1, noise_seed=0, record=False
    )
    assert quick.inference_s == 0.0
    assert 0.3 <= slow.inference_s < 1.5


def test_a_short_chunk_is_an_error(task: Task, robot: Robot) -> None:
    with pytest.raises(RecapError, match=r"shape \(4, 14\)"):
        rollout(task, robot, LocalClient(Holding(horizon=4)), 1, noise_seed=0, record=False)
    with pytest.raises(ConfigError, match="execute"):
        rollout(task, robot, LocalClient(Holding(execute=0)), 1, noise_seed=0, record=False)
