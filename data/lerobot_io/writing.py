"""Episodes as a new LeRobotDataset v3.0, through LeRobot's own writer, which alone knows its format by heart.

The folder appears by one rename once it is whole and on disk; until then it lies beside it under a hidden name.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recap import faults
from recap.errors import ConfigError
from recap.files import publish_dir
from recap.texts import text_problem
from recap.types import EpisodeDraft

EXTRA = "recap.json"
"""meta/recap.json: what LeRobot has no place for, one entry per episode."""
_MOST = 1001
"""Rates are fractions of small numbers: 30000/1001, 25/2."""
_LONGEST_NAME = 240
_DTYPES = {"b": "bool", "f": "float32", "U": "string"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportLayout:
    """What every episode of the dataset has in common."""

    prompt: str
    """What the robot was told in an episode that has no instruction of its own."""
    robot: str
    rate_hz: float
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    cameras: Mapping[str, tuple[int, int]]
    """{camera: (h, w)}"""
    columns: Mapping[str, str]
    """{column beside state and action: "bool", "float32" or "string"}"""
    videos: bool
    """True: mp4, which loses some; false: PNG, which does not."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ExportEpisode:
    """One episode with its columns."""

    episode: EpisodeDraft
    columns: Mapping[str, NDArray[Any]]
    """{column: [T]}"""


class _Rate(float):
    """Frames per second that are no whole number: LeRobot divides by it and writes it down, PyAV reads a fraction."""

    @property
    def numerator(self) -> int:
        return Fraction(self).limit_denominator(_MOST).numerator

    @property
    def denominator(self) -> int:
        return Fraction(self).limit_denominator(_MOST).denominator


def write_dataset(
    to: Path, layout: ExportLayout, episodes: Iterable[ExportEpisode], extra: Mapping[str, Any]
) -> Iterator[int]:
    """Writes the dataset folder `to`; yields after each episode the number of frames written so far.

    Nothing appears under the name `to` before the last episode is in, so it has to be iterated to the end. What a
    killed attempt left behind is removed by the next one.

    Args:
        to: the folder; must not exist.
        layout: of all episodes.
        episodes: in the order they are to have.
        extra: JSON kept as meta/recap.json.

    Raises:
        ConfigError: `to` exists or is a name that LeRobot cannot open, another export writes beside it, or an episode
            that is not of the layout.
    """
    _check_place(to)
    if to.exists():
        raise ConfigError(f"{to} exists: an export makes a new folder", hint="give --to another name, or remove it")
    to.parent.mkdir(parents=True, exist_ok=True)
    with _alone_beside(to):
        partial = to.with_name(f".{to.name}.partial")
        if partial.exists():
            shutil.rmtree(partial)
        try:
            yield from _write(partial, to.name, layout, episodes)
            (partial / "meta" / EXTRA).write_text(json.dumps(extra, indent=1))
            faults.point("export.before_rename")
            publish_dir(partial, to)
        finally:
            if partial.exists():
                shutil.rmtree(partial)


def _check_place(to: Path) -> None:
    """Raises ConfigError for a folder that could be made, but in which LeRobot would not find its own files."""
    place = str(to.absolute())
    # LeRobot takes [..] for a pattern and :: for a chain of addresses, and lists videos between quotes, one a line.
    odd = [part for part in ("[", "]", "*", "?", "::", "'", "\n", "\r") if part in place]
    problem = text_problem(place)
    if odd:
        problem = f"LeRobot does not find its own files below a path that holds {' or '.join(map(repr, odd))}"
    elif not problem and len(to.name.encode()) > _LONGEST_NAME:
        # While it is written, the folder has a longer name.
        problem = f"a name of more than {_LONGEST_NAME} bytes"
    if problem:
        raise ConfigError(f"--to {place!r}: {problem}", hint="give --to a plainer path")


