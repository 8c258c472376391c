"""What an import will take of a LeRobotDataset, found out before anything is written: request, mapping, task, words.

Owns what is refused and what to type instead. How a dataset is read stands in `data/lerobot_io`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.lerobot_io.features import IMAGE_DTYPES
from data.lerobot_io.files import OffTime, listed, numbers_text
from pipelines.datasets.request import ImportRequest, ImportResult
from recap.errors import ConfigError

if TYPE_CHECKING:
    from data.lerobot_io.folder import EpisodeEntry, LeRobotFolder
    from data.lerobot_io.mapping import DatasetMapping
    from data.lerobot_io.reading import DatasetReader
    from data.lerobot_io.wordings import Told
    from recap.specs import RobotSpec, TaskSpec


@dataclass(kw_only=True, slots=True)
class PlannedEpisode:
    """An episode whose files and tables are good."""

    entry: EpisodeEntry
    fingerprint: str
    told: Told
    instruction: str | None = None
    """As it is kept: None where the robot was told what its task says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportPlan:
    """What will be taken."""

    reader: DatasetReader
    episodes: Sequence[PlannedEpisode]
    broken: Mapping[int, ConfigError]
    """{number in the dataset: what is wrong with it}, of the episodes that are left out."""
    drafted: tuple[TaskSpec, RobotSpec] | None
    """The description of a task that nobody knew."""
    prompt: str
    """Of the task: what an episode without an instruction of its own was told."""


def plan_import(root: Path, request: ImportRequest, result: ImportResult) -> ImportPlan:
    """Looks through the dataset; writes nothing and decodes no picture. What there is to say goes to `result`.

    Raises:
        ConfigError: the dataset or the request is not right, or some episodes are broken and not to be left out.
    """
    from data.annotation import read_outcomes_file
    from data.lerobot_io.folder import open_folder
    from data.lerobot_io.reading import DatasetReader

    folder = open_folder(request.dataset)
    entries = _chosen(root, folder, request)
    if request.outcomes is not None:
        # Of all episodes of the dataset, taken or not; what is wrong with it is said before hours of decoding.
        read_outcomes_file(request.outcomes, (), numbers={one.index: str(one.index) for one in folder.episodes})
    mapping = _mapping(root, folder, request)
    reader = DatasetReader(folder, mapping)
    known = _known_task(folder, mapping, result)
    episodes, broken = _look_through(root, reader, entries, request, result)
    prompt = _word(root, folder, episodes, request, result, None if known is None else known.spec.prompt)
    pictures = {name for name, feature in folder.features.items() if feature.dtype in IMAGE_DTYPES}
    result.dataset = str(folder.root)
    result.unused = sorted(pictures - set(mapping.cameras.values()))
    result.unnamed = [name for name in (*mapping.state, *mapping.action) if folder.features[name].misnamed]
    drafted = None
    if known is None:
        from data.lerobot_io.task_draft import draft_task

        drafted = draft_task(folder, mapping, [one.entry for one in episodes], prompt=prompt)
    return ImportPlan(reader=reader, episodes=episodes, broken=broken, drafted=drafted, prompt=prompt)


def refuse_broken(
    root: Path,
    reader: DatasetReader,
    request: ImportRequest,
    broken: Mapping[int, ConfigError],
    *,
    kept: int,
    count: int,
) -> ConfigError:
    """The error that names the episodes that cannot be taken, and says what to type.

    Args:
        root: workspace.
        reader: of the dataset.
        request: what was asked for.
        broken: {number in the dataset: what is wrong with it}.
        kept: episodes that were imported nevertheless.
        count: of episodes asked for.
    """
    verb = "is" if len(broken) == 1 else "are"
    state = f"the other {kept} were imported" if kept > 1 else "the other one was imported" if kept else ""
    hints = {error.hint for error in broken.values()}
    changed = (
        _times(reader, broken) or _cameras_there(reader) or ({} if len(broken) == count else {"skip_broken": True})
    )
    return ConfigError(
        f"{reader.folder.root}: {len(broken)} of {count} episodes {verb} broken, {state or 'nothing was imported'}:"
        + listed(error.message for _, error in sorted(broken.items())),
        hint=hints.pop() if len(hints) == 1 and "" not in hints else request.again(root, **changed),
    )


