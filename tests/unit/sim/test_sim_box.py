from collections.abc import Iterator

import numpy as np
import pytest

from data.sim import arms
from data.sim.bimanual_task import BimanualTask, TaskEnv
from data.sim.flaws import CLEAN, PERFECT, FlawConfig
from data.tasks import TASKS
from data.tasks.box_assembly import FLAPS, LATCH_RAD, NAMES, UPRIGHT_RAD, BoxScenario
from recap.errors import RecapError
from recap.types import Outcome

LEFT, RIGHT, FRONT, BACK, LID = range(5)
Box = TaskEnv[BoxScenario]


@pytest.fixture(scope="module")
def box_task() -> BimanualTask[BoxScenario]:
    found = TASKS.get("box_assembly")
    assert isinstance(found, BimanualTask)
    return found


@pytest.fixture(scope="module")
def box(box_task: BimanualTask[BoxScenario]) -> Iterator[Box]:
    bench = box_task.make_env("ray", image_size=16)
    yield bench
    bench.close()


def drive(task: BimanualTask[BoxScenario], robot: Box, seed: int, flaws: FlawConfig, steps: int = 1000) -> list[str]:
    """Lets the expert act; returns the names of the events."""
    expert = task.make_expert(robot, seed, flaws)
    for _ in range(steps):
        if robot.finished or expert.done:
            break
        robot.step(expert.act())
    return [event.name for event in robot.truth().events]


def stay(robot: Box, steps: int) -> None:
    hold = robot.observe(draw=False).state
    hold[[6, 13]] = 1.0
    for _ in range(steps):
        robot.step(hold)


def fold(robot: Box, flap: int, angle: float) -> None:
    """Puts a flap at an angle, as if by magic."""
    robot.data.qpos[robot.scenario._folds[flap]] = angle
    robot.data.qvel[:] = 0.0
    robot._settle()


def test_flaps_fold_in_their_order(box_task: BimanualTask[BoxScenario], box: Box) -> None:
    box.reset(0)
    names = drive(box_task, box, 0, PERFECT)
    assert [name for name in names if name.endswith("folded")] == [f"{name}_folded" for name in NAMES]
    truth = box.truth()
    assert truth.outcome is Outcome.SUCCESS
    assert (np.diff(truth.stage) >= 0).all()
    assert truth.stage.max() == 5
    assert truth.metrics["final_progress"] == pytest.approx(1.0)


def test_a_flap_latches_just_above_the_angle_and_not_below(box: Box) -> None:
    for angle, latches in ((LATCH_RAD + 0.01, True), (LATCH_RAD - 0.01, False)):
        box.reset(0)
        fold(box, LEFT, angle)
        stay(box, 10)
        assert box.scenario.latched()[LEFT] == latches
        assert box.scenario.angles()[LEFT] == pytest.approx(UPRIGHT_RAD if latches else 0.0, abs=0.05)


@pytest.mark.parametrize("flap", [FRONT, BACK, LID])
def test_a_flap_before_its_turn_does_not_latch(box: Box, flap: int) -> None:
    box.reset(0)
    fold(box, flap, UPRIGHT_RAD)
    stay(box, 10)
    assert not box.scenario.latched().any()
    assert box.scenario.angles()[flap] < 0.5, "it springs back"
    assert box.truth().metrics["final_progress"] == pytest.approx(0.0, abs=0.02)


def build(robot: Box, *flaps: int) -> None:
    for flap in flaps:
        fold(robot, flap, UPRIGHT_RAD)
        stay(robot, 2)
    assert list(np.flatnonzero(robot.scenario.latched())) == sorted(flaps)


def grip(robot: Box, flap: int, side: int, *, opening: float) -> None:
    """Brings a tool to the flap's free edge, closed or open."""
    x, y, z = (float(value) for value in robot.scenario.tips()[flap])
    action = robot.observe(draw=False).state
    action[side * 7 : side * 7 + 6] = arms.inverse(side, arms.Pose(x=x, y=y, z=z))
    action[[6, 13]] = 1.0
    for _ in range(12):
        robot.step(action)
    action[side * 7 + 6] = opening
    robot.step(action)


