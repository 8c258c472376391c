"""What every registered task says of itself holds together, whether its world is installed here or not."""

import subprocess
import sys

import pytest

from data.tasks import TASKS, capabilities_of
from recap.workspace import check_name

NAME_THEM = """
import sys
from data.tasks import TASKS
TASKS.names()
print({"mujoco", "gymnasium", "lerobot"} & set(sys.modules))
"""


@pytest.mark.parametrize("name", TASKS.names())
def test_a_task_and_its_robot_agree(name):
    task = TASKS.get(name)
    spec, robot = task.spec, task.robot
    assert spec.id == check_name("task", name)
    assert spec.robot == robot.id
    assert len(robot.action_units) == len(robot.action_names) == len(set(robot.action_names))
    assert len(robot.state_names) == len(set(robot.state_names)) > 0
    assert all(0 <= dim < len(robot.action_names) for dim in robot.gripper_dims)
    assert len(robot.camera_names) == len(set(robot.camera_names)) > 0
    assert spec.prompt == spec.prompt.strip() != ""
    assert spec.success
    assert spec.max_steps >= 1
    assert spec.rate_hz > 0
    assert spec.lookahead_s > 0
    assert 0 < spec.positive_fraction < 1
    can = capabilities_of(task)
    assert not can.takeover or (can.expert and can.progress), "a supervisor has to see progress"


def test_naming_the_tasks_imports_no_simulator():
    done = subprocess.run([sys.executable, "-c", NAME_THEM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
