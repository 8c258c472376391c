"""What every task on the simulated bench must keep, whatever it is about."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from data.rollout import record_demo
from data.sim import arms
from data.sim.bimanual_env import BimanualEnv
from data.sim.bimanual_task import BimanualTask
from data.sim.expert import ScriptedExpert
from data.sim.flaws import CLEAN, MODES, FlawConfig
from data.tasks import (
    TASKS,
    Expert,
    SimTask,
    box_assembly,
    flaws_of,
    pants_folding,
    shirt_folding,
    toilet_paper_organization,
)
from recap.errors import RecapError
from recap.specs import Split, start_seeds
from recap.types import Outcome

NAMES = [name for name in TASKS.names() if isinstance(TASKS.get(name), BimanualTask)]
SEEDS = start_seeds(Split.VALIDATION, 6)
Pair = tuple[SimTask, BimanualEnv]


# The slowest of them is for `make test-all`; what is its own is tested in test_sim_pants.py.
@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=[pytest.mark.slow] * (name == "pants_folding")) for name in NAMES],
)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    task = TASKS.get(request.param)
    robot = task.make_env("ray", 16)
    assert isinstance(robot, BimanualEnv)
    yield task, robot
    robot.close()


def play(robot: BimanualEnv, expert: Expert, steps: int = 1000) -> None:
    for _ in range(steps):
        if robot.finished or expert.done:
            return
        robot.step(expert.act())


def only(mode: str) -> FlawConfig:
    return FlawConfig(flawed_share=1.0, **{f"{name}_weight": float(name == mode) for name in MODES[1:]})


def test_the_description_fits_the_robot(pair: Pair) -> None:
    task, robot = pair
    assert task.spec.robot == task.robot.id == robot.spec.id
    assert task.robot.action_names == robot.spec.action_names
    assert task.spec.prompt
    assert task.spec.success
    assert 0 < task.spec.positive_fraction < 1
    robot.reset(SEEDS[0])
    assert robot.observe(draw=False).state.shape == (len(task.robot.state_names),)
    assert set(robot.observe().frames) == set(task.robot.camera_names)


def test_a_clean_expert_succeeds_and_progress_tells_how_far_it_is(pair: Pair) -> None:
    task, robot = pair
    lengths = []
    for seed in SEEDS[:3]:
        robot.reset(seed)
        play(robot, task.make_expert(robot, seed, CLEAN))
        truth = robot.truth()
        assert truth.progress.min() >= 0
        assert truth.progress.max() <= 1
        assert truth.progress[0] < 0.05
        if truth.outcome is Outcome.SUCCESS:
            assert truth.metrics["final_progress"] > 0.7
            assert truth.stage[-1] > truth.stage[0]
            assert truth.events[-1].name == "success"
            assert sum(event.kind == 1 for event in truth.events) >= 3
            lengths.append(len(truth.progress))
    assert len(lengths) >= 2
    assert np.mean(lengths) < 0.7 * task.spec.max_steps, "slow attempts need room"


def test_demonstrations_are_of_mixed_quality(pair: Pair) -> None:
    task, robot = pair

    def attempt(mode: str, seed: int, steps: int = 1000) -> Outcome:
        robot.reset(seed)
        play(robot, task.make_expert(robot, seed, only(mode)), steps)
        return robot.truth().outcome

    assert Outcome.FAILURE in [attempt("biased", seed) for seed in SEEDS[:2]]
    assert attempt("skipping", SEEDS[0]) is Outcome.FAILURE
    assert Outcome.SUCCESS in [attempt("hesitant", seed) for seed in SEEDS[:2]]


def test_the_expert_errs_as_the_task_says(pair: Pair) -> None:
    task, robot = pair
    robot.reset(SEEDS[0])
    for seed in range(40):
        expert = task.make_expert(robot, seed, FlawConfig())
        assert isinstance(expert, ScriptedExpert)
        assert expert._flaws == flaws_of(task, FlawConfig(), seed)


def test_a_fumbler_misses(pair: Pair) -> None:
    task, robot = pair

    def misses(seed: int) -> bool:
        robot.reset(seed)
        play(robot, task.make_expert(robot, seed, only("fumbling")), 35)
        return any(event.name.startswith("missed_grasp") and event.kind == -1 for event in robot.truth().events)

    assert any(misses(seed) for seed in SEEDS)


def test_a_fresh_process_gives_the_same_states(pair: Pair) -> None:
    task, robot = pair
    code = f"""
import hashlib
from data.sim.flaws import FlawConfig
from data.tasks import TASKS
task = TASKS.get("{task.spec.id}")
robot = task.make_env("ray", 16)
robot.reset({SEEDS[0]})
expert, digest = task.make_expert(robot, {SEEDS[0]}, FlawConfig()), hashlib.sha256()
for _ in range(30):
    robot.step(expert.act())
    digest.update(robot.data.qpos.tobytes() + robot.data.qvel.tobytes())
