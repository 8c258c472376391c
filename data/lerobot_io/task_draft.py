"""A first description of a task, from the meta files of a dataset. A person looks it over; nothing here is certain."""

from __future__ import annotations

from collections.abc import Iterable

from data.lerobot_io.folder import EpisodeEntry, LeRobotFolder
from data.lerobot_io.mapping import DatasetMapping, names_of, picture_shape
from recap.specs import CameraSpec, RobotSpec, TaskSpec

LOOKAHEAD_S = 2.0
POSITIVE_FRACTION = 0.4
RESET_S = 10.0


def draft_task(
    folder: LeRobotFolder, mapping: DatasetMapping, entries: Iterable[EpisodeEntry], *, prompt: str
) -> tuple[TaskSpec, RobotSpec]:
    """The task and the robot that the chosen episodes were recorded with, as far as the dataset tells.

    T_max is the longest episode. Units are "unknown": the dataset does not give them.
    """
    state, action = names_of(folder, mapping.state), names_of(folder, mapping.action)
    sizes = {
        camera: mapping.image_size or picture_shape(folder.features[name]) for camera, name in mapping.cameras.items()
    }
    robot = RobotSpec(
        id=mapping.robot,
        state_names=state,
        action_names=action,
        action_units=("unknown",) * len(action),
        gripper_dims=tuple(dim for dim, name in enumerate(action) if "gripper" in name.lower()),
        cameras=tuple(CameraSpec(name=camera, height=h, width=w) for camera, (h, w) in sizes.items()),
    )
    spec = TaskSpec(
        id=mapping.task,
        prompt=prompt,
        robot=robot.id,
        max_steps=max(entry.length for entry in entries),
        rate_hz=folder.fps,
        lookahead_s=LOOKAHEAD_S,
        positive_fraction=POSITIVE_FRACTION,
        reset_s=RESET_S,
        success="not described",
    )
    return spec, robot
