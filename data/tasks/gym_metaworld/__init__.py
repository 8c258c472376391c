"""gym_metaworld: Meta-World's pick-place, a puck to be held at a place in the air. The environment is not ours.

Needs the package metaworld in an environment of its own (`make env-metaworld`, docs/robots.md), for it pins a MuJoCo
that the bench does not take; without it the task is known and refuses to make it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.robots.gym import GymEnv, GymTask, without_flaws
from data.sim.flaws import EpisodeFlaws
from data.tasks import TASKS, Expert
from recap.specs import CameraSpec, RobotSpec, TaskSpec

SPEC = TaskSpec(
    id="gym_metaworld",
    prompt="place the puck",
    robot="gym_metaworld_sawyer",
    max_steps=200,
    rate_hz=80.0,
    lookahead_s=0.25,
    positive_fraction=0.4,
    reset_s=5.0,
    success="the puck is within 7 cm of the mark for 10 steps",
)
SUCCESS_M = 0.07
CAMERAS = {"cam_high": "corner4", "cam_wrist": "behindGripper"}
"""Ours, and Meta-World's."""


def robot_spec(image_size: int) -> RobotSpec:
    """The arm of the environment: where its hand is (m), how far to move it (1 is a centimetre) and grip."""
    return RobotSpec(
        id=SPEC.robot,
        state_names=("x", "y", "z", "gripper"),
        action_names=("dx", "dy", "dz", "grip"),
        action_units=("cm", "cm", "cm", "1"),
        gripper_dims=(3,),
        cameras=tuple(CameraSpec(name=name, height=image_size, width=image_size) for name in CAMERAS),
    )


def _make_kwargs(image_size: int) -> dict[str, Any]:
    return {"env_name": "pick-place-v3", "seed": 0}


def _seed(env: Any, seed: int) -> None:
    # As shipped every start is the one that the environment was made with, and reset's seed is not looked at.
    env.seeded_rand_vec, env._freeze_rand_vec = True, False
    env.seed(seed)


def _wrap(env: Any, image_size: int) -> Any:
    from data.robots.gym_mujoco import PlainPictures

    return PlainPictures(env, image_size, model=lambda own: own.model, data=lambda own: own.data, seed=_seed)


def _state(robot: GymEnv) -> Any:
    # The rest of the observation is where the puck and the mark are, which the cameras have to tell.
    return robot.observation[:4]


def _frames(robot: GymEnv) -> dict[str, Any]:
    return {name: robot.env.draw(camera) for name, camera in CAMERAS.items()}


def _progress(robot: GymEnv) -> float:
    env, puck = robot.env.unwrapped, robot.observation[4:7]
    first = float(np.linalg.norm(env.obj_init_pos - env._target_pos))
    left = float(np.linalg.norm(puck - env._target_pos))
    return min(1.0, max(0.0, (first - left) / (first - SUCCESS_M)))


def _expert(robot: GymEnv, seed: int, flaws: EpisodeFlaws) -> Expert:
    from data.tasks.gym_metaworld.picker import Picker

    return Picker(robot, seed, flaws)


TASKS.add(
    SPEC.id,
    GymTask(
        spec=SPEC,
        env_id="Meta-World/goal_observable",
        module="metaworld",
        packages=("gymnasium", "metaworld", "mujoco"),
        install="make env-metaworld   (then use .envs/metaworld/bin/recap)",
        robot_spec=robot_spec,
        make_kwargs=_make_kwargs,
        read_state=_state,
        read_frames=_frames,
        read_success=lambda robot: bool(robot.info["success"]),
        read_progress=_progress,
        expert=_expert,
        takeover=without_flaws(_expert),
        hold_steps=10,
        wrap=_wrap,
        draws_with_mujoco=True,
    ),
)
