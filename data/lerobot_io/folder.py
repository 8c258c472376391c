"""What the meta files of a LeRobotDataset folder say, checked: versions 2.1 and 3.0.

    meta/info.json                       version, rate, features, where files lie (both)
    meta/episodes/chunk-*/file-*.parquet one row per episode (3.0)
    meta/episodes.jsonl                  one line per episode (2.1)

Owns the shape of those files and the rule that every path stays below the folder. Opens no table and no video.
"""

from __future__ import annotations

import json
import math
import re
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from recap.errors import ConfigError
from recap.texts import check_text, check_texts

VERSIONS = ("v2.1", "v3.0")
IMAGE_DTYPES = ("video", "image")
_NUMBER_FORMAT = re.compile(r"(0?[0-9])?d?")
_PATH_FIELDS = {
    "v2.1": {"episode_chunk", "episode_index", "video_key"},
    "v3.0": {"chunk_index", "file_index", "video_key"},
}
_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """One column of the dataset, as info.json describes it."""

    name: str
    dtype: str
    """Of numpy, or "video", "image", "string"."""
    shape: tuple[int, ...]
    names: tuple[str, ...]
    """Of the numbers of a vector; empty where the dataset does not name them."""
    depth: bool
    """True for a depth map, which is no picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoSpan:
    """Where the frames of one episode lie."""

    path: Path
    start_s: float
    """Of the first frame, seconds from the start of the file."""
    whole_file: bool
    """True if the file holds this episode and nothing else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeEntry:
    """One episode, as the meta files describe it."""

    index: int
    length: int
    """T, frames."""
    instructions: tuple[str, ...]
    """What the robot was told, in words."""
    table: Path
    videos: Mapping[str, VideoSpan]
    """{feature: where its frames lie}, for each video feature."""
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
    """In order of index, 0 to E - 1."""

    @property
    def image_features(self) -> tuple[str, ...]:
        """Names of the features that are pictures, depth maps left out."""
        return tuple(n for n, f in self.features.items() if f.dtype in IMAGE_DTYPES and not f.depth)

    def feature(self, name: str, *, option: str) -> Feature:
        """A feature by name.

        Raises:
            UnknownName: the dataset has none of that name; offers the nearest.
        """
        from recap.errors import UnknownName

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
    version = info.get("codebase_version")
    if version not in VERSIONS:
        raise ConfigError(
            f"{path}/meta/info.json: codebase_version {version!r}, expected one of {', '.join(VERSIONS)}",
            hint="convert it with LeRobot's own scripts (lerobot.scripts.convert_dataset_*)",
        )
    fps = info.get("fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not math.isfinite(fps) or fps <= 0:
        raise ConfigError(f"{path}/meta/info.json: fps {fps!r}, expected a number > 0")
    features = _features(path, info)
    layout = _Layout(path, version, info, tuple(n for n, f in features.items() if f.dtype == "video"))
    rows = _rows_v30(path, layout.video_keys) if version == "v3.0" else _rows_v21(path)
    episodes = tuple(sorted((layout.entry(row, float(fps)) for row in rows), key=lambda entry: entry.index))
    _check_totals(path, info, episodes)
    _check_files(path, episodes)
    robot = info.get("robot_type")
    return LeRobotFolder(
        root=path,
        version=version,
        fps=float(fps),
        robot_type=robot if isinstance(robot, str) else "",
        features=features,
        episodes=episodes,
    )


def listed(problems: Iterable[str]) -> str:
    """Problems, one a line, at most eight of them and a count."""
    lines = list(problems)
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more])


def _info(path: Path) -> Mapping[str, Any]:
    file = path / "meta" / "info.json"
    if not path.is_dir():
        what = "is no directory" if path.exists() else "does not exist"
        raise ConfigError(f"{path}: {what}", hint="recap data import DIR   (the folder that holds meta/info.json)")
    if not file.is_file():
        raise ConfigError(f"{path}: no LeRobotDataset there, meta/info.json is missing")
    info = _json(file, _text(file))
    if not isinstance(info, dict):
        raise ConfigError(f"{file}: a JSON {type(info).__name__}, expected an object")
    return info