def _times(reader: DatasetReader, broken: Mapping[int, ConfigError]) -> dict[str, Any]:
    """Nominal times within the tolerance that would do, if times are all that is wrong."""
    half = 0.5 / reader.folder.fps
    if not all(isinstance(error, OffTime) and error.off_s < half for error in broken.values()):
        return {}
    by_index = {entry.index: entry for entry in reader.folder.episodes}
    off = 0.0
    for index, error in broken.items():
        assert isinstance(error, OffTime)
        try:
            off = max(off, reader.jitter_s(by_index[index]), error.off_s)
        except OffTime as table:
            off = max(off, table.off_s)
    # In whole milliseconds, or finer where half a period leaves no room.
    for scale in (1e3, 1e4, 1e5):
        tolerance = math.floor(off * scale + 1.001) / scale
        if tolerance < half:
            return {"nominal_times": tolerance}
    return {}


def _cameras_there(reader: DatasetReader) -> dict[str, Any]:
    """The cameras whose films are there, if others have none at all."""
    cameras = reader.mapping.cameras
    there = {
        camera: name
        for camera, name in cameras.items()
        if any(reader.has_pictures(entry, name) for entry in reader.folder.episodes)
    }
    if not there or len(there) == len(cameras):
        return {}
    return {"cameras": tuple(f"{camera}={name}" for camera, name in there.items())}


def _chosen(root: Path, folder: LeRobotFolder, request: ImportRequest) -> list[EpisodeEntry]:
    """The episodes asked for."""
    if request.episodes is not None:
        wanted = _numbers(request.episodes, folder)
        return [entry for entry in folder.episodes if entry.index in wanted]
    if folder.incomplete:
        there = numbers_text(entry.index for entry in folder.episodes)
        raise ConfigError(
            f"{folder.incomplete}: expected the same, unless this is a part of a dataset",
            hint=f"{request.again(root, episodes=there)}   (takes what there is)",
        )
    return list(folder.episodes)


def _numbers(text: str, folder: LeRobotFolder) -> set[int]:
    there = {entry.index for entry in folder.episodes}
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, -1)
        # The ends have to be there; between them there may be gaps.
        if first > last or not {first, last} <= there:
            raise ConfigError(f"--episodes {text!r}: {part!r}, expected numbers like 3,7-9 among {numbers_text(there)}")
        found |= {number for number in there if first <= number <= last}
    return found


def _mapping(root: Path, folder: LeRobotFolder, request: ImportRequest) -> DatasetMapping:
    from data.lerobot_io.mapping import DatasetMapping, cameras_of
    from data.tasks import TASKS
    from recap.types import Source

    if request.source not in [source.value for source in Source]:
        raise ConfigError(
            f"--source {request.source!r}, expected one of {', '.join(source.value for source in Source)}"
        )
    if request.outcome_column and request.outcomes is not None:
        raise ConfigError("--outcome-column and --outcomes: expected one of them")
    cameras: dict[str, str] = {}
    for text in request.cameras:
        name, equals, feature = text.partition("=")
        if not equals or not name or not feature or name in cameras:
            raise ConfigError(
                f"--camera {text!r}, expected NAME=FEATURE, each name once",
                hint="--camera cam_high=observation.images.top",
            )
        cameras[name] = feature
    known = request.task in TASKS.names()
    robot = request.robot or folder.robot_type or (TASKS.get(request.task).robot.id if known else "")
    if not robot:
        raise ConfigError(
            f"{folder.root}: the dataset does not say which robot it is of", hint=request.again(root, robot="NAME")
        )
    return DatasetMapping(
        task=request.task,
        robot=robot,
        source=Source(request.source),
        policy_id=request.policy,
        cameras=cameras or cameras_of(folder),
        state=request.state,
        action=request.action,
        image_size=_image_size(request.image_size),
        intervention=request.intervention_column,
        outcome=request.outcome_column,
        outcome_rule=request.outcome_rule,
        nominal_times_s=request.nominal_times,
        software=_software(),
    )


def _image_size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,5}))?", text)
    if match is None or not (height := int(match[1])) or not (width := int(match[2] or match[1])):
        raise ConfigError(f"--image-size {text!r}, expected a side or HEIGHTxWIDTH in pixels, like 224 or 240x320")
    return height, width


def _software() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("av", "pillow", "pyarrow")}


