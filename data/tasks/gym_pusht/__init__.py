"""gym_pusht: push a T-shaped block onto its outline with a round tool. The environment is gym-pusht's, not ours.

Needs the package gym-pusht in an environment of its own (`make env-pusht`, docs/robots.md); without it the task is
known and refuses to make it.
"""

from __future__ import annotations

from typing import Any

from data.robots.gym import GymEnv, GymTask, without_flaws
from data.sim.flaws import EpisodeFlaws
from data.tasks import TASKS, Expert
from recap.specs import CameraSpec, RobotSpec, TaskSpec

SPEC = TaskSpec(
    id="gym_pusht",
    prompt="push the T home",
    robot="gym_pusht_tool",
    max_steps=300,
    rate_hz=10.0,
    lookahead_s=2.0,
    positive_fraction=0.4,
    reset_s=5.0,
    success="the block covers more than 95 % of its outline",
)
SUCCESS_COVERAGE = 0.95


def robot_spec(image_size: int) -> RobotSpec:
    """The tool: its place, where it should go (both 0..512 from the top left corner), and a camera above."""
    return RobotSpec(
        id=SPEC.robot,
        state_names=("x", "y"),
        action_names=("x", "y"),
        action_units=("px", "px"),
        gripper_dims=(),
        cameras=(CameraSpec(name="cam_high", height=image_size, width=image_size),),
    )


def _make_kwargs(image_size: int) -> dict[str, Any]:
    return {"obs_type": "state", "observation_width": image_size, "observation_height": image_size}


def _state(robot: GymEnv) -> Any:
    # The rest of the observation is where the block lies, which a camera has to tell.
    return robot.observation[:2]


def _frames(robot: GymEnv) -> dict[str, Any]:
    # Not render(): that one draws the last action into the picture.
    return {"cam_high": robot.env.unwrapped._render()}


def _progress(robot: GymEnv) -> float:
    return min(1.0, float(robot.env.unwrapped._get_coverage()) / SUCCESS_COVERAGE)


def _expert(robot: GymEnv, seed: int, flaws: EpisodeFlaws) -> Expert:
    from data.tasks.gym_pusht.pusher import Pusher

    return Pusher(robot.env.unwrapped, seed, flaws)


TASKS.add(
    SPEC.id,
    GymTask(
        spec=SPEC,
        env_id="gym_pusht/PushT-v0",
        module="gym_pusht",
        packages=("gymnasium", "gym-pusht", "pymunk", "opencv-python-headless"),
        install="make env-pusht   (then use .envs/pusht/bin/recap)",
        robot_spec=robot_spec,
        make_kwargs=_make_kwargs,
        read_state=_state,
        read_frames=_frames,
        read_success=lambda robot: bool(robot.info["is_success"]),
        read_progress=_progress,
        expert=_expert,
        takeover=without_flaws(_expert),
    ),
)
