"""What a step depends on beyond its settings: the definition of the task that they name. Part of its key.

A task's spec may change without any setting changing: a plug-in of another version, or another file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from recap.specs import TaskSpec

ROBOT = ("id", "state_names", "action_names", "action_units", "gripper_dims", "cameras")
"""All of a robot's description."""
ACTING = ("prompt", "max_steps", "rate_hz")
"""What an attempt at a task depends on, besides the robot."""


def _facts(spec: TaskSpec, fields: tuple[str, ...]) -> dict[str, Any]:
    # A first revision is left out: keys of before there were any stay what they are.
    revised = {"revision": spec.revision} if spec.revision > 1 else {}
    return {**{name: getattr(spec, name) for name in fields}, **revised}


def task_world(*fields: str, robot: bool = False) -> Callable[[Any], Mapping[str, Any]]:
    """A function from settings with a `task` (one id, or several with commas between) to the facts of those tasks.

    Args:
        fields: of the TaskSpec.
        robot: also the robot's description, except image sizes, which are settings or lie with the episodes.

    Returns:
        {"task": {field: value}, "robot": {...}}, plain JSON; with several tasks {"tasks": {id: {field: value}}, ...}.
    """

    def world(config: Any) -> Mapping[str, Any]:
        from data.task_list import tasks_of

        tasks = tasks_of(config.task)
        specs = {task.spec.id: _facts(task.spec, fields) for task in tasks}
        facts: dict[str, Any] = {"tasks": specs} if len(tasks) > 1 else {"task": specs[tasks[0].spec.id]}
        if robot:
            first = tasks[0].robot
            spec = asdict(first)
            facts["robot"] = {**{name: spec[name] for name in ROBOT}, "cameras": list(first.camera_names)}
        return facts

    return world
