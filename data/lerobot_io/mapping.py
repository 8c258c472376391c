"""Which column and which camera of a dataset becomes what of an episode, checked against the features of info.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from data.episode_contract import PLAIN_NAME
from data.lerobot_io.features import Feature
from data.lerobot_io.files import listed
from data.lerobot_io.folder import LeRobotFolder
from recap.errors import ConfigError, RecapError
from recap.types import Source

_IMAGES = "observation.images."
OUTCOME_RULES = ("once", "end")
"""A column of the frames says success if it did once, or if it does at the last frame."""
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
    """Column of the frames or of the episodes that says how an attempt ended; "" for none."""
    outcome_rule: str = ""
    """What counts of a column of the frames that is true for a while and not at the end: "once", "end"; "": refused."""
    nominal_times_s: float | None = None
    """Frame n stands for n periods after the first, its recorded time and its picture lying within this many seconds
    of that. None: the recorded times count."""
    software: Mapping[str, str] = field(default_factory=dict)
    """Recorded with each episode, no part of its identity."""

    def columns(self) -> tuple[str, ...]:
        """The columns of numbers and words that are read from the table of frames."""
        return tuple(dict.fromkeys(name for name in (*self.state, *self.action, self.intervention) if name))


def cameras_of(folder: LeRobotFolder) -> dict[str, str]:
    """{camera: feature} for every picture of the dataset, named by the last part of the feature's name that differs."""
    names = folder.image_features
    short = [n.removeprefix(_IMAGES) if n.startswith(_IMAGES) else n.rpartition(".")[2] for n in names]
    if len(set(short)) < len(short):
        short = [name.removeprefix("observation.") for name in names]
    return dict(zip(short, names, strict=True))


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
    return sum(folder.features[name].width for name in names)


def names_of(folder: LeRobotFolder, names: tuple[str, ...]) -> tuple[str, ...]:
    """The name of each of those numbers, all different; `state_0`, ... where the dataset names none.

    Names that only their columns tell apart are led by the column's: `arm.j0`, `hand.j0`.
    """
    short = [name.rpartition(".")[2] for name in names]
    columns = short if len(set(short)) == len(short) else list(names)
    parts = [
        folder.features[name].names or tuple(f"{column}_{i}" for i in range(folder.features[name].width))
        for name, column in zip(names, columns, strict=True)
    ]
    plain = [name for part in parts for name in part]
    if len(set(plain)) == len(plain):
        return tuple(plain)
    return tuple(f"{column}.{name}" for column, part in zip(columns, parts, strict=True) for name in part)


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
        for name in dict.fromkeys(names):
            yield from _feature_problem(folder, name, f"{option} {name}", _vector_problem)
            if names.count(name) > 1:
                yield f"{option} {name}: given {names.count(name)} times, expected each column once"
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
    if mapping.outcome_rule not in ("", *OUTCOME_RULES):
        yield f"--outcome-rule {mapping.outcome_rule}, expected {' or '.join(OUTCOME_RULES)}"
    elif mapping.outcome_rule and not (mapping.outcome and outcome_per_frame(folder, mapping.outcome)):
        yield f"--outcome-rule {mapping.outcome_rule} without an --outcome-column of the frames: nothing to choose from"
    yield from _times_problem(folder, mapping.nominal_times_s)
    if mapping.outcome and not outcome_per_frame(folder, mapping.outcome):
        known = {name for entry in folder.episodes for name in entry.facts}
        if mapping.outcome not in known:
            offered = ", ".join(sorted(known)) or "none"
            yield f"--outcome-column {mapping.outcome}: no column of the frames nor of the episodes ({offered})"
    elif mapping.outcome:
        yield from _feature_problem(folder, mapping.outcome, f"--outcome-column {mapping.outcome}", _outcome_problem)


def _times_problem(folder: LeRobotFolder, tolerance_s: float | None) -> Iterator[str]:
    # From half a period on, two frames could claim one place.
    if tolerance_s is not None and not 0 < tolerance_s < 0.5 / folder.fps:
        limit = f"below {0.5 / folder.fps:.4g} (half a period at {folder.fps:g} Hz)"
        yield f"--nominal-times {tolerance_s:g}: expected seconds above 0 and {limit}"


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
    return "" if feature.dtype in _NUMBERS else f"of type {feature.dtype}, expected numbers"


def _flag_problem(feature: Feature) -> str:
    if feature.dtype not in ("bool", *_NUMBERS):
        return f"of type {feature.dtype}, expected true or false"
    return "" if feature.width == 1 else f"shape {feature.shape}, expected one per frame"


def _outcome_problem(feature: Feature) -> str:
    if feature.dtype not in ("bool", "string", *_NUMBERS):
        return f"of type {feature.dtype}, expected true or false, 1 or 0, or words"
    return "" if feature.width == 1 else f"shape {feature.shape}, expected one per frame"


def picture_shape(feature: Feature) -> tuple[int, int]:
    """(h, w) of a picture feature; the dataset may give channels first or last."""
    shape = feature.shape
    return (shape[0], shape[1]) if shape[2] == 3 else (shape[1], shape[2])
