"""The tasks over environments of packages: refused where the package is absent, else shown to do what they say.

Run where a package is: .envs/metaworld/bin/python -m pytest tests/unit/robots/test_gym_packages.py, and the same with
.envs/aloha and .envs/pusht.
"""

import importlib.util

import numpy as np
import pytest

from data.rollout import record_demo
from data.sim.backend import gl_backend, load_mujoco
from data.sim.flaws import CLEAN, PERFECT, FlawConfig
from data.tasks import TASKS
from recap.errors import ConfigError
from recap.types import Outcome

# Packages of others warn of their own age.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

TASK_IDS = ("gym_pusht", "gym_metaworld", "gym_aloha")
WITH_MUJOCO = ("gym_metaworld", "gym_aloha")
BIASED = FlawConfig(flawed_share=1.0, skipping_weight=0.0, hesitant_weight=0.0, fumbling_weight=0.0)
SKIPPING = FlawConfig(flawed_share=1.0, biased_weight=0.0, hesitant_weight=0.0, fumbling_weight=0.0)
SLOW = FlawConfig(flawed_share=1.0, biased_weight=0.0, skipping_weight=0.0, fumbling_weight=0.0)


def is_here(task_id):
    return importlib.util.find_spec(TASKS.get(task_id).module) is not None


@pytest.fixture
def task(request):
    if not is_here(request.param):
        pytest.skip(f"{TASKS.get(request.param).module} is not installed here: make env-{request.param[4:]}")
    if request.param in WITH_MUJOCO and gl_backend() is None:
        pytest.skip("no GL library works here")
    return TASKS.get(request.param)


@pytest.fixture
def robot(task):
    made = task.make_env("auto", 32)
    yield made
    made.close()


def play(task, robot, seed, flaws):
    robot.reset(seed)
    expert = task.make_expert(robot, seed, flaws)
    while not robot.finished:
        robot.step(expert.act())
    return robot.truth()


@pytest.mark.parametrize("task_id", TASK_IDS)
def test_a_task_is_known_and_refused_without_its_package(task_id):
    task = TASKS.get(task_id)
    assert task.capabilities.expert
    assert task.capabilities.takeover
    if is_here(task_id):
        pytest.skip(f"{task.module} is installed here")
    with pytest.raises(ConfigError, match=f"needs the package '{task.module}'") as caught:
        task.make_env()
    assert f"make env-{task_id[4:]}" in caught.value.hint


@pytest.mark.parametrize("task", WITH_MUJOCO, indirect=True)
def test_a_demonstration_is_the_seed_s_own_and_succeeds(task, robot):
    first, truth = record_demo(task, robot, 5, CLEAN)
    assert truth.outcome is Outcome.SUCCESS
    assert truth.progress[0] < 0.5 < truth.progress[-1]
    assert first.action.max() <= 3.15
    other, _ = record_demo(task, robot, 6, CLEAN)
    assert (other.state.shape != first.state.shape) or (other.action != first.action).any()
    again, _ = record_demo(task, robot, 5, CLEAN)
    np.testing.assert_array_equal(again.action, first.action)
    np.testing.assert_array_equal(again.state, first.state)
    for camera, frames in first.frames.items():
        assert frames.shape == (first.length, 32, 32, 3)
        assert (frames[0] != frames[-1]).any(), f"{camera} shows no change"
        np.testing.assert_array_equal(again.frames[camera], frames)


@pytest.mark.parametrize("task", WITH_MUJOCO, indirect=True)
def test_flaws_are_seen_in_what_comes_of_them(task, robot):
    clean, slow = (play(task, robot, 2, flaws) for flaws in (PERFECT, SLOW))
    assert (clean.outcome, slow.outcome) == (Outcome.SUCCESS, Outcome.SUCCESS)
    assert len(slow.progress) > 1.1 * len(clean.progress)
    assert play(task, robot, 2, SKIPPING).outcome is Outcome.FAILURE
    assert sum(play(task, robot, seed, BIASED).outcome is Outcome.SUCCESS for seed in range(4)) <= 2


@pytest.mark.parametrize("task", WITH_MUJOCO, indirect=True)
def test_the_expert_takes_over_from_a_demonstrator_who_errs(task, robot):
    saved = 0
    for seed in range(3):
        robot.reset(seed)
        expert = task.make_expert(robot, seed, BIASED)
        for _ in range(40):
            if not robot.finished:
                robot.step(expert.act())
        expert = task.make_takeover(robot, seed)
        while not robot.finished:
            robot.step(expert.act())
        saved += robot.truth().outcome is Outcome.SUCCESS
    assert saved == 3


@pytest.mark.parametrize("task", ["gym_aloha"], indirect=True)
def test_broken_physics_abort_the_attempt(task, robot):
    rng = np.random.default_rng(1)
    ends = set()
    for seed in range(6):
        robot.reset(seed)
        while not robot.finished:
            robot.step(rng.uniform(robot._low, robot._high))
        ends.add(robot.truth().outcome)
        assert np.isfinite(robot.truth().progress).all()
    assert Outcome.ABORTED in ends


@pytest.mark.parametrize("task", ["gym_aloha"], indirect=True)
def test_the_tool_comes_to_where_it_is_sent(task, robot):
    from data.tasks.gym_aloha.arm import ArmIk, tool_angles, tool_point, tool_turn

    robot.reset(0)
    physics = robot.env.unwrapped._env.physics
    for side, first, x in (("left", 0, -0.1), ("right", 8, 0.1)):
        arm = ArmIk(physics.model.ptr, side)
        turn, joints = tool_turn(side, 1.2, 0.4), np.array(physics.data.qpos[first : first + 6])
        for _ in range(6):
            joints = arm.solve(joints, np.array([x, 0.5, 0.15]), turn)
        np.testing.assert_allclose(tool_angles(side, turn), (1.2, 0.4), atol=1e-9)
        arm._data.qpos[first : first + 6] = joints
        load_mujoco().mj_kinematics(physics.model.ptr, arm._data)
        np.testing.assert_allclose(tool_point(arm._data, physics.model.ptr, side), (x, 0.5, 0.15), atol=2e-3)
