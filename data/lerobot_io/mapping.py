"""Which column and which camera of a dataset becomes what of an episode, checked against the features of info.json."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from data.episode_contract import PLAIN_NAME
from data.lerobot_io.folder import Feature, LeRobotFolder, listed
from recap.errors import ConfigError, RecapError
from recap.types import Source

_IMAGES = "observation.images."
_NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetMapping:
    """How episodes are made of a dataset's columns."""

    task: str
    """Task id of the episodes."""
    robot: str
    """Robot id of the episodes."""
    source: Source
    """Who acted. With an intervention column, an episode without any marked step is a rollout."""
    policy_id: str | None
    """The policy that acted; None for demonstrations."""
    cameras: Mapping[str, str]
    """{camera: feature}"""
    state: tuple[str, ...] = ("observation.state",)
    """Features whose numbers, side by side, are the state."""
    action: tuple[str, ...] = ("action",)
    """The same for the action."""
    image_size: tuple[int, int] | None = None
    """(h, w) that pictures are letterboxed to; None: as they are."""
    intervention: str = ""
    """Column that is true where a human acted; "" for none."""
    outcome: str = ""
    """Column of the frames (the last one counts) or of the episodes that says how an attempt ended; "" for none."""
    software: Mapping[str, str] = field(default_factory=dict)
    """Recorded with each episode, no part of its identity."""

    def columns(self) -> tuple[str, ...]:
        """The columns of numbers and words that are read from the table of frames."""
        return tuple(dict.fromkeys(name for name in (*self.state, *self.action, self.intervention) if name))


def cameras_of(folder: LeRobotFolder) -> dict[str, str]:
    """{camera: feature} for every picture of the dataset, named by the last part of the feature's name."""
    return {
        name.removeprefix(_IMAGES) if name.startswith(_IMAGES) else name.rpartition(".")[2]: name
        for name in folder.image_features
    }


def check_mapping(folder: LeRobotFolder, mapping: DatasetMapping) -> None:
    """Raises ConfigError that names everything in `mapping` the dataset cannot give."""
    problems = list(_problems(folder, mapping))
    if problems:
        raise ConfigError(
            f"{folder.root} cannot be imported so:{listed(problems)}",
            hint=f"its columns: {', '.join(folder.features)}",
        )


def width_of(folder: LeRobotFolder, names: tuple[str, ...]) -> int:
    """How many numbers the features give side by side."""
    return sum(math.prod(folder.features[name].shape) for name in names)


def names_of(folder: LeRobotFolder, names: tuple[str, ...]) -> tuple[str, ...]:
    """The name of each of those numbers; `state_0`, ... where the dataset names none."""
    found: list[str] = []
    for name in names:
        feature = folder.features[name]
        short = name.rpartition(".")[2]
        found += feature.names or (f"{short}_{i}" for i in range(math.prod(feature.shape)))
    return tuple(found)


def outcome_per_frame(folder: LeRobotFolder, name: str) -> bool:
    """True if the outcome column is one of the frames, false if it is one of the episodes."""
    return name in folder.features


def _problems(folder: LeRobotFolder, mapping: DatasetMapping) -> Iterator[str]:
    if not mapping.cameras:
        yield "no camera: it has no pictures, or none was chosen"
    for camera, name in mapping.cameras.items():
        if not PLAIN_NAME.fullmatch(camera):
            yield f"camera name {camera!r}: expected a plain name (--camera NAME={name})"
        yield from _feature_problem(folder, name, f"--camera {camera}={name}", _picture_problem)
    for option, names in (("--state", mapping.state), ("--action", mapping.action)):
        if not names:
            yield f"{option}: no column"
        for name in names:
            yield from _feature_problem(folder, name, f"{option} {name}", _vector_problem)
    if mapping.intervention:
        option = f"--intervention-column {mapping.intervention}"
        yield from _feature_problem(folder, mapping.intervention, option, _flag_problem)
        if mapping.source is Source.DEMO:
            yield f"{option} with --source demo: in a demonstration a human acts throughout"
    elif mapping.source is Source.CORRECTION:
        yield "--source correction without --intervention-column: nothing says where a human acted"
    if mapping.source is Source.DEMO and mapping.policy_id:
        yield f"--policy {mapping.policy_id} with --source demo: no policy acted"
    if mapping.source is not Source.DEMO and not mapping.policy_id:
        yield f"--source {mapping.source.value} without --policy: the name of the policy that acted"
    if mapping.outcome and not outcome_per_frame(folder, mapping.outcome):
        known = {name for entry in folder.episodes for name in entry.facts}
        if mapping.outcome not in known:
            offered = ", ".join(sorted(known)) or "none"
            yield f"--outcome-column {mapping.outcome}: no column of the frames nor of the episodes ({offered})"
    elif mapping.outcome:
        yield from _feature_problem(folder, mapping.outcome, f"--outcome-column {mapping.outcome}", _outcome_problem)


def _feature_problem(folder: LeRobotFolder, name: str, option: str, check: Any) -> Iterator[str]:
    try:
        problem = check(folder.feature(name, option=option))
    except RecapError as error:
        yield error.message
    else:
        if problem:
            yield f"{option}: {problem}"


def _picture_problem(feature: Feature) -> str:
    if feature.dtype not in ("video", "image"):
        return f"of type {feature.dtype}, expected video or image"
    if feature.depth:
        return "a depth map, expected a picture"
    if len(feature.shape) != 3 or 3 not in (feature.shape[0], feature.shape[2]):
        return f"shape {feature.shape}, expected (h, w, 3)"
    return ""


def _vector_problem(feature: Feature) -> str:
    if feature.dtype not in _NUMBERS:
        return f"of type {feature.dtype}, expected numbers"
    return "" if len(feature.shape) <= 1 else f"shape {feature.shape}, expected one vector per frame"


def _flag_problem(feature: Feature) -> str:
    if feature.dtype not in ("bool", *_NUMBERS):
        return f"of type {feature.dtype}, expected true or false"
    return "" if math.prod(feature.shape) == 1 else f"shape {feature.shape}, expected one per frame"


def _outcome_problem(feature: Feature) -> str:
    if feature.dtype not in ("bool", "string", *_NUMBERS):
        return f"of type {feature.dtype}, expected true or false, 1 or 0, or words"
    return "" if math.prod(feature.shape) == 1 else f"shape {feature.shape}, expected one per frame"


def picture_shape(feature: Feature) -> tuple[int, int]:
    """(h, w) of a picture feature; the dataset may give channels first or last."""
    shape = feature.shape
    return (shape[0], shape[1]) if shape[2] == 3 else (shape[1], shape[2])
