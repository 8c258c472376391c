from collections.abc import Iterator

import numpy as np
import pytest

from data.sim.bench_task import BenchTask, TaskBench
from data.sim.cloth import paired_error
from data.sim.flaws import PERFECT
from data.sim.garment import GarmentScenario
from data.tasks import TASKS
from data.tasks.pants_folding import SUCCESS_ERROR_M, pants
from recap.types import Outcome

Pants = TaskBench[GarmentScenario]


@pytest.fixture(scope="module")
def pants_task() -> BenchTask[GarmentScenario]:
    found = TASKS.get("pants_folding")
    assert isinstance(found, BenchTask)
    return found


@pytest.fixture(scope="module")
def robot(pants_task: BenchTask[GarmentScenario]) -> Iterator[Pants]:
    bench = pants_task.make_robot("ray", image_size=16)
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


def test_both_legs_come_up_together(pants_task: BenchTask[GarmentScenario], robot: Pants) -> None:
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
