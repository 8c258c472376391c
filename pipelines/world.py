"""What a step depends on beyond its settings: the definition of the task that they name. Part of its key.

A task's spec may change without any setting changing: a plug-in of another version, or another file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

ROBOT = ("id", "state_names", "action_names", "action_units", "gripper_dims", "cameras")
"""All of a robot's description."""
ACTING = ("prompt", "max_steps", "rate_hz")
"""What an attempt at a task depends on, besides the robot."""


def task_world(*fields: str, robot: bool = False) -> Callable[[Any], Mapping[str, Any]]:
    """A function from settings with a `task` to the facts of that task.

    Args:
        fields: of the TaskSpec.
        robot: also the robot's description, except image sizes, which are settings or lie with the episodes.

    Returns:
        {"task": {field: value}, "robot": {...}}, plain JSON.
    """

    def world(config: Any) -> Mapping[str, Any]:
        from data.tasks import TASKS

        task = TASKS.get(config.task)
        facts: dict[str, Any] = {"task": {name: getattr(task.spec, name) for name in fields}}
        if robot:
            spec = asdict(task.robot)
            facts["robot"] = {**{name: spec[name] for name in ROBOT}, "cameras": list(task.robot.camera_names)}
        return facts

    return world
