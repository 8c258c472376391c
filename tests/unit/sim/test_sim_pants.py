from collections.abc import Iterator

import numpy as np
import pytest

from data.sim import arms
from data.sim.bimanual_task import BimanualTask, TaskEnv
from data.sim.cloth import align, align_most, paired_error, turn
from data.sim.expert import Carry, Skill
from data.sim.flaws import CLEAN, PERFECT
from data.sim.garment import GarmentScenario
from data.sim.grips import Fingers
from data.sim.rehearsal import Rehearsal
from data.tasks import TASKS
from data.tasks.pants_folding import SUCCESS_ERROR_M, pants
from recap.types import Outcome

Pants = TaskEnv[GarmentScenario]


@pytest.fixture(scope="module")
def pants_task() -> BimanualTask[GarmentScenario]:
    found = TASKS.get("pants_folding")
    assert isinstance(found, BimanualTask)
    return found


@pytest.fixture(scope="module")
def robot(pants_task: BimanualTask[GarmentScenario]) -> Iterator[Pants]:
    bench = pants_task.make_env("ray", image_size=16)
    yield bench
    bench.close()


def lay(robot: Pants, points: np.ndarray) -> None:
    cloth = robot.scenario.cloth
    target = np.concatenate([points, np.full((len(points), 1), 0.004)], axis=1)
    robot.data.qpos[cloth._address] = target - cloth._rest
    robot._settle()


def test_the_fold_is_a_quarter_of_the_pants() -> None:
    garment = pants()
    assert len(garment.mesh.points) == 58
    assert garment.ideal.min() >= 0
    assert paired_error(garment.mesh.points, garment.ideal) > 3 * SUCCESS_ERROR_M
    assert paired_error(garment.folds[0].goal, garment.ideal) > 2 * SUCCESS_ERROR_M


def test_layers_pair_each_vertex_of_a_leg_with_its_mirror_image() -> None:
    garment = pants()
    assert garment.layers is not None
    assert np.array_equal(garment.layers, garment.layers.T)
    a, b = np.nonzero(garment.layers)
    assert np.allclose(garment.mesh.points[a], garment.mesh.points[b] * np.array([-1.0, 1.0]))
    middle = np.abs(garment.mesh.points[:, 0]) < 1e-9
    assert not garment.layers[middle].any()


def test_stages_and_success_by_hand(robot: Pants) -> None:
    garment = robot.scenario.garment
    robot.reset(0)
    assert robot.scenario.read().stage == 0
    lay(robot, garment.folds[0].goal)
    halved = robot.scenario.read()
    assert (halved.stage, halved.succeeded) == (1, False)
    assert halved.milestones == {"leg_folded": True, "hem_folded": False}
    assert halved.progress == pytest.approx(0.5)
    lay(robot, garment.ideal)
    done = robot.scenario.read()
    assert (done.stage, done.succeeded) == (2, True)
    assert done.progress == pytest.approx(1.0)


def test_hems_before_legs_are_out_of_order(robot: Pants) -> None:
    robot.reset(0)
    flat = robot.scenario.garment.mesh.points
    lay(robot, np.stack([flat[:, 0], np.abs(flat[:, 1])], axis=1))
    assert robot.scenario.read().errors == {"wrong_order"}


def test_both_legs_come_up_together(pants_task: BimanualTask[GarmentScenario], robot: Pants) -> None:
    robot.reset(3)
    expert = pants_task.make_expert(robot, 3, PERFECT)
    held: set[int] = set()
    while not robot.finished:
        robot.step(expert.act())
        if robot.scenario.read().stage == 1:
            held |= {index for side in (0, 1) for index in robot.grasp.held[side]}
    assert robot.truth().outcome is Outcome.SUCCESS
    x = robot.scenario.garment.mesh.points[sorted(held), 0]
    assert x.min() < 0 < x.max(), "vertices of both legs"


