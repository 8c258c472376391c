from collections.abc import Iterator

import numpy as np
import pytest

from data.sim import arms
from data.sim.bimanual_task import BimanualTask, TaskEnv
from data.sim.flaws import PERFECT
from data.tasks import TASKS
from data.tasks.toilet_paper_organization import (
    GRIP_BELOW_M,
    HEIGHT_M,
    PLACED_M,
    RADIUS_M,
    SLOTS,
    START_SHIFT_M,
    STARTS,
    RollScenario,
)
from recap.types import Outcome

Rolls = TaskEnv[RollScenario]
MIDDLES = list(SLOTS.values())
LYING = (np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0)


@pytest.fixture(scope="module")
def roll_task() -> BimanualTask[RollScenario]:
    found = TASKS.get("toilet_paper_organization")
    assert isinstance(found, BimanualTask)
    return found


@pytest.fixture(scope="module")
def rolls(roll_task: BimanualTask[RollScenario]) -> Iterator[Rolls]:
    bench = roll_task.make_env("ray", image_size=16)
    yield bench
    bench.close()


def stand(
    robot: Rolls, roll: int, x: float, y: float, *, z: float = HEIGHT_M / 2, turn: tuple[float, ...] = ()
) -> None:
    """Puts a roll somewhere, as if by magic."""
    first = robot.scenario._first[roll]
    robot.data.qpos[first : first + 3] = (x, y, z)
    robot.data.qpos[first + 3 : first + 7] = turn or (1.0, 0.0, 0.0, 0.0)
    robot.data.qvel[:] = 0.0
    robot._settle()


def stay(robot: Rolls, steps: int) -> None:
    hold = robot.observe(draw=False).state
    hold[[6, 13]] = 1.0
    for _ in range(steps):
        robot.step(hold)


def move(robot: Rolls, side: int, x: float, y: float, z: float, *, opening: float, steps: int = 15) -> None:
    action = robot.observe(draw=False).state
    action[side * 7 : side * 7 + 6] = arms.inverse(side, arms.Pose(x=x, y=y, z=z))
    action[side * 7 + 6] = opening
    action[(1 - side) * 7 + 6] = 1.0
    for _ in range(steps):
        robot.step(action)


def test_two_rolls_at_a_time_back_row_first(roll_task: BimanualTask[RollScenario], rolls: Rolls) -> None:
    rolls.reset(0)
    expert = roll_task.make_expert(rolls, 0, PERFECT)
    while not rolls.finished:
        rolls.step(expert.act())
    truth = rolls.truth()
    assert truth.outcome is Outcome.SUCCESS
    names = [event.name for event in truth.events if event.kind == 1]
    assert set(names[:2]) == {"back_left_filled", "back_right_filled"}
    assert set(names[2:4]) == {"front_left_filled", "front_right_filled"}
    assert (np.diff(truth.stage) >= 0).all()


def test_rolls_start_apart_and_within_the_stated_range(rolls: Rolls) -> None:
    for seed in range(20):
        rolls.reset(seed)
        xy = rolls.scenario.centres()[:, :2]
        assert np.abs(xy - np.array(STARTS)).max() <= START_SHIFT_M + 1e-9
        gaps = [np.hypot(*(xy[a] - xy[b])) for a in range(4) for b in range(a)]
        assert min(gaps) > 2 * RADIUS_M + 0.005


@pytest.mark.parametrize(("off", "counts"), [(PLACED_M - 0.001, True), (PLACED_M + 0.001, False)])
def test_a_roll_counts_where_it_stands_wholly_in_its_ring(rolls: Rolls, off: float, *, counts: bool) -> None:
    rolls.reset(0)
    for roll, (x, y) in enumerate(MIDDLES):
        stand(rolls, roll, x, y)
    assert rolls.scenario.read().succeeded
    stand(rolls, 0, MIDDLES[0][0] - off, MIDDLES[0][1])
    assert rolls.scenario.read().succeeded == counts


def test_lying_lifted_held_or_doubled_rolls_do_not_count(rolls: Rolls) -> None:
    rolls.reset(0)
    for roll, (x, y) in enumerate(MIDDLES):
        stand(rolls, roll, x, y)
    assert rolls.scenario.read().succeeded
    stand(rolls, 0, *MIDDLES[0], z=RADIUS_M, turn=LYING)
    assert not rolls.scenario.read().succeeded
    assert rolls.scenario.read().errors == {"roll_toppled"}
    stand(rolls, 0, *MIDDLES[0], z=HEIGHT_M)
    assert not rolls.scenario.read().succeeded
    stand(rolls, 0, *MIDDLES[0])
    rolls.grasp.held[1] = (0,)
    assert not rolls.scenario.read().succeeded
    rolls.grasp.held[1] = ()
    stand(rolls, 0, MIDDLES[1][0] + 0.02, MIDDLES[1][1])
    assert rolls.scenario.read().metrics["placed"] == 3


def test_a_toppled_roll_rights_itself_in_the_gripper(rolls: Rolls) -> None:
    rolls.reset(0)
    stand(rolls, 0, -0.1, -0.1, z=RADIUS_M, turn=LYING)
    stay(rolls, 2)
    x, y, z = (float(value) for value in rolls.scenario.top(0))
    move(rolls, 0, x, y, z, opening=1.0)
    move(rolls, 0, x, y, z, opening=0.0, steps=3)
    assert rolls.scenario.held() == {0}
    move(rolls, 0, x, y, HEIGHT_M + 0.03, opening=0.0, steps=25)
    assert rolls.scenario.uprightness()[0] > 0.97
    move(rolls, 0, x, y, HEIGHT_M - GRIP_BELOW_M + 0.004, opening=0.0)
    move(rolls, 0, x, y, HEIGHT_M - GRIP_BELOW_M + 0.004, opening=1.0, steps=8)
    assert rolls.scenario.centres()[0, 2] == pytest.approx(HEIGHT_M / 2, abs=0.003)


def test_a_roll_let_go_in_the_air_is_dropped(rolls: Rolls) -> None:
    rolls.reset(0)
    x, y, z = (float(value) for value in rolls.scenario.top(0))
    move(rolls, 0, x, y, z, opening=1.0)
    move(rolls, 0, x, y, z, opening=0.0, steps=3)
    move(rolls, 0, x, y, z + 0.06, opening=0.0)
    move(rolls, 0, x, y, z + 0.06, opening=1.0, steps=1)
    assert "premature_release_left" in [event.name for event in rolls.truth().events]


def test_a_roll_taken_out_again_is_undone(rolls: Rolls) -> None:
    rolls.reset(0)
    stay(rolls, 1)
    stand(rolls, 0, *MIDDLES[0])
    stay(rolls, 1)
    stand(rolls, 0, *STARTS[0])
    stay(rolls, 1)
    names = [event.name for event in rolls.truth().events]
    assert names == ["back_left_filled", "back_left_filled_undone"]


def test_a_roll_out_of_reach_is_lost(rolls: Rolls) -> None:
    rolls.reset(0)
    stand(rolls, 2, 0.45, 0.0)
    stay(rolls, 1)
    assert rolls.truth().outcome is Outcome.FAILURE
    assert rolls.truth().events[-1].name == "object_lost"