def _known_task(folder: LeRobotFolder, mapping: DatasetMapping, result: ImportResult) -> Any:
    """The task, if anyone knows it. Numbers that it calls otherwise go to `result`.

    Raises:
        ConfigError: the recordings do not fit it.
    """
    from data.lerobot_io.mapping import names_of, picture_shape, width_of
    from data.task_file import RecordedTask
    from data.tasks import TASKS

    if mapping.task not in TASKS.names():
        return None
    task = TASKS.get(mapping.task)
    spec, robot = task.spec, task.robot
    facts: dict[str, tuple[Any, Any]] = {
        "robot": (mapping.robot, robot.id),
        "rate in Hz": (folder.fps, spec.rate_hz),
        "state": (f"{width_of(folder, mapping.state)} numbers", f"{len(robot.state_names)} numbers"),
        "action": (f"{width_of(folder, mapping.action)} numbers", f"{len(robot.action_names)} numbers"),
    }
    for part, features, known in (
        ("state", mapping.state, robot.state_names),
        ("action", mapping.action, robot.action_names),
    ):
        names = names_of(folder, features)
        if sorted(names) == sorted(known):
            facts[f"order of the {part}"] = (", ".join(names), ", ".join(known))
        else:
            result.renamed[part] = list(names)
    for camera in robot.cameras:
        size: Any = None
        if camera.name in mapping.cameras:
            size = mapping.image_size or picture_shape(folder.features[mapping.cameras[camera.name]])
        # A simulated robot has a size by default and any other if asked.
        wanted = (camera.height, camera.width) if isinstance(task, RecordedTask) or size is None else size
        facts[f"camera {camera.name}"] = (size or "none", wanted)
    wrong = [f"{name} {got}, expected {wanted}" for name, (got, wanted) in facts.items() if got != wanted]
    if wrong:
        where = f" ({task.path})" if isinstance(task, RecordedTask) else ""
        raise ConfigError(
            f"{folder.root} does not fit task '{mapping.task}'{where}: {'; '.join(wrong)}",
            hint="--robot, --camera NAME=FEATURE, --image-size, --state and --action say how to read it",
        )
    return task


def _look_through(
    root: Path, reader: DatasetReader, entries: Sequence[EpisodeEntry], request: ImportRequest, result: ImportResult
) -> tuple[list[PlannedEpisode], dict[int, ConfigError]]:
    """The episodes whose files and tables are good, and what is wrong with the others.

    Raises:
        ConfigError: some are broken and are not to be left out, or nothing is left.
    """
    from data.lerobot_io.wordings import Told

    good: list[PlannedEpisode] = []
    broken: dict[int, ConfigError] = {}
    for entry in entries:
        try:
            reader.check(entry)
            # A wording that is given spares the dataset's, but for a choice by it.
            ask = request.instruction is None or bool(request.told)
            try:
                told = reader.told(entry) if ask else Told(wording=request.instruction or "")
            except ConfigError as error:
                error.hint = request.again(root, instruction="TEXT")
                raise
            if request.told and told.wording not in request.told:
                result.told_otherwise += 1
                continue
            good.append(PlannedEpisode(entry=entry, fingerprint=reader.fingerprint(entry), told=told))
        except ConfigError as error:
            broken[entry.index] = error
    if broken and (not request.skip_broken or not good):
        raise refuse_broken(root, reader, request, broken, kept=0, count=len(entries))
    if not good:
        raise ConfigError(
            f"{reader.folder.root}: none of {len(entries)} episodes was told {' or '.join(map(repr, request.told))}",
            hint=f"{request.again(root, told=())}   (says what they were told)",
        )
    return good, broken


def _word(
    root: Path,
    folder: LeRobotFolder,
    episodes: Sequence[PlannedEpisode],
    request: ImportRequest,
    result: ImportResult,
    prompt: str | None,
) -> str:
    """Settles what each episode was told; returns the prompt of their task, the usual wording of a new one.

    Raises:
        ConfigError: some episodes, or all of a new task, were told nothing.
    """
    if request.instruction is not None and not request.instruction.strip():
        raise ConfigError(f"--instruction {request.instruction!r}: expected words")
    wordings = [request.instruction or one.told.wording for one in episodes]
    silent = [one.entry.index for one, wording in zip(episodes, wordings, strict=True) if not wording]
    # Where nobody was told anything, a task that is described says it for all.
    if silent and (prompt is None or len(silent) < len(episodes)):
        raise ConfigError(
            f"{folder.root}: {len(silent)} of {len(episodes)} episodes were told nothing ({numbers_text(silent)}), "
            "expected an instruction in words",
            hint=f"{request.again(root, instruction='TEXT')}   (the wording for all episodes that are taken)",
        )
    counts = Counter(wordings)
    usual = counts.most_common(1)[0][0] if prompt is None else prompt
    for one, wording in zip(episodes, wordings, strict=True):
        one.instruction = None if wording in ("", usual) else wording
    result.wordings = {wording or usual: count for wording, count in counts.most_common()}
    result.mixed = [one.entry.index for one in episodes if one.told.others]
    return usual
