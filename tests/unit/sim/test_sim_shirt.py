import hashlib
import subprocess
import sys

import numpy as np
import pytest

from data.sim import arms
from data.sim.bimanual_task import BimanualTask, TaskEnv
from data.sim.flaws import CLEAN, PERFECT, FlawConfig
from data.sim.garment import GarmentScenario
from data.sim.scene import SLOTS_PER_GRIPPER
from data.tasks import shirt_folding
from data.tasks.shirt_folding import shirt
from recap.errors import RecapError
from recap.types import Outcome

Task, Robot = BimanualTask[GarmentScenario], TaskEnv[GarmentScenario]


def drive(task: Task, robot: Robot, seed: int, flaws: FlawConfig, steps: int = 1000) -> str:
    """Lets the expert act; returns a digest of every physics state."""
    expert, digest = task.make_expert(robot, seed, flaws), hashlib.sha256()
    for _ in range(steps):
        if robot.finished or expert.done:
            break
        robot.step(expert.act())
        digest.update(robot.data.qpos.tobytes() + robot.data.qvel.tobytes())
    return digest.hexdigest()


def violent(rng: np.random.Generator, *, grips: bool) -> np.ndarray:
    parts: list[float] = []
    for side in (0, 1):
        x, y, z, yaw = rng.uniform((-0.35, -0.25, -0.05, -1.5), (0.35, 0.3, 0.3, 1.5))
        parts += [*arms.inverse(side, arms.Pose(x=x, y=y, z=z, yaw=yaw)), float(rng.random() > 0.5) if grips else 1.0]
    return np.array(parts, dtype=np.float32)


def test_a_clean_expert_folds_the_shirt(task: Task, robot: Robot) -> None:
    lengths = []
    for seed in range(10):
        robot.reset(seed)
        drive(task, robot, seed, CLEAN)
        truth = robot.truth()
        lengths.append(robot.steps)
        assert truth.outcome is Outcome.SUCCESS, seed
        assert truth.metrics["paired_vertex_error_m"] < shirt_folding.SUCCESS_ERROR_M
        assert truth.progress.shape == truth.stage.shape == (robot.steps,)
        assert truth.progress[0] < 0.02
        assert truth.metrics["final_progress"] > 0.7
        names = [event.name for event in truth.events if event.kind == 1]
        assert {"sleeve_left_folded", "sleeve_right_folded", "hem_folded", "success"} <= set(names)
        assert names.index("sleeve_left_folded") < names.index("hem_folded")
    assert 60 < np.mean(lengths) < 90


def test_flawed_modes_fail_or_dawdle(task: Task, robot: Robot) -> None:
    def only(mode: str) -> FlawConfig:
        weights = {f"{name}_weight": float(name == mode) for name in ("biased", "skipping", "hesitant", "fumbling")}
        return FlawConfig(flawed_share=1.0, **weights)

    robot.reset(1)
    drive(task, robot, 1, only("skipping"))
    assert robot.truth().outcome is Outcome.FAILURE
    outcomes = []
    for seed in range(4):
        robot.reset(seed)
        drive(task, robot, seed, only("biased"))
        outcomes.append(robot.truth().outcome)
    assert outcomes.count(Outcome.SUCCESS) <= 1
    robot.reset(2)
    drive(task, robot, 2, only("hesitant"))
    assert robot.steps > 90
    missed = 0
    for seed in range(3):
        robot.reset(seed)
        drive(task, robot, seed, only("fumbling"), steps=30)
        missed += sum(event.name.startswith("missed_grasp") for event in robot.truth().events)
    assert missed > 0


def test_same_seed_same_states_after_other_episodes_and_after_drawing(task: Task, robot: Robot) -> None:
    robot.reset(5)
    first = drive(task, robot, 5, FlawConfig(), steps=40)
    robot.reset(6)
    drive(task, robot, 6, FlawConfig(), steps=25)
    robot.reset(5)
    expert, digest = task.make_expert(robot, 5, FlawConfig()), hashlib.sha256()
    for step in range(40):
        if step % 9 == 0:
            robot.observe()
        robot.step(expert.act())
        digest.update(robot.data.qpos.tobytes() + robot.data.qvel.tobytes())
    assert digest.hexdigest() == first