def _features(path: Path, info: Mapping[str, Any]) -> dict[str, Feature]:
    where, found = f"{path}/meta/info.json", info.get("features")
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{where}: features is {type(found).__name__}, expected an object that describes each column")
    features = {}
    for name, described in found.items():
        if not isinstance(described, dict) or not isinstance(described.get("dtype"), str):
            raise ConfigError(f"{where}: feature {name!r} is {described!r}, expected dtype, shape and names")
        shape = described.get("shape")
        if not isinstance(shape, list | tuple) or not all(type(size) is int and size > 0 for size in shape):
            raise ConfigError(f"{where}: shape of feature {name!r} is {shape!r}, expected a list of positive numbers")
        if described["dtype"] in IMAGE_DTYPES and ("/" in name or "\\" in name or ".." in name):
            raise ConfigError(f"{where}: feature {name!r} would lead out of its folder, expected a plain name")
        details = described.get("info") or {}
        depth = isinstance(details, dict) and bool(details.get("video.is_depth_map") or details.get("is_depth_map"))
        features[name] = Feature(
            name=name,
            dtype=described["dtype"],
            shape=tuple(shape),
            names=_names(described.get("names"), shape),
            depth=depth,
        )
    return features


def _names(found: Any, shape: Any) -> tuple[str, ...]:
    # A list, or a list under some heading ({"motors": [...]}), or nothing; whatever does not fit names nothing.
    if isinstance(found, dict):
        found = [name for part in found.values() if isinstance(part, list) for name in part]
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        return ()
    return tuple(found) if len(shape) == 1 and len(found) == shape[0] else ()


