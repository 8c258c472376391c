"""Tasks that are learned together: what they must have in common is the robot and its control rate."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recap.errors import ConfigError
from recap.specs import RobotSpec

if TYPE_CHECKING:
    from data.tasks import TaskDefinition

SEPARATOR = ","


def task_ids(text: str) -> tuple[str, ...]:
    """The ids that a person typed with commas between, in that order.

    Example:
        >>> task_ids("shirt_folding,box_assembly")
        ('shirt_folding', 'box_assembly')

    Raises:
        ConfigError: an id is empty or listed twice.
    """
    ids = tuple(part.strip() for part in text.split(SEPARATOR))
    if not all(ids):
        raise ConfigError(
            f"task {text!r}: expected ids divided by commas", hint="recap run --task shirt_folding,box_assembly"
        )
    twice = sorted({task for task in ids if ids.count(task) > 1})
    if twice:
        raise ConfigError(
            f"task {text!r}: {', '.join(twice)} is listed more than once",
            hint=f"recap run --task {shlex.quote(SEPARATOR.join(dict.fromkeys(ids)))}",
        )
    return ids


def tasks_of(ids: Sequence[str]) -> tuple[TaskDefinition, ...]:
    """The tasks of these ids, in that order.

    Raises:
        UnknownName: no such task.
        ConfigError: their robots or control rates differ.
    """
    from data.tasks import TASKS

    tasks = tuple(TASKS.get(task) for task in ids)
    if len({(task.spec.rate_hz, _joints_and_cameras(task.robot)) for task in tasks}) > 1:
        listed = "; ".join(
            f"{task.spec.id}: {task.robot.id} at {task.spec.rate_hz:g} Hz, cameras {', '.join(task.robot.camera_names)}"
            for task in tasks
        )
        raise ConfigError(
            f"tasks {', '.join(ids)} do not stand before the same robot at the same rate ({listed})",
            hint=f"one policy drives one robot: recap run --task {tasks[0].spec.id}",
        )
    return tasks


def robot_of(ids: Sequence[str]) -> RobotSpec:
    """The robot that all of these tasks are done with; errors as `tasks_of`."""
    return tasks_of(ids)[0].robot


def _joints_and_cameras(robot: RobotSpec) -> tuple[object, ...]:
    return (robot.id, robot.state_names, robot.action_names, robot.action_units, robot.camera_names)
