from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.corrections import CorrectionConfig, Supervisor
from data.episodes import EpisodeStore
from data.rollout import rollout
from data.sim.bimanual_task import BimanualTask, TaskEnv
from data.sim.expert import ScriptedExpert
from data.sim.flaws import CLEAN, FlawConfig
from data.sim.garment import GarmentScenario
from policy.client import LocalClient
from recap.config import semantic_dict
from recap.errors import ConfigError
from recap.types import Attempt, EpisodeDraft, Event, FloatArray, Observation, Outcome, PrivilegedTruth, Source

Task, Robot = BimanualTask[GarmentScenario], TaskEnv[GarmentScenario]

MARK = 0.9
"""Gripper command of the idle policy: open, and a number that the expert never sends."""


class Idle:
    """Stays where it is; its actions can be told from the expert's."""

    policy_id, execute = "idle", 8

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def act(self, observation: Observation, *, noise_seed: int) -> FloatArray:
        self.seeds.append(noise_seed)
        chunk = np.tile(observation.state, (8, 1))
        chunk[:, [6, 13]] = MARK
        chunk[:, 0] += np.arange(8, dtype=np.float32) * np.float32(1e-3)
        return chunk


class Perfect:
    """The clean expert as a policy."""

    policy_id, execute = "perfect", 1

    def __init__(self, task: Task, robot: Robot, seed: int) -> None:
        self.task, self.robot, self.seed = task, robot, seed
        self.expert: ScriptedExpert | None = None

    def act(self, observation: Observation, *, noise_seed: int) -> FloatArray:
        if self.expert is None:
            self.expert = self.task.make_expert(self.robot, self.seed, CLEAN)
        return self.expert.act()[None]


@pytest.fixture(scope="module")
def bench(task: Task) -> Iterator[Robot]:
    small = task.make_env("ray", image_size=16)
    yield small
    small.close()


def idle(
    task: Task, bench: Robot, seed: int, *, noise_seed: int = 0, config: CorrectionConfig | None = None
) -> tuple[Attempt, EpisodeDraft, PrivilegedTruth]:
    attempt, draft, truth = rollout(
        task, bench, LocalClient(Idle()), seed, noise_seed=noise_seed, correction=config or CorrectionConfig()
    )
    assert draft is not None
    return attempt, draft, truth


@pytest.fixture(scope="module")
def saved(task: Task, bench: Robot) -> tuple[Attempt, EpisodeDraft, PrivilegedTruth]:
    return idle(task, bench, 0)


def named(truth: PrivilegedTruth, start: str) -> list[int]:
    return [event.t for event in truth.events if event.name.startswith(start)]


@pytest.mark.parametrize("seed", [4, 5])
def test_a_perfect_policy_is_left_alone_and_gives_a_plain_rollout(task: Task, bench: Robot, seed: int) -> None:
    attempt, draft, truth = rollout(
        task, bench, LocalClient(Perfect(task, bench, seed)), seed, noise_seed=2, correction=CorrectionConfig()
    )
    assert draft is not None
    assert attempt.outcome is Outcome.SUCCESS
    assert (attempt.human_steps, attempt.metrics["takeovers"]) == (0, 0)
    assert draft.source is Source.ROLLOUT
    assert not draft.intervened.any()
    plain, expected, plain_truth = rollout(task, bench, LocalClient(Perfect(task, bench, seed)), seed, noise_seed=2)
    assert expected is not None
    assert np.array_equal(draft.state, expected.state)
    assert np.array_equal(draft.action, expected.action)
    assert all(np.array_equal(draft.frames[name], expected.frames[name]) for name in expected.frames)
    assert truth.events == plain_truth.events
    assert attempt.steps == plain.steps


def test_the_spans_say_who_acted(saved: tuple[Attempt, EpisodeDraft, PrivilegedTruth]) -> None:
    attempt, draft, truth = saved
    by_policy = draft.action[:, 6] == np.float32(MARK)
    assert np.array_equal(draft.intervened, ~by_policy)
    assert attempt.human_steps == int(draft.intervened.sum()) > 0
    assert attempt.steps == draft.length == len(truth.progress)
    assert draft.source is Source.CORRECTION
    assert draft.policy_id == "idle"
    edges = np.flatnonzero(np.diff(draft.intervened.astype(int))) + 1
    taken, back = named(truth, "takeover:"), named(truth, "hand_back")
    assert sorted([*taken, *back]) == edges.tolist()
    assert len(taken) == attempt.metrics["takeovers"]
    assert [event.t for event in truth.events] == sorted(event.t for event in truth.events)


