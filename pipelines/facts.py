"""What the graph derives for steps, beside the settings that a person makes: tasks, environment, seeds, look-aheads.

Facts are part of a step's key as settings are, and no setting overwrites them. With the ids of tasks goes what those
tasks are: a definition may change without any setting changing, by a plug-in of another version or another file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from recap.config import setting, validate
from recap.specs import TaskSpec
from recap.training.config import RuntimeConfig

_ROBOT = ("id", "state_names", "action_names", "action_units", "gripper_dims", "cameras")
ACTING = ("prompt", "max_steps", "rate_hz")
"""What an attempt at a task depends on, besides the robot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvConfig:
    """The world that attempts are made in; one for a whole run, so that what is compared was seen alike."""

    renderer: str = setting("auto", choices=("auto", "egl", "osmesa", "ray"), help="image backend")
    image_size: int = setting(64, minimum=16, maximum=512, help="pixels, height and width of every camera")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ActingFacts:
    """Of a step that makes attempts."""

    tasks: tuple[str, ...]
    """Ids; one where the stage works on one task."""
    env: EnvConfig
    noise_seed: int = setting(0, minimum=0)
    """Seed of the policies' inference noise."""
    first_seed: int = setting(0, minimum=0)
    """Offset of the first start within the seeds of its split."""
    workers: int = setting(2, minimum=1, semantic=False)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    """Where policies compute."""
    policy: Any = None
    """Settings of the policy that acts, where its family is a plug-in, whose code then decides as well; else None."""

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskFacts:
    """Of a step that works on what was recorded of tasks."""

    tasks: tuple[str, ...]
    workers: int = setting(2, minimum=1, semantic=False)

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ComputeFacts(TaskFacts):
    """Of a step in which a model trains, labels or acts on what was recorded."""

    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    """Where it computes."""
    policy: Any = None
    """As of ActingFacts, where a policy acts on what was recorded."""


def task_context(*fields: str, robot: bool = False) -> Callable[[Any], Mapping[str, Any]]:
    """A function from facts with `tasks` to the definition of those tasks, for a step's key.

    Args:
        fields: of the TaskSpec.
        robot: also the robot's description, except image sizes, which are settings or lie with the episodes.

    Returns:
        {"tasks": {id: {field: value}}, "robot": {...}}, plain JSON.
    """

    def context(facts: Any) -> Mapping[str, Any]:
        from data.task_list import tasks_of

        tasks = tasks_of(facts.tasks)
        found: dict[str, Any] = {"tasks": {task.spec.id: _facts(task.spec, fields) for task in tasks}}
        if robot:
            first = tasks[0].robot
            spec = asdict(first)
            found["robot"] = {**{name: spec[name] for name in _ROBOT}, "cameras": list(first.camera_names)}
        return found

    return context


def _facts(spec: TaskSpec, fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in (*fields, "revision")}