print(digest.hexdigest())
"""
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    robot.reset(SEEDS[1])
    play(robot, task.make_expert(robot, SEEDS[1], FlawConfig()), 20)
    robot.reset(SEEDS[0])
    expert, digest = task.make_expert(robot, SEEDS[0], FlawConfig()), hashlib.sha256()
    for step in range(30):
        if step % 15 == 0:
            robot.observe()
        robot.step(expert.act())
        digest.update(robot.data.qpos.tobytes() + robot.data.qvel.tobytes())
    assert digest.hexdigest() == there, "also after another attempt, and with pictures drawn"


def test_starts_differ(pair: Pair) -> None:
    _, robot = pair
    starts = []
    for seed in SEEDS:
        robot.reset(seed)
        starts.append(robot.data.qpos.copy())
    assert len({start.tobytes() for start in starts}) == len(SEEDS)
    robot.reset(SEEDS[0])
    assert np.array_equal(robot.data.qpos, starts[0])


def test_the_expert_takes_over_in_the_middle(pair: Pair) -> None:
    task, robot = pair
    saved = 0
    for seed in SEEDS[:3]:
        robot.reset(seed)
        play(robot, task.make_expert(robot, seed, only("skipping")), 35)
        assert not robot.finished
        play(robot, task.make_takeover(robot, seed))
        saved += robot.truth().outcome is Outcome.SUCCESS
    assert saved >= 2


def test_nothing_done_ends_with_the_step_limit(pair: Pair) -> None:
    task, robot = pair
    robot.reset(SEEDS[0])
    hold = robot.observe(draw=False).state
    while not robot.finished:
        robot.step(hold)
    truth = robot.truth()
    assert robot.steps == task.spec.max_steps
    assert truth.outcome is Outcome.FAILURE
    assert [event.name for event in truth.events] == ["timeout"]
    assert truth.metrics["final_progress"] < 0.05
    with pytest.raises(RecapError, match="over"):
        robot.step(hold)


def test_violent_actions_break_nothing(pair: Pair) -> None:
    _, robot = pair
    rng = np.random.default_rng(0)
    robot.reset(SEEDS[0])
    while not robot.finished:
        if robot.steps % 5 == 0:
            parts: list[float] = []
            for side in (0, 1):
                x, y, z, yaw = rng.uniform((-0.35, -0.25, -0.05, -1.5), (0.35, 0.3, 0.3, 1.5))
                parts += [*arms.inverse(side, arms.Pose(x=x, y=y, z=z, yaw=yaw)), float(rng.random() > 0.5)]
        robot.step(np.array(parts, dtype=np.float32) + rng.normal(0, 0.2, size=14).astype(np.float32))
        assert np.isfinite(robot.data.qpos).all()
    assert robot.truth().outcome is Outcome.FAILURE


def test_broken_physics_is_aborted_not_failed(pair: Pair) -> None:
    _, robot = pair
    robot.reset(SEEDS[0])
    robot.data.qvel[-1] = np.nan
    robot.step(robot.observe(draw=False).state)
    assert robot.truth().outcome is Outcome.ABORTED
    robot.reset(SEEDS[0])
    assert np.isfinite(robot.data.qpos).all()


def test_wrong_actions_are_refused(pair: Pair) -> None:
    _, robot = pair
    robot.reset(SEEDS[0])
    with pytest.raises(RecapError, match=r"shape \(14,\), got \(3,\)"):
        robot.step(np.zeros(3, dtype=np.float32))


def test_a_demonstration_can_be_recorded(pair: Pair) -> None:
    task, robot = pair
    draft, truth = record_demo(task, robot, SEEDS[2], CLEAN)
    assert draft.task == task.spec.id
    assert draft.length == len(truth.progress) == draft.state.shape[0]


@pytest.mark.slow
def test_experts_and_takeovers_hold_over_many_starts(pair: Pair) -> None:
    task, robot = pair
    starts = start_seeds(Split.VALIDATION, 100)
    successes = saved = 0
    for seed in starts:
        robot.reset(seed)
        play(robot, task.make_expert(robot, seed, CLEAN))
        successes += robot.truth().outcome is Outcome.SUCCESS
        robot.reset(seed)
        play(robot, task.make_expert(robot, seed, only("skipping")), 10 + seed % 50)
        play(robot, task.make_takeover(robot, seed))
        saved += robot.truth().outcome is Outcome.SUCCESS
    assert successes >= 90
    assert saved >= 90


def test_the_difficulty_is_frozen() -> None:
    """Results are compared across versions: a change here is a new task, not a setting (docs/tasks.md)."""
    limits = {name: TASKS.get(name).spec.max_steps for name in NAMES}
    assert limits == {
        "box_assembly": 400,
        "pants_folding": 180,
        "shirt_folding": 150,
        "toilet_paper_organization": 220,
    }
    assert (box_assembly.LATCH_RAD, box_assembly.GRASP_RADIUS_M, box_assembly.LOST_M) == (1.0, 0.05, 0.22)
    assert (box_assembly.START_SHIFT_M, box_assembly.START_TURN_RAD) == (0.03, 0.2)
    shares = {name: TASKS.get(name).flawed_share for name in NAMES}
    assert shares == {
        "box_assembly": 0.9,
        "pants_folding": 0.5,
        "shirt_folding": 0.75,
        "toilet_paper_organization": 0.65,
    }
    rolls = toilet_paper_organization
    assert (rolls.RING_M, rolls.RADIUS_M) == (0.085, 0.028)
    assert (rolls.GRASP_RADIUS_M, rolls.START_SHIFT_M) == (0.05, 0.025)
    for garment in (shirt_folding.shirt(), pants_folding.pants()):
        assert (garment.success_error_m, garment.shift_m, garment.turn_rad) == (0.035, 0.03, 0.15)