def test_a_fresh_process_gives_the_same_states(task: Task, robot: Robot) -> None:
    code = """
import hashlib
from data.sim.flaws import FlawConfig
from data.tasks import TASKS
task = TASKS.get("shirt_folding")
robot = task.make_env("ray")
robot.reset(9)
expert, digest = task.make_expert(robot, 9, FlawConfig()), hashlib.sha256()
for _ in range(25):
    robot.step(expert.act())
    digest.update(robot.data.qpos.tobytes() + robot.data.qvel.tobytes())
print(digest.hexdigest())
"""
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    robot.reset(9)
    assert drive(task, robot, 9, FlawConfig(), steps=25) == there


def test_progress_is_the_share_of_the_way_that_each_part_has_gone(task: Task, robot: Robot) -> None:
    robot.reset(3)
    expert, scenario = task.make_expert(robot, 3, FlawConfig()), robot.scenario
    while not robot.finished and not expert.done:
        robot.step(expert.act())
        points, ways = scenario.cloth.vertices()[:, :2], scenario.progress().ways
        for part in scenario.garment.parts:
            places = [scenario.on_table(after) for after in part.after]
            off = np.min([np.sqrt(np.sum((points - place) ** 2, axis=1)) for place in places], axis=0)
            whole = np.sqrt(np.sum((part.before - part.after[0]) ** 2, axis=1))
            share = 1.0 - np.mean(off[part.vertices]) / np.mean(whole[part.vertices])
            assert ways[part.name] == float(np.clip(share, 0.0, 1.0))  # to the bit: episodes hold it


def test_starts_differ_within_the_stated_range(robot: Robot) -> None:
    poses = []
    for seed in range(20):
        robot.reset(seed)
        angle, shift = robot.scenario.frame()
        poses.append((*shift, angle))
    spread = np.array(poses)
    assert np.abs(spread[:, :2]).max() <= shirt_folding.START_SHIFT_M + 1e-9
    assert np.abs(spread[:, 2]).max() <= shirt_folding.START_TURN_RAD + 1e-9
    assert (spread.std(axis=0) > np.array([0.01, 0.01, 0.05])).all()


def test_reset_clears_the_grasp_that_lives_in_the_model(task: Task, robot: Robot) -> None:
    robot.reset(0)
    clean = (robot.model.eq_data.copy(), robot.model.eq_obj2id.copy())
    drive(task, robot, 0, PERFECT, steps=17)
    assert all(robot.grasp.held)
    assert robot.data.eq_active[: 2 * SLOTS_PER_GRIPPER].any()
    robot.reset(0)
    assert robot.grasp.held == [(), ()]
    assert not robot.data.eq_active[: 2 * SLOTS_PER_GRIPPER].any()
    assert np.array_equal(robot.model.eq_data, clean[0])
    assert np.array_equal(robot.model.eq_obj2id, clean[1])


def test_the_expert_takes_over_after_violent_moves(task: Task, robot: Robot) -> None:
    for seed in (0, 1, 2):
        rng = np.random.default_rng(seed)
        robot.reset(seed)
        for step in range(40):
            if step % 5 == 0:
                action = violent(rng, grips=False)
            robot.step(action)
        drive(task, robot, seed, CLEAN)
        assert robot.truth().outcome is Outcome.SUCCESS, seed


def test_the_expert_takes_over_with_the_shirt_in_hand(task: Task, robot: Robot) -> None:
    folded = 0
    for seed in range(5):
        robot.reset(seed)
        drive(task, robot, seed, PERFECT, steps=19)
        assert all(robot.grasp.held)
        drive(task, robot, seed, CLEAN)
        folded += robot.truth().outcome is Outcome.SUCCESS
    assert folded >= 3, "dropping a shirt half-way crumples it; most are still saved"


@pytest.mark.parametrize("seed", [0, 1])
def test_violent_actions_break_nothing(robot: Robot, seed: int) -> None:
    rng = np.random.default_rng(seed)
    robot.reset(seed)
    while not robot.finished:
        if robot.steps % 5 == 0:
            action = violent(rng, grips=True)
        robot.step(action + rng.normal(0, 0.2, size=14).astype(np.float32))
        assert np.isfinite(robot.data.qpos).all()
    assert robot.truth().outcome is Outcome.FAILURE