def _write(root: Path, name: str, layout: ExportLayout, episodes: Iterable[ExportEpisode]) -> Iterator[int]:
    # The encoder and the table library talk to the terminal; we say how far it is.
    os.environ.setdefault("SVT_LOG", "1")
    from datasets import disable_progress_bars
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    disable_progress_bars()
    dataset = LeRobotDataset.create(
        repo_id=f"recap/{name}",
        fps=_Rate(layout.rate_hz) if layout.rate_hz % 1 else round(layout.rate_hz),
        features=_features(layout),
        root=root,
        robot_type=layout.robot,
        use_videos=layout.videos,
        video_backend="pyav",
    )
    written = 0
    try:
        for one in episodes:
            _check(one, layout)
            for frame in _frames(one, layout):
                dataset.add_frame(frame)
            # One process per camera would be started for each episode.
            dataset.save_episode(parallel_encoding=False)
            written += one.episode.length
            faults.point("export.after_episode")
            yield written
    finally:
        # Without it the parquet files have no footer; after an error they are rubbish and closed all the same.
        dataset.finalize()


def _features(layout: ExportLayout) -> dict[str, dict[str, Any]]:
    pictures = {
        f"observation.images.{camera}": {
            "dtype": "video" if layout.videos else "image",
            "shape": (h, w, 3),
            "names": ["height", "width", "channels"],
        }
        for camera, (h, w) in layout.cameras.items()
    }
    vectors = {
        name: {"dtype": "float32", "shape": (len(names),), "names": list(names)}
        for name, names in (("observation.state", layout.state_names), ("action", layout.action_names))
    }
    columns = {name: {"dtype": dtype, "shape": (1,), "names": None} for name, dtype in layout.columns.items()}
    return {**vectors, **pictures, **columns}


def _frames(one: ExportEpisode, layout: ExportLayout) -> Iterator[dict[str, Any]]:
    episode = one.episode
    # A stored episode decodes a camera at each access.
    films = {camera: episode.frames[camera] for camera in layout.cameras}
    for t in range(episode.length):
        yield {
            "task": layout.prompt if episode.instruction is None else episode.instruction,
            "observation.state": episode.state[t],
            "action": episode.action[t],
            **{f"observation.images.{camera}": film[t] for camera, film in films.items()},
            **{
                name: str(column[t]) if layout.columns[name] == "string" else column[t : t + 1]
                for name, column in one.columns.items()
            },
        }


def _check(one: ExportEpisode, layout: ExportLayout) -> None:
    episode = one.episode
    found: dict[str, Any] = {
        "robot": episode.robot,
        "rate": float(episode.rate_hz),
        "state": episode.state.shape[1],
        "action": episode.action.shape[1],
        "columns": {name: _DTYPES.get(column.dtype.kind, str(column.dtype)) for name, column in one.columns.items()},
        "rows": {len(column) for column in one.columns.values()} | {episode.length},
    }
    wanted: dict[str, Any] = {
        "robot": layout.robot,
        "rate": float(layout.rate_hz),
        "state": len(layout.state_names),
        "action": len(layout.action_names),
        "columns": dict(layout.columns),
        "rows": {episode.length},
    }
    wrong = [f"{name} {found[name]}, expected {wanted[name]}" for name in wanted if found[name] != wanted[name]]
    missing = sorted(set(layout.cameras) - set(episode.frames))
    if wrong or missing:
        lacking = [f"no camera {', '.join(missing)}"] if missing else []
        raise ConfigError(
            f"an episode of task '{episode.task}' does not fit the others: {'; '.join([*wrong, *lacking])}"
        )


@contextmanager
def _alone_beside(to: Path) -> Iterator[None]:
    """One export at a time into one parent folder: a lock on the folder itself, which dies with its process."""
    handle = os.open(to.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"another export is writing into {to.parent}", hint="wait for it, then issue this again"
            ) from None
        yield
    finally:
        os.close(handle)


def float_column(values: NDArray[Any]) -> NDArray[np.float32]:
    """[T] float32 of any numbers."""
    return np.ascontiguousarray(values, dtype=np.float32)


def text_column(text: str, length: int) -> NDArray[np.str_]:
    """[T] the same words at every step."""
    return np.full(length, text)
