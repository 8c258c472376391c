"""The task over it, registered by an entry point: with an expert, and without one or anything to measure."""

from dataclasses import replace

import numpy as np

from data.robots.gym import GymTask
from data.sim.seeds import stream
from data.tasks import TASKS
from recap.specs import CameraSpec, RobotSpec, TaskSpec

SPEC = TaskSpec(
    id="gym_reach",
    prompt="reach the cross",
    robot="gym_reach_dot",
    max_steps=30,
    rate_hz=10.0,
    lookahead_s=0.5,
    positive_fraction=0.4,
    reset_s=1.0,
    success="the dot is within 0.03 of the cross for 2 steps",
)


def robot_spec(size):
    return RobotSpec(
        id=SPEC.robot,
        state_names=("x", "y"),
        action_names=("x", "y"),
        action_units=("1", "1"),
        gripper_dims=(),
        cameras=(CameraSpec(name="cam_high", height=size, width=size),),
    )


class Walker:
    """Walks to the cross; a biased one stops beside it."""

    def __init__(self, robot, seed, noise, bias=(0.0, 0.0)):
        self.robot, self.rng, self.noise, self.bias = robot, stream("walker", seed), noise, np.array(bias)
        self.acted = 0

    @property
    def done(self):
        return self.acted >= 25

    @property
    def rested(self):
        return True

    def act(self):
        self.acted += 1
        goal = self.robot.env.unwrapped.cross + self.bias + self.rng.normal(0, self.noise, 2)
        return np.asarray(np.clip(goal, 0, 1), dtype=np.float32)


TASK = GymTask(
    spec=SPEC,
    env_id="gym_reach/Reach-v0",
    module="gym_reach",
    packages=("gymnasium",),
    install="make env-reach",
    robot_spec=robot_spec,
    make_kwargs=lambda size: {"size": size},
    read_state=lambda robot: robot.observation,
    read_frames=lambda robot: {"cam_high": robot.env.render()},
    read_success=lambda robot: robot.info["is_success"],
    read_progress=lambda robot: max(0.0, 1.0 - robot.env.unwrapped._distance() / robot.env.unwrapped.first),
    expert=lambda robot, seed, flaws: Walker(robot, seed, 0.3 * flaws.noise_m, flaws.place_bias_m),
    takeover=lambda robot, seed: Walker(robot, seed, 0.0),
    hold_steps=2,
)
BARE = replace(
    TASK, spec=replace(SPEC, id="gym_reach_bare"), read_progress=None, expert=None, takeover=None, hold_steps=1
)
TASKS.add("gym_reach", TASK)
TASKS.add("gym_reach_bare", BARE)