def test_broken_physics_is_aborted_not_failed(robot: Robot) -> None:
    robot.reset(0)
    robot.data.qvel[30] = np.nan
    robot.step(robot.observe(draw=False).state)
    truth = robot.truth()
    assert robot.finished
    assert truth.outcome is Outcome.ABORTED
    assert np.isfinite(truth.progress).all()
    robot.reset(0)
    assert np.isfinite(robot.data.qpos).all()


def test_wrong_actions_are_refused(task: Task, robot: Robot) -> None:
    robot.reset(0)
    with pytest.raises(RecapError, match=r"shape \(14,\), got \(7,\)"):
        robot.step(np.zeros(7, dtype=np.float32))
    bad = robot.observe(draw=False).state
    bad[3] = np.nan
    with pytest.raises(RecapError, match="left_wrist_pitch"):
        robot.step(bad)


def test_a_robot_needs_a_start_and_ends_after_the_verdict(task: Task, robot: Robot) -> None:
    fresh = task.make_env("ray", image_size=16)
    with pytest.raises(RecapError, match="no start state"):
        fresh.observe(draw=False)
    fresh.close()
    robot.reset(0)
    hold = robot.observe(draw=False).state
    for _ in range(task.spec.max_steps):
        robot.step(hold)
    assert robot.truth().events[-1].name == "timeout"
    with pytest.raises(RecapError, match="over"):
        robot.step(hold)


def lay(robot: Robot, points: np.ndarray, height: float = 0.004) -> None:
    cloth = robot.scenario.cloth
    target = np.concatenate([points, np.full((len(points), 1), height)], axis=1)
    robot.data.qpos[cloth._address] = target - cloth._rest
    robot._settle()


def test_the_success_boundary(robot: Robot) -> None:
    shape = shirt()
    robot.reset(0)
    assert not robot.scenario.read().succeeded
    lay(robot, shape.ideal)
    assert robot.scenario.read().succeeded
    assert robot.scenario.error() == pytest.approx(0.0, abs=1e-9)
    lay(robot, shape.ideal, height=0.08)
    assert not robot.scenario.read().succeeded, "in the air"
    unfolded_sleeve = shape.ideal.copy()
    sleeve = shape.parts[0].vertices
    unfolded_sleeve[sleeve] = shape.mesh.points[sleeve]
    lay(robot, unfolded_sleeve)
    assert robot.scenario.error() < shirt_folding.SUCCESS_ERROR_M
    assert not robot.scenario.read().succeeded, "one sleeve out"
    lay(robot, shape.ideal)
    robot.grasp.held[0] = (3,)
    assert not robot.scenario.read().succeeded, "still held"
    robot.grasp.held[0] = ()
    lay(robot, shape.ideal + np.array([0.6, 0.0]))
    assert robot.scenario.read().lost


def test_error_just_inside_and_outside_the_threshold(robot: Robot) -> None:
    shape = shirt()
    robot.reset(0)
    # Alternate vertices pushed to either side: no rigid motion undoes it.
    rng = np.random.default_rng(0)
    offset = rng.normal(size=shape.ideal.shape)
    low, high = 0.0, 0.1
    for _ in range(40):
        middle = (low + high) / 2
        lay(robot, shape.ideal + middle * offset)
        low, high = (middle, high) if robot.scenario.error() < shirt_folding.SUCCESS_ERROR_M else (low, middle)
    lay(robot, shape.ideal + 0.98 * low * offset)
    inside = robot.scenario.read()
    lay(robot, shape.ideal + 1.02 * low * offset)
    assert inside.metrics["paired_vertex_error_m"] < shirt_folding.SUCCESS_ERROR_M
    assert not robot.scenario.read().succeeded


def test_shirt() -> None:
    shape = shirt()
    assert shape.mesh.points.shape == (75, 2)
    assert len(shape.mesh.triangles) == 112
    assert shape.ideal[:, 1].min() >= -1e-9
    assert np.abs(shape.ideal[:, 0]).max() <= 0.12 + 1e-9