class _Layout:
    """Where the files of an episode lie, by the path patterns of info.json."""

    def __init__(self, root: Path, version: str, info: Mapping[str, Any], video_keys: tuple[str, ...]) -> None:
        self.video_keys = video_keys
        self._root = root
        self._version = version
        self._where = f"{root}/meta/info.json"
        chunk = info.get("chunks_size")
        if type(chunk) is not int or chunk < 1:
            raise ConfigError(f"{self._where}: chunks_size {chunk!r}, expected a positive number")
        self._chunk: int = chunk
        self._table = self._pattern(info, "data_path")
        self._video = self._pattern(info, "video_path") if video_keys else ""

    def entry(self, row: Mapping[str, Any], fps: float) -> EpisodeEntry:
        index = _count(row, "episode_index", self._root, lowest=0)
        length = _count(row, "length", self._root, lowest=1, episode=index)
        instructions = row.get("tasks")
        if not isinstance(instructions, list) or not all(isinstance(text, str) for text in instructions):
            raise ConfigError(f"{self._root}: episode {index}: tasks is {instructions!r}, expected a list of texts")
        if self._version == "v2.1":
            place = {"episode_chunk": index // self._chunk, "episode_index": index}
            spans = {
                key: VideoSpan(path=self._below(self._video, video_key=key, **place), start_s=0.0, whole_file=True)
                for key in self.video_keys
            }
            table = self._below(self._table, **place)
        else:
            table = self._below(self._table, **self._place(row, "data", index))
            spans = {key: self._span(row, key, index, length, fps) for key in self.video_keys}
        known = {"episode_index", "length", "tasks"}
        facts = {name: value for name, value in row.items() if name not in known and "/" not in name}
        return EpisodeEntry(
            index=index, length=length, instructions=tuple(instructions), table=table, videos=spans, facts=facts
        )

    def _place(self, row: Mapping[str, Any], prefix: str, index: int) -> dict[str, int]:
        return {
            name: _count(row, f"{prefix}/{name}", self._root, lowest=0, episode=index)
            for name in ("chunk_index", "file_index")
        }

    def _span(self, row: Mapping[str, Any], key: str, index: int, length: int, fps: float) -> VideoSpan:
        start, end = (row.get(f"videos/{key}/{name}_timestamp") for name in ("from", "to"))
        if not (isinstance(start, float) and isinstance(end, float) and 0 <= start < end < math.inf):
            raise ConfigError(
                f"{self._root}: episode {index}, {key}: from {start!r} to {end!r} in the video, expected seconds"
            )
        if abs((end - start) * fps - length) > 0.5:
            raise ConfigError(
                f"{self._root}: episode {index}, {key}: the video is {end - start:.3f} s long, "
                f"expected {length / fps:.3f} s for {length} frames at {fps:g} Hz"
            )
        place = self._place(row, f"videos/{key}", index)
        return VideoSpan(path=self._below(self._video, video_key=key, **place), start_s=start, whole_file=False)

    def _pattern(self, info: Mapping[str, Any], field: str) -> str:
        pattern, known = info.get(field), _PATH_FIELDS[self._version]
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


def _rows_v21(path: Path) -> list[dict[str, Any]]:
    file = path / "meta" / "episodes.jsonl"
    if not file.is_file():
        raise ConfigError(f"{file} is missing")
    rows = []
    # Not splitlines: an instruction may hold one of the nine other characters that it takes for the end of a line.
    for number, line in enumerate(_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        row = _json(file, line, line=number)
        if not isinstance(row, dict):
            raise ConfigError(f"{file}, line {number}: a JSON {type(row).__name__}, expected an object")
        rows.append(row)
    return rows


def _rows_v30(path: Path, video_keys: tuple[str, ...]) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((path / "meta" / "episodes").glob("*/*.parquet"))
    if not files:
        raise ConfigError(f"{path}/meta/episodes: no parquet file there")
    wanted = {"data", *(f"videos/{key}" for key in video_keys)}
    rows: list[dict[str, Any]] = []
    for file in files:
        try:
            parquet = pq.ParquetFile(file)
            # Statistics of every column make up most of the file and are not needed.
            columns = [
                name for name in parquet.schema_arrow.names if "/" not in name or name.rpartition("/")[0] in wanted
            ]
            rows += parquet.read(columns=columns).to_pylist()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ConfigError(f"{file}: not readable as parquet ({error})") from error
    return rows


def _count(row: Mapping[str, Any], field: str, root: Path, *, lowest: int, episode: int | None = None) -> int:
    value = row.get(field)
    # A table column with an empty cell arrives as float or None.
    if type(value) is not int or value < lowest:
        which = "an episode" if episode is None else f"episode {episode}"
        raise ConfigError(f"{root}: meta of {which}: {field} is {value!r}, expected a whole number >= {lowest}")
    return value


def _check_totals(path: Path, info: Mapping[str, Any], episodes: tuple[EpisodeEntry, ...]) -> None:
    if [entry.index for entry in episodes] != list(range(len(episodes))) or not episodes:
        raise ConfigError(
            f"{path}: meta describes {len(episodes)} episodes with indices "
            f"{[entry.index for entry in episodes][:_SHOWN]} ..., expected 0, 1, 2, ... and at least one"
        )
    found = {"total_episodes": len(episodes), "total_frames": sum(entry.length for entry in episodes)}
    for field, count in found.items():
        if info.get(field) != count:
            raise ConfigError(f"{path}/meta/info.json: {field} {info.get(field)!r}, its episodes give {count}")


def _check_files(path: Path, episodes: tuple[EpisodeEntry, ...]) -> None:
    first_use: dict[Path, int] = {}
    for entry in episodes:
        for file in (entry.table, *(span.path for span in entry.videos.values())):
            first_use.setdefault(file, entry.index)
    missing = [f"episode {index}: {file.relative_to(path)}" for file, index in first_use.items() if not file.is_file()]
    if missing:
        raise ConfigError(
            f"{path}: {len(missing)} files that its meta names are missing:{listed(missing)}",
            hint="copy the dataset again, videos included (with git: git lfs pull)",
        )


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not readable as text ({error})") from error


def _json(file: Path, text: str, *, line: int | None = None) -> Any:
    place = "" if line is None else f", line {line}"
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{file}{place}: not JSON ({error})") from error
    return check_texts(f"{file}{place}", value)
