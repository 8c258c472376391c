"""What a task asks and what a robot offers; and which start seeds belong to which purpose.

Frozen descriptions only: building the simulator or the robot is the business of `data`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from recap.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class CameraSpec:
    """One camera of a robot."""

    name: str
    height: int
    """Pixels."""
    width: int
    """Pixels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RobotSpec:
    """Shape and meaning of the numbers a robot gives and takes."""

    id: str
    state_names: tuple[str, ...]
    """S names, in order."""
    action_names: tuple[str, ...]
    """A names, in order."""
    action_units: tuple[str, ...]
    """A units ("rad", "m", "0..1"), in order."""
    gripper_dims: tuple[int, ...]
    """Action dimensions that are grippers: never made relative to the state."""
    cameras: tuple[CameraSpec, ...]

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of the cameras, in the order that every image stack uses."""
        return tuple(camera.name for camera in self.cameras)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """What the robot is asked to do and how an attempt is judged."""

    id: str
    prompt: str
    """The instruction, in words, that the policy and the value model read."""
    robot: str
    """Id of the RobotSpec."""
    max_steps: int
    """T_max: an attempt that is not done by then is a FAILURE."""
    rate_hz: float
    """Control rate."""
    lookahead_s: float
    """Look-ahead of the advantage, seconds."""
    positive_fraction: float
    """Share of autonomous frames labelled positive, (0, 1)."""
    reset_s: float
    """Seconds to reset the scene between attempts, counted by throughput."""
    success: str
    """The success definition, in words."""
    revision: int = 1
    """Raised when the same id becomes another task (scene, demonstrator, what counts). Part of every step's key."""


class Split(Enum):
    """Disjoint ranges of start seeds. A seed is used for one purpose only, ever."""

    TRAIN = 0
    """Demonstrations and rollouts that a model may learn from."""
    VALIDATION = 1
    """Tuning and checkpoint choice."""
    GATE = 2
    """Promotion of a challenger."""
    TEST = 3
    """Reported, never used for a choice."""


SEEDS_PER_SPLIT = 10_000_000


def start_seeds(split: Split, count: int, *, offset: int = 0) -> list[int]:
    """`count` start seeds of `split`, beginning at `offset` within its range.

    Raises:
        ConfigError: the request leaves the range of the split.

    Example:
        >>> start_seeds(Split.TEST, 2)
        [30000000, 30000001]
    """
    if count < 0 or offset < 0 or offset + count > SEEDS_PER_SPLIT:
        raise ConfigError(f"start seeds {offset}..{offset + count} leave the {split.name} range 0..{SEEDS_PER_SPLIT}")
    base = split.value * SEEDS_PER_SPLIT + offset
    return list(range(base, base + count))


def split_of(seed: int) -> Split:
    """The split a start seed belongs to."""
    return Split(seed // SEEDS_PER_SPLIT)