def test_a_stall_is_noticed_after_patience_and_reaction(saved: tuple[Attempt, EpisodeDraft, PrivilegedTruth]) -> None:
    config = CorrectionConfig()
    _, _, truth = saved
    assert named(truth, "takeover:stall")[0] == config.patience_steps + config.reaction_steps


def test_hand_back_asks_the_policy_anew(task: Task, bench: Robot) -> None:
    policy = Idle()
    _, draft, truth = rollout(
        task, bench, LocalClient(policy), 0, noise_seed=0, correction=CorrectionConfig(patience_steps=28)
    )
    assert draft is not None
    taken, back = named(truth, "takeover:"), named(truth, "hand_back")
    assert taken[0] % 8 != 0, "the take-over cuts a chunk short"
    assert len(back) >= 1
    state, action = draft.state[back[0]], draft.action[back[0]]
    assert np.array_equal(action[1:6], state[1:6]), "the chunk begins at what the policy sees now"
    assert action[0] == state[0]
    spans = np.split(draft.intervened, np.flatnonzero(np.diff(draft.intervened.astype(int))) + 1)
    looks = sum(-(-len(span) // 8) for span in spans if not span[0])
    assert len(policy.seeds) == len(set(policy.seeds)) == looks
    milestones = [event for event in truth.events if event.kind == 1 and taken[0] <= event.t < back[0]]
    assert milestones, "the expert stays until a sub-goal is reached"
    assert draft.state[back[0], 6] > 0.5, "and lets go before it hands back"
    assert draft.state[back[0], 13] > 0.5


def test_most_attempts_of_an_idle_policy_are_saved(
    task: Task, bench: Robot, saved: tuple[Attempt, EpisodeDraft, PrivilegedTruth]
) -> None:
    outcomes = [saved[0].outcome, *(idle(task, bench, seed)[0].outcome for seed in (10, 11))]
    assert outcomes.count(Outcome.SUCCESS) >= 2


def test_the_same_seeds_give_the_same_attempt(
    task: Task, bench: Robot, saved: tuple[Attempt, EpisodeDraft, PrivilegedTruth]
) -> None:
    first, draft, truth = saved
    again, other, same = idle(task, bench, 0)
    assert np.array_equal(draft.state, other.state)
    assert np.array_equal(draft.action, other.action)
    assert np.array_equal(draft.intervened, other.intervened)
    assert all(np.array_equal(draft.frames[name], other.frames[name]) for name in draft.frames)
    assert truth.events == same.events
    assert replace(first, inference_s=0.0) == replace(again, inference_s=0.0)
    _, noisy, _ = idle(task, bench, 0, noise_seed=1)
    start = CorrectionConfig().patience_steps + CorrectionConfig().reaction_steps
    assert np.array_equal(draft.action[:start], noisy.action[:start])
    assert not np.array_equal(draft.action[start : start + 15], noisy.action[start : start + 15])


def test_the_store_takes_the_episode(tmp_path: Path, saved: tuple[Attempt, EpisodeDraft, PrivilegedTruth]) -> None:
    _, draft, truth = saved
    store = EpisodeStore(tmp_path)
    episode = store.load(store.commit(draft, truth))
    assert episode.source is Source.CORRECTION
    assert np.array_equal(episode.intervened, draft.intervened)


def test_no_more_takeovers_than_allowed(task: Task, bench: Robot) -> None:
    once, draft, truth = idle(task, bench, 0, config=CorrectionConfig(max_takeovers=1, hand_back_steps=0))
    assert once.metrics["takeovers"] == len(named(truth, "takeover:")) == len(named(truth, "hand_back")) == 1
    assert once.outcome is Outcome.FAILURE
    assert once.steps == task.spec.max_steps
    assert not draft.intervened[named(truth, "hand_back")[0] :].any()
    none, draft, truth = idle(task, bench, 0, config=CorrectionConfig(max_takeovers=0))
    assert (none.human_steps, draft.source, named(truth, "takeover")) == (0, Source.ROLLOUT, [])


def test_the_expert_finishes_when_little_time_is_left(task: Task, bench: Robot) -> None:
    attempt, draft, truth = idle(task, bench, 0, config=CorrectionConfig(hand_back_steps=150))
    assert attempt.outcome is Outcome.SUCCESS
    assert named(truth, "hand_back") == []
    assert draft.intervened[named(truth, "takeover:")[0] :].all()


def at(step: int, progress: float, *events: Event) -> PrivilegedTruth:
    return PrivilegedTruth(
        progress=np.zeros(step, dtype=np.float32),
        stage=np.zeros(step, dtype=np.int64),
        events=events,
        outcome=Outcome.FAILURE,
        metrics={"final_progress": progress},
    )


def watched(levels: list[float], *events: Event, config: CorrectionConfig) -> tuple[int, str] | None:
    """When the supervisor acts, and why, while progress goes through `levels`."""
    supervisor = Supervisor(config)
    supervisor.start(at(0, levels[0]))
    for step, level in enumerate(levels):
        reason = supervisor.watch(at(step, level, *(event for event in events if event.t < step)))
        if reason is not None:
            return step, reason
    return None


WATCH = CorrectionConfig(patience_steps=10, reaction_steps=3, min_gain=0.1)
GRASP, RELEASE = ("grasped_left", 0), ("released_left", 0)


def event(t: int, what: tuple[str, int]) -> Event:
    return Event(t=t, name=what[0], kind=what[1])


def test_an_error_calls_the_expert_after_the_reaction_time() -> None:
    missed = event(4, ("missed_grasp_left", -1))
    assert watched([0.0] * 30, missed, config=WATCH) == (8, "missed_grasp_left")
    assert watched([0.0] * 30, missed, config=replace(WATCH, reaction_steps=0)) == (5, "missed_grasp_left")
    mended = event(6, ("sleeve_left_folded", 1))
    assert watched([0.0] * 30, missed, mended, config=WATCH) == (8, "missed_grasp_left"), "an error stands"


def test_a_stall_ends_with_a_gain_and_is_renewed_by_two_grasps_only() -> None:
    assert watched([0.0] * 30, config=WATCH) == (13, "stall")
    assert watched([0.0] * 8 + [0.05] * 22, config=WATCH) == (13, "stall"), "too small a gain"
    assert watched([0.0] * 8 + [0.2] * 22, config=WATCH) == (21, "stall")
    assert watched([0.0] * 12 + [0.2] * 12, config=WATCH) is None, "a gain within the reaction time"
    assert watched([0.0] * 24, event(11, GRASP), config=WATCH) is None, "a new try within the reaction time"
    tries = [event(t, GRASP) for t in (5, 12, 19, 26)]
    assert watched([0.0] * 60, *tries, config=WATCH) == (26, "stall")


def test_what_is_let_go_short_of_a_sub_goal_is_misplaced() -> None:
    moved = [0.0] * 4 + [0.2] * 26
    cycle = (event(2, GRASP), event(6, RELEASE))
    assert watched(moved, *cycle, config=WATCH) == (10, "misplaced")
    assert watched([0.0] * 12, *cycle, config=WATCH) is None, "nothing was moved"
    for t in (6, 8):
        reached = event(t, ("sleeve_left_folded", 1))
        found = watched(moved[:14], *cycle, reached, config=WATCH)
        assert found is None, "it settled there"


def test_a_new_span_of_the_policy_begins_with_a_clean_slate() -> None:
    supervisor = Supervisor(WATCH)
    old = event(3, ("missed_grasp_left", -1))
    supervisor.start(at(5, 0.4, old))
    assert all(supervisor.watch(at(step, 0.4, old)) is None for step in range(5, 18))
    assert supervisor.watch(at(18, 0.4, old)) == "stall"


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="patience_steps"):
        CorrectionConfig(patience_steps=0)
    with pytest.raises(ConfigError, match="max_takeovers"):
        CorrectionConfig(max_takeovers=-1)


def test_the_difficulty_is_frozen() -> None:
    """Results are compared across versions: a change here is a new task, not a setting (docs/tasks.md)."""
    assert semantic_dict(FlawConfig()) == {
        "flawed_share": None,
        "noise_m": 0.008,
        "biased_weight": 0.8,
        "skipping_weight": 0.05,
        "hesitant_weight": 0.08,
        "fumbling_weight": 0.07,
        "bias_m": 0.08,
        "bias_deg": -90.0,
        "bias_spread_deg": 40.0,
        "fumble_m": 0.055,
        "slow_factor": 0.7,
        "pause_share": 0.2,
        "pause_steps": 6,
    }