def test_fingers_hold_what_was_forecast(robot: Pants) -> None:
    robot.reset(0)
    # Both legs on each other, but the left one 2 cm off: three vertices of two layers about each hem corner.
    garment, fingers = robot.scenario.garment, Fingers(robot.scenario.grasp_points)
    laid = garment.folds[0].goal + np.where(garment.mesh.points[:, :1] < 0, 0.02, 0.0)
    lay(robot, laid)
    points = robot.scenario.cloth.vertices()
    tools = laid[[5, 3, 51]] + np.array([0.004, -0.012])
    index, found = fingers.held(tools, points)
    for tool, vertices, holds in zip(tools, index, found, strict=True):
        robot.grasp.clear()
        distance = np.sqrt(np.sum((points - [*tool, 0.009]) ** 2, axis=1))
        nearest = int(distance.argmin())
        linked = robot.scenario.grasp_points.adjacent[nearest] & (distance <= 0.05)
        expected = [nearest, *sorted(np.flatnonzero(linked), key=lambda v: (distance[v], v))][:3]
        assert vertices[holds].tolist() == expected
    assert not fingers.held(np.array([[0.4, 0.4]]), points)[1].any(), "nothing near"


def test_a_grip_is_aimed_at_both_layers(robot: Pants) -> None:
    robot.reset(0)
    garment, fingers = robot.scenario.garment, Fingers(robot.scenario.grasp_points)
    lay(robot, garment.folds[0].goal + np.where(garment.mesh.points[:, :1] < 0, 0.02, 0.0))
    wanted = frozenset({0, 5})
    best = fingers.rank(robot.scenario.cloth.vertices(), garment.ideal, [0, 5], wanted, frozenset())[0]
    assert set(best.held) >= wanted
    assert best.gain_m > 0.1
    assert best.shift[1] > 0.2, "up to the waist"


def test_a_rehearsal_leaves_the_bench_as_it_is_and_comes_true(robot: Pants) -> None:
    robot.reset(1)
    for _ in range(3):
        robot.step(np.array([*arms.inverse(0, arms.Pose(x=-0.2, y=0.0, z=0.2)), 1.0] * 2, dtype=np.float32))
    before = (robot.data.qpos.tobytes(), robot.data.qvel.tobytes(), robot.model.eq_data.tobytes(), robot.steps)
    waist = robot.scenario.cloth.vertices()[51, :2]
    x, y = float(waist[0]) - 0.02, float(waist[1])
    skill = Skill(stage=0, carries=(Carry(side=0, grasp=(x, y), place=(x + 0.15, y)),), direct=True)
    rehearsal = Rehearsal(robot.scenario)
    points, steps = rehearsal.play(skill)
    again, _ = rehearsal.play(skill)
    assert np.array_equal(points, again)
    assert 10 < steps < 40
    assert not robot.grasp.closed[0]
    assert before == (robot.data.qpos.tobytes(), robot.data.qvel.tobytes(), robot.model.eq_data.tobytes(), robot.steps)
    assert points[51, 0] - waist[0] == pytest.approx(0.15, abs=0.02)


def test_what_lies_far_off_does_not_turn_the_frame() -> None:
    garment = pants()
    moved = turn(garment.ideal, 0.3) + np.array([0.1, -0.2])
    moved[:8] += 0.15
    (angle, shift), (plain, drawn) = align_most(garment.ideal, moved), align(garment.ideal, moved)
    assert abs(angle - 0.3) < 0.3 * abs(plain - 0.3)
    assert np.abs(shift - [0.1, -0.2]).max() < 0.3 * np.abs(drawn - [0.1, -0.2]).max()


def test_a_lower_leg_left_behind_is_brought_up(pants_task: BimanualTask[GarmentScenario], robot: Pants) -> None:
    garment = robot.scenario.garment
    robot.reset(2)
    left = garment.mesh.points[:, :1] < 0
    lay(robot, np.where(left, garment.folds[0].goal, garment.ideal))
    assert robot.scenario.error() > 0.04
    expert = pants_task.make_takeover(robot, 2)
    while not (robot.finished or expert.done):
        robot.step(expert.act())
    assert robot.truth().outcome is Outcome.SUCCESS
    assert robot.steps < 60


def test_the_expert_searches_the_same_way_twice(pants_task: BimanualTask[GarmentScenario], robot: Pants) -> None:
    def states() -> list[bytes]:
        robot.reset(4)
        lay(robot, np.where(robot.scenario.garment.mesh.points[:, :1] < 0, 0.1, 0.0) + robot.scenario.garment.ideal)
        expert = pants_task.make_expert(robot, 4, CLEAN)
        found = []
        while not (robot.finished or len(found) == 30):
            robot.step(expert.act())
            found.append(robot.data.qpos.tobytes())
        return found

    assert states() == states()
