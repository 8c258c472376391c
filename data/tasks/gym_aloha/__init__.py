"""gym_aloha: one arm picks up a cube and hands it to the other. The environment is gym-aloha's AlohaTransferCube.

Needs the package gym-aloha in an environment of its own (`make env-aloha`, docs/robots.md); without it the task is
known and refuses to make it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data.robots.gym import GymEnv, GymTask, without_flaws
from data.sim.flaws import EpisodeFlaws
from data.tasks import TASKS, Expert
from recap.specs import CameraSpec, RobotSpec, TaskSpec

SPEC = TaskSpec(
    id="gym_aloha",
    prompt="hand over the cube",
    robot="gym_aloha_arms",
    max_steps=250,
    rate_hz=50.0,
    lookahead_s=0.6,
    positive_fraction=0.4,
    reset_s=5.0,
    success="the left gripper has the cube, off the table",
)
CAMERAS = {"cam_high": "top", "cam_left_wrist": "left_wrist", "cam_right_wrist": "right_wrist"}
"""Ours, and the environment's."""
JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate", "gripper")
LOW = (-3.14158, -1.85005, -1.76278, -3.14158, -1.8675, -3.14158, 0.0) * 2
HIGH = (3.14158, 1.25664, 1.6057, 3.14158, 2.23402, 3.14158, 1.0) * 2
"""The joints' own, rad, and the grippers', shut 0 and open 1. The environment says -1..1, and starts beyond that."""
ON_TABLE_M, LIFTED_M = 0.02, 0.12
"""Height of the cube's centre."""


def robot_spec(image_size: int) -> RobotSpec:
    """Two arms of six joints and a gripper: where they are and where they should go."""
    channels = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in JOINTS)
    return RobotSpec(
        id=SPEC.robot,
        state_names=channels,
        action_names=channels,
        action_units=(*("rad",) * 6, "1") * 2,
        gripper_dims=(6, 13),
        cameras=tuple(CameraSpec(name=name, height=image_size, width=image_size) for name in CAMERAS),
    )


def _wrap(env: Any, image_size: int) -> Any:
    from dm_control.rl.control import PhysicsError

    from data.robots.gym_mujoco import PlainPictures

    task = env.unwrapped._env.task
    # As shipped each step draws three pictures of 480 x 640 with shadows, whoever asks for them.
    nothing = {"top": np.zeros((1, 1, 3), dtype=np.uint8)}
    task.get_observation = lambda physics: {"qpos": task.get_qpos(physics), "images": nothing}
    return PlainPictures(
        env,
        image_size,
        model=lambda own: own._env.physics.model.ptr,
        data=lambda own: own._env.physics.data.ptr,
        breaks=(PhysicsError,),
    )


def _state(robot: GymEnv) -> Any:
    return robot.observation["agent_pos"]


def _frames(robot: GymEnv) -> dict[str, Any]:
    return {name: robot.env.draw(camera) for name, camera in CAMERAS.items()}


def _progress(robot: GymEnv) -> float:
    """Right gripper to the cube, the cube off the table, left gripper to the cube: a third each."""
    if robot.info.get("is_success"):
        return 1.0
    from data.tasks.gym_aloha.arm import tool_point

    physics = robot.env.unwrapped._env.physics
    cube = np.array(physics.data.qpos[16:19])
    near = [
        max(0.0, 1.0 - float(np.linalg.norm(tool_point(physics.data.ptr, physics.model.ptr, side) - cube)) / 0.4)
        for side in ("left", "right")
    ]
    lifted = min(1.0, max(0.0, float(cube[2] - ON_TABLE_M) / (LIFTED_M - ON_TABLE_M)))
    return min(1.0, (near[1] + lifted + near[0] * lifted) / 3.0)


def _expert(robot: GymEnv, seed: int, flaws: EpisodeFlaws) -> Expert:
    from data.tasks.gym_aloha.carrier import Carrier

    return Carrier(robot, seed, flaws)


TASKS.add(
    SPEC.id,
    GymTask(
        spec=SPEC,
        env_id="gym_aloha/AlohaTransferCube-v0",
        module="gym_aloha",
        packages=("gymnasium", "gym-aloha", "dm-control", "mujoco"),
        install="make env-aloha   (then use .envs/aloha/bin/recap)",
        robot_spec=robot_spec,
        make_kwargs=lambda image_size: {"obs_type": "pixels_agent_pos"},
        read_state=_state,
        read_frames=_frames,
        read_success=lambda robot: bool(robot.info["is_success"]),
        read_progress=_progress,
        expert=_expert,
        takeover=without_flaws(_expert),
        wrap=_wrap,
        action_range=(LOW, HIGH),
        draws_with_mujoco=True,
    ),
)
