"""What the meta files of a LeRobotDataset folder say, checked: versions 2.0, 2.1 and 3.0.

    meta/info.json                       version, rate, features, where files lie (all)
    meta/episodes/chunk-*/file-*.parquet one row per episode (3.0)
    meta/episodes.jsonl                  one line per episode (2.0, 2.1, which differ in statistics alone)
    meta/tasks.parquet, meta/tasks.jsonl the instructions by number; may be absent

Owns the shape of those files and the rule that every path stays below the folder. Opens no table and no film: a folder
may hold a part of what its meta files describe.
"""

from __future__ import annotations

import itertools
import math
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data.lerobot_io.features import IMAGE_DTYPES, Feature, read_features
from data.lerobot_io.files import read_json, read_lines, read_rows, read_text
from recap.errors import ConfigError, UnknownName
from recap.texts import check_text

VERSIONS = ("v2.0", "v2.1", "v3.0")
_NUMBER_FORMAT = re.compile(r"(0?[0-9])?d?")
_PATH_FIELDS = {
    2: {"episode_chunk", "episode_index", "video_key"},
    3: {"chunk_index", "file_index", "video_key"},
}
# What LeRobot takes where info.json is silent.
_CHUNK_SIZE = 1000
_PATHS = {
    (2, "data_path"): "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    (2, "video_path"): "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    (3, "data_path"): "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    (3, "video_path"): "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoSpan:
    """Where an episode lies in a film."""

    path: Path
    start_s: float
    """Film time at which the row time 0 lies, seconds."""
    end_s: float
    """Film time at which the episode is said to end; infinite where the film is the episode's own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeEntry:
    """One episode, as the meta files describe it."""

    index: int
    length: int
    """T, frames."""
    instructions: tuple[str, ...]
    """What the robot was told, in words, each once; empty where the meta files do not say."""
    table: Path
    videos: Mapping[str, VideoSpan]
    """{feature: where its frames lie}, for each film that has a place."""
    placeless: Mapping[str, str]
    """{feature: why it has no place}, for every other film."""
    facts: Mapping[str, Any]
    """Every other plain value that the dataset keeps per episode (an outcome, say)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeRobotFolder:
    """A dataset folder whose meta files hold together."""

    root: Path
    version: str
    fps: float
    robot_type: str
    """"" where the dataset does not say."""
    features: Mapping[str, Feature]
    episodes: tuple[EpisodeEntry, ...]
    """In order of index; the indices may have gaps."""
    tasks: Mapping[int, str]
    """{task_index of the frames: instruction}; empty without a table of tasks that can be read."""
    tasks_problem: str
    """What is wrong with the table of tasks; "" if it is right or absent."""
    incomplete: str
    """How the totals of info.json contradict the episodes that meta describes; "" if they do not."""

    @property
    def image_features(self) -> tuple[str, ...]:
        """Names of the features that are pictures, depth maps left out."""
        return tuple(n for n, f in self.features.items() if f.dtype in IMAGE_DTYPES and not f.depth)

    def feature(self, name: str, *, option: str) -> Feature:
        """A feature by name.

        Raises:
            UnknownName: the dataset has none of that name; offers the nearest.
        """
        if name not in self.features:
            raise UnknownName.among(f"column of {self.root} ({option})", name, self.features)
        return self.features[name]


def open_folder(root: str | Path) -> LeRobotFolder:
    """Reads the meta files of the dataset at `root`.

    Raises:
        ConfigError: no dataset there, another version, or meta files that are missing, torn or contradict each other;
            names the file and the field.
    """
    path = Path(root).absolute()
    check_text("dataset folder", str(path))
    info = _info(path)
    where = f"{path}/meta/info.json"
    version = info.get("codebase_version")
    if version not in VERSIONS:
        raise ConfigError(
            f"{where}: codebase_version {version!r}, expected one of {', '.join(VERSIONS)}",
            hint=f"have the tool that wrote it write LeRobotDataset {VERSIONS[-1]}, then issue this command again",
        )
    fps = info.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not math.isfinite(fps) or fps <= 0:
        raise ConfigError(f"{where}: fps {fps!r}, expected a number > 0")
    features = read_features(where, info.get("features"))
    layout = _Layout(path, int(version[1]), info, tuple(n for n, f in features.items() if f.dtype == "video"))
    entries = [layout.entry(row) for row in layout.rows()]
    episodes = tuple(sorted(entries, key=lambda entry: entry.index))
    if not episodes:
        raise ConfigError(f"{path}: its meta files describe no episode, expected at least one")
    twice = [one.index for one, other in itertools.pairwise(episodes) if one.index == other.index]
    if twice:
        raise ConfigError(f"{path}: its meta files describe episode {twice[0]} more than once")
    # LeRobot 3.0 goes by the place of a row, not by its episode_index: where they differ nobody can tell.
    if version == VERSIONS[-1] and episodes[-1].index == len(episodes) - 1 and list(episodes) != entries:
        place = next(place for place, entry in enumerate(entries) if entry.index != place)
        raise ConfigError(
            f"{path}/meta/episodes: episode {entries[place].index} stands in row {place}, expected {place} there",
            hint="have the tool that wrote it write the rows in order, then issue this command again",
        )
    tasks, tasks_problem = layout.tasks()
    robot = info.get("robot_type")
    return LeRobotFolder(
        root=path,
        version=version,
        fps=float(fps),
        robot_type=robot if isinstance(robot, str) else "",
        features=features,
        episodes=episodes,
        tasks=tasks,
        tasks_problem=tasks_problem,
        incomplete=_incomplete(where, info, episodes),
    )


def _info(path: Path) -> Mapping[str, Any]:
    file = path / "meta" / "info.json"
    if not path.is_dir():
        what = "is no directory" if path.exists() else "does not exist"
        raise ConfigError(f"{path} {what}, expected the folder that holds meta/info.json")
    if not file.is_file():
        raise ConfigError(f"{path}: no LeRobotDataset there, meta/info.json is missing")
    info = read_json(file, read_text(file))
    if not isinstance(info, dict):
        raise ConfigError(f"{file}: a JSON {type(info).__name__}, expected an object")
    return info


class _Layout:
    """The meta files of one version, and where the files of an episode lie by the path patterns of info.json."""

    def __init__(self, root: Path, major: int, info: Mapping[str, Any], video_keys: tuple[str, ...]) -> None:
        self.video_keys = video_keys
        self._root = root
        self._major = major
        self._where = f"{root}/meta/info.json"
        chunk = info.get("chunks_size", _CHUNK_SIZE)
        if type(chunk) is not int or chunk < 1:
            raise ConfigError(f"{self._where}: chunks_size {chunk!r}, expected a positive number")
        self._chunk: int = chunk
        self._table = self._pattern(info, "data_path")
        self._video = self._pattern(info, "video_path") if video_keys else ""

    def rows(self) -> list[dict[str, Any]]:
        """What meta says of every episode."""
        if self._major == 2:
            file = self._root / "meta" / "episodes.jsonl"
            if not file.is_file():
                raise ConfigError(f"{file} is missing")
            return read_lines(file)
        files = sorted((self._root / "meta" / "episodes").glob("*/*.parquet"))
        if not files:
            raise ConfigError(f"{self._root}/meta/episodes: no parquet file there")
        wanted = {"data", *(f"videos/{key}" for key in self.video_keys)}
        return [
            row
            for file in files
            for row in read_rows(file, lambda name: "/" not in name or name.rpartition("/")[0] in wanted)
        ]

    def tasks(self) -> tuple[dict[int, str], str]:
        """{task_index: instruction} and what is wrong with its table; nothing and "" if there is none."""
        file = self._root / "meta" / ("tasks.jsonl" if self._major == 2 else "tasks.parquet")
        if not file.is_file():
            return {}, ""
        try:
            rows = read_lines(file) if self._major == 2 else read_rows(file)
        except ConfigError as error:
            return {}, error.message
        found: dict[int, str] = {}
        for place, row in enumerate(rows):
            # pandas calls an index that was not named so.
            index, text = row.get("task_index"), row.get("task", row.get("__index_level_0__"))
            if type(index) is not int or not isinstance(text, str) or index in found:
                return {}, f"{file}: row {place} is {row!r}, expected another task_index and the task in words"
            # LeRobot 3.0 goes by the place in the table, not by the column: where they differ nobody can tell.
            if self._major == 3 and index != place:
                return {}, f"{file}: task_index {index} stands in row {place}, expected {place} there"
            found[index] = text
        return found, ""

    def entry(self, row: Mapping[str, Any]) -> EpisodeEntry:
        """One row of the meta files, checked."""
        index = _count(row, "episode_index", self._root, lowest=0)
        length = _count(row, "length", self._root, lowest=1, episode=index)
        told = row.get("tasks")
        if told is not None and not (isinstance(told, list) and all(isinstance(text, str) for text in told)):
            raise ConfigError(f"{self._root}: episode {index}: tasks is {told!r}, expected a list of texts")
        spans: dict[str, VideoSpan] = {}
        placeless: dict[str, str] = {}
        if self._major == 2:
            place = {"episode_chunk": index // self._chunk, "episode_index": index}
            table = self._below(self._table, **place)
            for key in self.video_keys:
                path = self._below(self._video, video_key=key, **place)
                spans[key] = VideoSpan(path=path, start_s=0.0, end_s=math.inf)
        else:
            table = self._below(self._table, **self._place(row, "data", index))
            for key in self.video_keys:
                try:
                    spans[key] = self._span(row, key, index)
                except ConfigError as error:
                    placeless[key] = error.message
        known = {"episode_index", "length", "tasks"}
        return EpisodeEntry(
            index=index,
            length=length,
            instructions=tuple(dict.fromkeys(text for text in told or () if text.strip())),
            table=table,
            videos=spans,
            placeless=placeless,
            facts={name: value for name, value in row.items() if name not in known and "/" not in name},
        )

    def _place(self, row: Mapping[str, Any], prefix: str, index: int) -> dict[str, int]:
        return {
            name: _count(row, f"{prefix}/{name}", self._root, lowest=0, episode=index)
            for name in ("chunk_index", "file_index")
        }

    def _span(self, row: Mapping[str, Any], key: str, index: int) -> VideoSpan:
        place = self._place(row, f"videos/{key}", index)
        start, end = (row.get(f"videos/{key}/{name}_timestamp") for name in ("from", "to"))
        # Whole seconds may have been written as integers. The end is a hint that only a few look at.
        end = math.inf if end is None else end
        numbers = all(isinstance(time, int | float) and not isinstance(time, bool) for time in (start, end))
        if not numbers or not 0 <= float(start or 0) < float(end):
            raise ConfigError(
                f"{self._root}: episode {index}, {key}: from {start!r} to {end!r} in the film, expected seconds"
            )
        path = self._below(self._video, video_key=key, **place)
        return VideoSpan(path=path, start_s=float(start or 0), end_s=float(end))

    def _pattern(self, info: Mapping[str, Any], field: str) -> str:
        pattern, known = info.get(field) or _PATHS[self._major, field], _PATH_FIELDS[self._major]
        if not isinstance(pattern, str):
            raise ConfigError(f"{self._where}: {field} is {pattern!r}, expected a path pattern")
        # str.format on a foreign string reads attributes and pads without limit: only plain fields pass.
        try:
            parts = list(string.Formatter().parse(pattern))
        except ValueError as error:
            raise ConfigError(f"{self._where}: {field} {pattern!r} is no path pattern ({error})") from error
        for _, name, spec, conversion in parts:
            if name is None:
                continue
            wanted = _NUMBER_FORMAT if name != "video_key" else re.compile("")
            if name not in known or conversion or not wanted.fullmatch(spec or ""):
                raise ConfigError(
                    f"{self._where}: {field} {pattern!r} holds {name!r} with {spec!r}, expected {sorted(known)}"
                )
        plain = PurePosixPath(pattern)
        if plain.is_absolute() or ".." in plain.parts or "\\" in pattern or "\0" in pattern:
            raise ConfigError(f"{self._where}: {field} {pattern!r} leads out of the dataset's folder")
        return pattern

    def _below(self, pattern: str, **fields: Any) -> Path:
        # Links are followed: the hub's own cache is made of them. Names alone must not lead out.
        return self._root / pattern.format(**fields)


def _count(row: Mapping[str, Any], field: str, root: Path, *, lowest: int, episode: int | None = None) -> int:
    value = row.get(field)
    # A table column with an empty cell arrives as float or None.
    if type(value) is not int or value < lowest:
        which = "an episode" if episode is None else f"episode {episode}"
        raise ConfigError(f"{root}: meta of {which}: {field} is {value!r}, expected a whole number >= {lowest}")
    return value


def _incomplete(where: str, info: Mapping[str, Any], episodes: tuple[EpisodeEntry, ...]) -> str:
    found = {"total_episodes": len(episodes), "total_frames": sum(entry.length for entry in episodes)}
    wrong = [
        f"{field} is {info.get(field)!r}, its episodes give {count}"
        for field, count in found.items()
        if info.get(field) != count
    ]
    return f"{where}: {', '.join(wrong)}" if wrong else ""
