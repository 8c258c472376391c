import numpy as np
import pytest

from data.sim import backend
from data.sim.bimanual_task import BimanualTask, TaskEnv
from data.sim.flaws import CLEAN
from data.sim.garment import GarmentScenario

Task, Robot = BimanualTask[GarmentScenario], TaskEnv[GarmentScenario]


def test_ray_images_show_the_scene(task: Task, robot: Robot) -> None:
    robot.reset(3)
    frames = robot.observe().frames
    assert list(frames) == ["cam_high", "cam_left_wrist", "cam_right_wrist"]
    high = frames["cam_high"].astype(int)
    assert high.shape == (64, 64, 3)
    blue = (high[..., 2] > high[..., 0] + 60).mean()
    assert 0.15 < blue < 0.5, "the shirt fills a good part of the picture"
    expert = task.make_expert(robot, 3, CLEAN)
    while not robot.finished:
        robot.step(expert.act())
    folded = robot.observe().frames["cam_high"].astype(int)
    assert (folded[..., 2] > folded[..., 0] + 60).mean() < 0.6 * blue


def test_drawing_twice_gives_the_same_picture(robot: Robot) -> None:
    robot.reset(1)
    first, second = robot.observe().frames, robot.observe().frames
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_gl_and_ray_pictures_agree(task: Task, robot: Robot) -> None:
    if backend.gl_backend() is None:
        pytest.skip("no GL library here: the ray renderer is the only one")
    gl = task.make_env("auto")
    try:
        assert gl.renderer in ("egl", "osmesa")
        robot.reset(3)
        gl.reset(3)
        expert = task.make_expert(robot, 3, CLEAN)
        for step in range(66):
            if step % 12 == 5:
                ours, theirs = robot.observe().frames, gl.observe().frames
                for name in ours:
                    gap = np.abs(ours[name].astype(int) - theirs[name])
                    assert gap.mean() < 6.0, (step, name)
                    assert (gap.max(axis=-1) > 24).mean() < 0.12, (step, name)
            action = expert.act()
            robot.step(action)
            gl.step(action)
        assert np.array_equal(robot.data.qpos, gl.data.qpos)
    finally:
        gl.close()


def test_image_size_is_configurable(task: Task) -> None:
    small = task.make_env("ray", image_size=32)
    small.reset(0)
    assert {frame.shape for frame in small.observe().frames.values()} == {(32, 32, 3)}
    assert small.spec.cameras[0].height == 32
    small.close()
