"""Open-loop evaluation against figures worked out by hand, with policies whose actions are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.support.fakes import RecordingJournal
from tests.support.synthetic import CAMERAS, synthetic_draft

from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from data.framecache import FrameCache, FrameView
from data.tasks import TASKS
from pipelines.facts import ComputeFacts
from pipelines.steps.open_loop_eval.outputs import OpenLoopEval
from pipelines.steps.open_loop_eval.step import OpenLoopEvalConfig
from pipelines.steps.open_loop_eval.worker import STATEMENT, choose_frames, compare, contract, evaluate_open_loop
from recap.errors import HealthError
from recap.types import FloatArray, Observation, Source

TASK = "shirt_folding"
FACTS = ComputeFacts(tasks=(TASK,))
ROBOT = TASKS.get(TASK).robot
EXECUTE = 3


class _Policy:
    """Acts by `answer(observation)`; remembers what it was shown."""

    policy_id = "p" * 64
    execute = EXECUTE

    def __init__(self, answer: Callable[[Observation], FloatArray]) -> None:
        self.answer = answer
        self.seen: list[tuple[Observation, int]] = []

    def act(self, observation: Observation, *, noise_seed: int) -> FloatArray:
        self.seen.append((observation, noise_seed))
        return self.answer(observation)


def _keep(observation: Observation) -> FloatArray:
    return np.repeat(observation.state[None], EXECUTE + 2, axis=0)


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    store = EpisodeStore(tmp_path / "episodes")
    for seed in range(4):
        store.commit(synthetic_draft(seed, length=8, source=Source.ROLLOUT if seed % 2 else Source.DEMO))
    return store


@pytest.fixture
def packed(store: EpisodeStore, tmp_path: Path) -> FrameView:
    return FrameCache(tmp_path / "cache").view(store, store.ids(), cameras=CAMERAS)


@pytest.fixture
def play(store: EpisodeStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., OpenLoopEval]:
    def run(policy: _Policy, *, labels: Path | None = None, **settings: Any) -> OpenLoopEval:
        monkeypatch.setattr("policy.models.load_policy", lambda path, *, runtime: policy)
        ids = EpisodeSet.of(store.ids()).to_json()
        config = OpenLoopEvalConfig(**{"frames": 5, **settings})
        journal = RecordingJournal()
        return evaluate_open_loop(config, FACTS, ids, tmp_path / "p", labels, store.root, tmp_path / "cache", journal)

    return run


@pytest.fixture
def labels(packed: FrameView, tmp_path: Path) -> Path:
    positive = np.arange(packed.num_frames) % 4 == 0
    table = FrameTable(ids=packed.episode_ids, offsets=packed.offsets, arrays={"positive": positive})
    table.write(tmp_path / "labels")
    return tmp_path / "labels"


def _recorded(packed: FrameView) -> Callable[[Observation], FloatArray]:
    """A policy that knows by heart what was done at each state."""

    def answer(observation: Observation) -> FloatArray:
        row = int(np.flatnonzero((packed.state == observation.state).all(axis=1))[0])
        padded = np.concatenate([packed.action, np.zeros_like(packed.action[:EXECUTE])])
        return padded[row : row + EXECUTE]

    return answer


def test_a_policy_that_repeats_the_recording_has_no_error(
    packed: FrameView, play: Callable[..., OpenLoopEval], labels: Path
) -> None:
    figures = play(_Policy(_recorded(packed)), labels=labels, frames=1000)
    assert set(figures.groups) == {"demos", "positive", "negative"}
    for group in figures.groups.values():
        assert group.error == (0.0,) * 14
        assert min(value for value in group.keep_state_error if value is not None) > 0
        assert group.closer_than_keeping == group.comparable == 14
    assert figures.frames == packed.num_frames
    assert figures.contract.outside_fraction == 0.0
    assert figures.statement == STATEMENT


def test_a_policy_that_keeps_its_state_equals_the_baseline(play: Callable[..., OpenLoopEval]) -> None:
    demos = play(_Policy(_keep)).groups["demos"]
    assert demos.error == pytest.approx(demos.keep_state_error, rel=1e-6)
    for mean in demos.mean.values():
        assert mean.error == pytest.approx(mean.keep_state_error, rel=1e-6)


def test_only_the_executed_part_within_the_episode_is_compared(packed: FrameView) -> None:
    last, first = int(packed.offsets[1]) - 1, 0
    acted = {first: packed.action[:3] + 1, last: packed.action[last : last + 1] - 2}
    figures = compare(packed, acted, ROBOT)
    assert figures.steps == 4
    assert figures.error == pytest.approx([(3 * 1 + 2) / 4] * 14, rel=1e-6)
    assert figures.mean["rad"].error == pytest.approx(1.25, rel=1e-6)


def test_the_last_frame_of_an_episode_is_compared_alone(packed: FrameView, play: Callable[..., OpenLoopEval]) -> None:
    demos = play(_Policy(_keep), frames=1000).groups["demos"]
    # 8 steps each: six frames see 3 ahead, the last two see 2 and 1.
    assert (demos.frames, demos.steps) == (16, 2 * (6 * 3 + 2 + 1))


def test_an_action_without_a_state_of_its_name_has_no_baseline(packed: FrameView) -> None:
    robot = replace(ROBOT, state_names=(*ROBOT.state_names[:-1], "other"))
    figures = compare(packed, {0: packed.action[:3]}, robot)
    assert figures.keep_state_error[-1] is None
    assert None not in figures.keep_state_error[:-1]
    assert figures.comparable == 13
    assert figures.mean[ROBOT.action_units[-1]].keep_state_error is None


def test_actions_beyond_the_recorded_range_are_counted_per_dimension() -> None:
    recorded = np.array([[0.0, -1.0], [10.0, 1.0]], np.float32)
    acted = np.array([[10.5, 0.0], [11.5, 0.0], [-0.9, -1.3], [5.0, 0.5]], np.float32)
    robot: Any = SimpleNamespace(action_names=("a", "b"))
    figures = contract(recorded, acted, 0.1, robot)
    assert figures.outside == {"a": 0.25, "b": 0.25}
    assert figures.outside_fraction == 0.25
    assert contract(recorded, recorded, 0.0, robot).outside == {}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda seen: np.full((4, 14), np.nan, np.float32), "expected finite numbers"),
        (lambda seen: np.full((4, 14), np.inf, np.float32), "expected finite numbers"),
        (lambda seen: np.zeros((2, 14), np.float32), "actions of shape"),
        (lambda seen: np.zeros((4, 13), np.float32), "actions of shape"),
    ],
)
def test_actions_that_no_robot_may_be_sent_fail_the_step(
    play: Callable[..., OpenLoopEval], answer: Callable[[Observation], FloatArray], said: str
) -> None:
    with pytest.raises(HealthError, match=said):
        play(_Policy(answer))


def test_it_shows_the_policy_what_was_recorded(packed: FrameView, play: Callable[..., OpenLoopEval]) -> None:
    policy = _Policy(_keep)
    play(policy, frames=1000)
    assert len({seed for _, seed in policy.seen}) == len(policy.seen), "noise of its own for every frame"
    observation = policy.seen[0][0]
    row = int(np.flatnonzero((packed.state == observation.state).all(axis=1))[0])
    assert observation.prompt == TASKS.get(TASK).spec.prompt
    for place, camera in enumerate(CAMERAS):
        np.testing.assert_array_equal(observation.frames[camera], packed.images[row, place])


def test_equal_calls_give_equal_figures_and_another_seed_other_frames(play: Callable[..., OpenLoopEval]) -> None:
    assert play(_Policy(_keep)) == play(_Policy(_keep))
    assert play(_Policy(_keep), seed=1) != play(_Policy(_keep))


def test_further_episodes_do_not_reshuffle_the_frames(store: EpisodeStore, packed: FrameView, tmp_path: Path) -> None:
    def drawn(pack: FrameView, count: int) -> set[tuple[str, int]]:
        rows = choose_frames(pack, np.ones(pack.num_frames, np.bool_), count, 0).tolist()
        episodes = [int(pack.episode_of[row]) for row in rows]
        return {(pack.episode_ids[e], r - int(pack.offsets[e])) for r, e in zip(rows, episodes, strict=True)}

    before = drawn(packed, 10)
    new = store.commit(synthetic_draft(9, length=8))
    grown = FrameCache(tmp_path / "cache").view(store, store.ids(), cameras=CAMERAS)
    after = drawn(grown, 10)
    assert len(before) == len(after) == 10
    assert all(episode == new for episode, _ in after - before)
    assert drawn(packed, 5) < before, "a larger sample holds the smaller one"
