"""Which cameras a value model looks at."""

from __future__ import annotations

from collections.abc import Sequence

from recap.errors import ConfigError
from recap.specs import RobotSpec


def view_positions(cameras: Sequence[str], views: Sequence[str], *, family: str) -> list[int]:
    """Where each of `views` stands among `cameras`; all of them for no views.

    Raises:
        ConfigError: a camera is not there.
    """
    missing = sorted(set(views) - set(cameras))
    if missing:
        setting = f"values.{family}.views"
        raise ConfigError(
            f"{family}: views {missing} are not among the cameras {tuple(cameras)}",
            hint=f"--set {setting}={','.join(cameras)}",
        )
    return [cameras.index(view) for view in views or cameras]


def largest(robot: RobotSpec) -> tuple[int, int]:
    """(h, w) that holds the pictures of every camera."""
    return max(camera.height for camera in robot.cameras), max(camera.width for camera in robot.cameras)
