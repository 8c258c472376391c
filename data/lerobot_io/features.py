"""The columns of a LeRobotDataset as meta/info.json describes them: types, shapes, the names of their numbers, depth.

Every spelling that LeRobot's own reader takes has the same meaning here. Opens no file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from recap.errors import ConfigError

IMAGE_DTYPES = ("video", "image")


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """One column of the dataset, as info.json describes it."""

    name: str
    dtype: str
    """Of numpy, or "video", "image", "string"."""
    shape: tuple[int, ...]
    names: tuple[str, ...]
    """Of its numbers, row by row where it has several axes; empty where the dataset names none, or as many as fit."""
    misnamed: bool
    """True if it gives names that do not fit its numbers."""
    depth: bool
    """True for a depth map, which is no picture."""

    @property
    def width(self) -> int:
        """How many numbers it has per frame."""
        return math.prod(self.shape)


def read_features(where: str, found: Any) -> dict[str, Feature]:
    """{name: feature} of the field "features" of info.json.

    Raises:
        ConfigError: it is no description of columns, or a name leads out of the folder; `where` begins the message.
    """
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{where}: features is {type(found).__name__}, expected an object that describes each column")
    return {name: _feature(where, name, described) for name, described in found.items()}


def _feature(where: str, name: str, described: Any) -> Feature:
    if not isinstance(described, dict) or not isinstance(described.get("dtype"), str):
        raise ConfigError(f"{where}: feature {name!r} is {described!r}, expected dtype, shape and names")
    shape = described.get("shape")
    if not isinstance(shape, list | tuple) or not all(type(size) is int and size > 0 for size in shape):
        raise ConfigError(f"{where}: shape of feature {name!r} is {shape!r}, expected a list of positive numbers")
    dtype = described["dtype"]
    if dtype in IMAGE_DTYPES and ("/" in name or "\\" in name or ".." in name or "\0" in name):
        raise ConfigError(f"{where}: feature {name!r} would lead out of its folder, expected a plain name")
    names = () if dtype in IMAGE_DTYPES else _names(described.get("names"))
    fits = len(names) == math.prod(shape) and len(set(names)) == len(names)
    return Feature(
        name=name,
        dtype=dtype,
        shape=tuple(shape),
        names=names if fits else (),
        # A single number needs no name: "names": null, [] and ["state"] all say the same of it.
        misnamed=bool(names) and not fits,
        depth=_is_depth(described),
    )


def _is_depth(described: Mapping[str, Any]) -> bool:
    # As LeRobotDatasetMetadata.depth_keys: today's place and name, and the two that older recorders wrote.
    info, video = (described.get(field) for field in ("info", "video_info"))
    flags = [info.get(flag) for flag in ("is_depth_map", "video.is_depth_map")] if isinstance(info, dict) else []
    if isinstance(video, dict):
        flags.append(video.get("video.is_depth_map"))
    return any(flags)


def _names(found: Any) -> tuple[str, ...]:
    """The names in the order of the numbers; those that are told apart by their part alone are led by it."""
    leaves = list(_leaves(found, ()))
    short = [path[-1] for path in leaves]
    # Headings that are the same for all ({"motors": [...]}) say nothing.
    return tuple(short if len(set(short)) == len(short) else (".".join(path) for path in leaves))


def _leaves(found: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if isinstance(found, str):
        yield (*path, found)
    elif isinstance(found, dict):
        places = list(found.values())
        if all(type(place) is int for place in places):
            # {"delta_x": 0, "delta_y": 1}: a name and the number's place.
            if sorted(places) == list(range(len(places))):
                yield from ((*path, str(name)) for name in sorted(found, key=found.__getitem__))
            return
        for name, part in found.items():
            yield from _leaves(part, (*path, str(name)))
    elif isinstance(found, list):
        for place, part in enumerate(found):
            # Lists in a list are the rows of a vector of several axes; they have a number and no name.
            yield from _leaves(part, path if isinstance(part, str) else (*path, str(place)))