def test_a_gripped_flap_comes_loose_unless_a_later_one_covers_it(box: Box) -> None:
    box.reset(0)
    build(box, LEFT, RIGHT)
    grip(box, RIGHT, 1, opening=0.0)
    assert box.scenario.held() == {RIGHT}
    assert list(box.scenario.latched()) == [True, False, False, False, False]
    box.reset(0)
    build(box, LEFT, RIGHT, FRONT)
    grip(box, RIGHT, 1, opening=0.0)
    assert box.scenario.held() == {RIGHT}
    assert list(box.scenario.latched()) == [True, True, True, False, False]


def test_a_flap_pulled_open_is_undone(box: Box) -> None:
    box.reset(0)
    build(box, LEFT)
    grip(box, LEFT, 0, opening=0.0)
    action = box.observe(draw=False).state
    x, y, _ = (float(value) for value in box.scenario.tips()[LEFT])
    action[:6] = arms.inverse(0, arms.Pose(x=x - 0.06, y=y, z=0.02))
    action[6] = 0.0
    for _ in range(10):
        box.step(action)
    assert "left_folded_undone" in [event.name for event in box.truth().events]


def test_success_needs_every_latch_and_empty_hands(box: Box) -> None:
    box.reset(0)
    build(box, LEFT, RIGHT, FRONT, BACK)
    assert not box.scenario.read().succeeded
    build(box, LEFT, RIGHT, FRONT, BACK, LID)
    assert box.scenario.read().succeeded
    box.grasp.held[0] = (LID,)
    assert not box.scenario.read().succeeded, "still held"
    box.grasp.held[0] = ()


def test_a_skipped_wall_shows_as_wrong_order(box_task: BimanualTask[BoxScenario], box: Box) -> None:
    skipping = FlawConfig(flawed_share=1.0, biased_weight=0, hesitant_weight=0, fumbling_weight=0, noise_m=0.0)
    seen = set()
    for seed in range(6):
        box.reset(seed)
        names = drive(box_task, box, seed, skipping)
        assert box.truth().outcome is Outcome.FAILURE
        missing = {f"{name}_folded" for name in NAMES} - set(names)
        assert missing
        if missing != {"lid_folded"}:
            assert "wrong_order" in names
        seen |= missing
    assert len(seen) > 2


def test_a_box_pushed_out_of_reach_is_lost(box: Box) -> None:
    box.reset(0)
    box.data.qpos[box.scenario._floor[0]] = 0.3
    stay(box, 1)
    assert box.truth().outcome is Outcome.FAILURE
    assert box.truth().events[-1].name == "object_lost"


def test_reset_opens_every_latch(box_task: BimanualTask[BoxScenario], box: Box) -> None:
    box.reset(1)
    first = (box.data.qpos.copy(), box.model.eq_data.copy())
    drive(box_task, box, 1, CLEAN, steps=60)
    assert box.scenario.latched().any()
    box.reset(1)
    assert not box.scenario.latched().any()
    assert np.array_equal(box.data.qpos, first[0])
    assert np.array_equal(box.model.eq_data, first[1])


def test_every_flap_reaches_its_predecessors_first() -> None:
    place = {flap.name: index for index, flap in enumerate(FLAPS)}
    assert all(place[before] < place[flap.name] for flap in FLAPS for before in flap.after)


def test_the_expert_refuses_the_robot_of_another_task(box_task: BimanualTask[BoxScenario]) -> None:
    shirt = TASKS.get("shirt_folding").make_env("ray", 16)
    with pytest.raises(RecapError, match="expert of 'box_assembly' cannot act"):
        box_task.make_expert(shirt, 0, CLEAN)
    shirt.close()
