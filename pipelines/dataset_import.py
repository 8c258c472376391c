"""Recordings of a LeRobotDataset taken into a workspace: every episode durable when it is done, none twice.

Owns which episodes are taken, what is refused, and what the outcomes become. How a dataset is read stands in
`data/lerobot_io`. A re-issued import goes by the content of tables and videos: what is here is not decoded again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.ledger import Ledger
from recap import faults
from recap.errors import ConfigError
from recap.task_folders import offer
from recap.workspace import Workspace, check_name

if TYPE_CHECKING:
    from data.image_codec import ImageCodec
    from data.lerobot_io.folder import EpisodeEntry, LeRobotFolder
    from data.lerobot_io.mapping import DatasetMapping
    from data.lerobot_io.reading import DatasetReader
    from recap.types import Annotation

_BY = "recap data import"
_SAY_EVERY_S = 2.0
JPEG_QUALITY = 95


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportRequest:
    """What a person asked for. Fields are the options of `recap data import`."""

    dataset: Path
    task: str
    source: str = "demo"
    policy: str | None = None
    robot: str | None = None
    """None: what the dataset or the task says."""
    cameras: tuple[str, ...] = ()
    """ "cam_high=observation.images.top"; none: every picture of the dataset."""
    state: tuple[str, ...] = ("observation.state",)
    action: tuple[str, ...] = ("action",)
    image_size: str | None = None
    """ "224" or "240x320"; None: as recorded."""
    jpeg_quality: int | None = JPEG_QUALITY
    """None: lossless."""
    outcome_column: str = ""
    outcomes: Path | None = None
    """File of episode_index,outcome[,note]."""
    intervention_column: str = ""
    episodes: str | None = None
    """ "0-3,7"; None: all."""
    instruction: str | None = None
    """Only episodes that were told this."""
    skip_broken: bool = False


@dataclass(kw_only=True, slots=True)
class ImportResult:
    """What an import did."""

    dataset: str
    task: str
    imported: int = 0
    known: int = 0
    """Episodes that were here already."""
    frames: int = 0
    """Of both."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """{outcome: episodes}, "none" for those without."""
    ids: dict[int, str] = field(default_factory=dict)
    """{number in the dataset: episode id}"""
    left_out: dict[int, str] = field(default_factory=dict)
    """{number in the dataset: what is wrong with it}"""
    task_file: str | None = None
    """The description that was drafted for a task nobody knew."""
    too_long: list[int] = field(default_factory=list)
    """Numbers of the episodes that are longer than the task allows."""
    unused: list[str] = field(default_factory=list)
    """Picture features that were not taken."""
    seconds: float = 0.0


def import_dataset(root: Path, request: ImportRequest, say: Callable[[str], None]) -> ImportResult:
    """Takes the episodes of a dataset into the workspace at `root`; makes the workspace if absent.

    Raises:
        ConfigError: the dataset or the request is not right, and nothing was written; or some episodes are broken, and
            the others were imported. Each is named.
        WorkspaceLocked: a run or another import writes there.
    """
    from data.image_codec import ImageCodec
    from data.lerobot_io.folder import open_folder
    from data.lerobot_io.reading import DatasetReader

    began = time.monotonic()
    offer(root)
    check_name("task", request.task)
    folder = open_folder(request.dataset)
    entries = _chosen(folder, request)
    mapping = _mapping(folder, request)
    codec = ImageCodec(quality=request.jpeg_quality)
    reader = DatasetReader(folder, mapping)
    drafted = _fit_task(folder, mapping, entries)
    plan, broken = _look_through(reader, entries, skip=request.skip_broken)
    workspace = Workspace.open(root)
    with workspace.lock("data import"):
        path = None if drafted is None else _keep_task(workspace, drafted)
        result = ImportResult(dataset=str(folder.root), task=request.task, left_out=broken)
        result.task_file = None if path is None else str(path)
        result.unused = sorted(
            {n for n, f in folder.features.items() if f.dtype in ("video", "image")} - set(mapping.cameras.values())
        )
        _take(workspace, reader, plan, codec, result, say)
        _keep_outcomes(workspace, reader, plan, request, result)
    result.too_long = _too_long(request.task, entries)
    result.seconds = time.monotonic() - began
    if result.left_out and not request.skip_broken:
        raise ConfigError(
            f"{folder.root}: {len(result.left_out)} of {len(entries)} episodes are broken, the others were imported:"
            f"{_listed(result.left_out)}",
            hint="mend them and issue the same command again, or leave them out: --skip-broken",
        )
    return result


def _chosen(folder: LeRobotFolder, request: ImportRequest) -> list[EpisodeEntry]:
    """The episodes asked for, all of one instruction."""
    entries = list(folder.episodes)
    if request.episodes is not None:
        wanted = _numbers(request.episodes, len(entries))
        entries = [entry for entry in entries if entry.index in wanted]
    told = sorted({text for entry in entries for text in entry.instructions})
    if request.instruction is not None:
        entries = [entry for entry in entries if entry.instructions == (request.instruction,)]
        if not entries:
            raise ConfigError(f"--instruction {request.instruction!r}: no episode was told that alone, but {told}")
        return entries
    if len(told) > 1:
        raise ConfigError(
            f"{folder.root}: its episodes were told {len(told)} different things ({', '.join(map(repr, told[:5]))}), "
            f"expected one for task '{request.task}'",
            hint=f"--instruction {told[0]!r}",
        )
    return entries


def _numbers(text: str, count: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})(?:-([0-9]{1,9}))?\s*", part)
        first = int(match[1]) if match else 0
        last = int(match[2] or match[1]) if match else -1
        if match is None or not first <= last < count:
            raise ConfigError(f"--episodes {text!r}: {part!r}, expected numbers like 0-3,7 below {count}")
        found |= set(range(first, last + 1))
    return found


def _mapping(folder: LeRobotFolder, request: ImportRequest) -> DatasetMapping:
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
        raise ConfigError(f"{folder.root}: the dataset does not say which robot it is of", hint="--robot NAME")
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


def _fit_task(folder: LeRobotFolder, mapping: DatasetMapping, entries: list[EpisodeEntry]) -> Any:
    """(spec, robot) drafted for a task nobody knows; None for one that is known and fits.

    Raises:
        ConfigError: the recordings do not fit the known task.
    """
    from data.lerobot_io.mapping import picture_shape, width_of
    from data.lerobot_io.task_draft import draft_task
    from data.task_file import RecordedTask
    from data.tasks import TASKS

    if mapping.task not in TASKS.names():
        return draft_task(folder, mapping, entries)
    task = TASKS.get(mapping.task)
    spec, robot = task.spec, task.robot
    facts: dict[str, tuple[Any, Any]] = {
        "robot": (mapping.robot, robot.id),
        "rate": (f"{folder.fps:g} Hz", f"{spec.rate_hz:g} Hz"),
        "state": (f"{width_of(folder, mapping.state)} numbers", f"{len(robot.state_names)} numbers"),
        "action": (f"{width_of(folder, mapping.action)} numbers", f"{len(robot.action_names)} numbers"),
    }
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
    return None


def _keep_task(workspace: Workspace, drafted: Any) -> Path:
    from data.task_file import find_task_file, write_task_file

    spec, robot = drafted
    folder = offer(workspace.root)
    if find_task_file(folder, spec.id) is not None:
        raise ConfigError(
            f"task '{spec.id}' was described by someone else just now", hint="issue the same command again"
        )
    path = folder / f"{spec.id}.yaml"
    write_task_file(path, spec, robot)
    return path


def _look_through(
    reader: DatasetReader, entries: Iterable[EpisodeEntry], *, skip: bool
) -> tuple[list[tuple[EpisodeEntry, str]], dict[int, str]]:
    """(entry, fingerprint) of the episodes whose tables are good, and {number: problem}; no picture is decoded.

    Raises:
        ConfigError: some are not and `skip` is false; nothing was written.
    """
    good: list[tuple[EpisodeEntry, str]] = []
    broken: dict[int, str] = {}
    count = 0
    for entry in entries:
        count += 1
        try:
            reader.check(entry)
            good.append((entry, reader.fingerprint(entry)))
        except ConfigError as error:
            broken[entry.index] = error.message
    if broken and not skip:
        raise ConfigError(
            f"{reader.folder.root}: {len(broken)} of {count} episodes are broken, nothing was imported:"
            f"{_listed(broken)}",
            hint="mend them, or leave them out: --skip-broken",
        )
    return good, broken


def _take(
    workspace: Workspace,
    reader: DatasetReader,
    plan: list[tuple[EpisodeEntry, str]],
    codec: ImageCodec,
    result: ImportResult,
    say: Callable[[str], None],
) -> None:
    """Commits what is not here yet."""
    from data.episodes import EpisodeStore

    store = EpisodeStore(workspace.episodes)
    ledger = Ledger(workspace.root / "collections" / "imported.jsonl", key="key")
    taken, present = ledger.rows(), set(store.ids())
    said = time.monotonic()
    for place, (entry, fingerprint) in enumerate(plan, start=1):
        key = f"{fingerprint}/{'lossless' if codec.quality is None else f'jpeg{codec.quality}'}"
        row = taken.get(key)
        if row is not None and row["episode_id"] in present:
            result.known += 1
            result.ids[entry.index] = row["episode_id"]
        else:
            try:
                episode_id = store.commit(reader.draft(entry), codec=codec)
            except ConfigError as error:
                result.left_out[entry.index] = error.message
                continue
            faults.point("import.after_commit")
            ledger.append(
                {"key": key, "episode_id": episode_id, "episode": entry.index, "dataset": str(reader.folder.root)}
            )
            result.imported += 1
            result.ids[entry.index] = episode_id
        result.frames += entry.length
        if time.monotonic() - said > _SAY_EVERY_S or place == len(plan):
            said = time.monotonic()
            say(f"{place} of {len(plan)} episodes, {result.frames} frames")


def _keep_outcomes(
    workspace: Workspace,
    reader: DatasetReader,
    plan: list[tuple[EpisodeEntry, str]],
    request: ImportRequest,
    result: ImportResult,
) -> None:
    """Keeps what the dataset or the file says; what anyone else said here before stands."""
    from collections import Counter

    from data.annotation import LabelBook, gather_annotations
    from data.episodes import EpisodeStore

    said = _said(reader, plan, request, result)
    book = LabelBook(workspace.root / "labels")
    book.take_imports(said.values(), by=_BY)
    faults.point("import.after_outcomes")
    found = gather_annotations(EpisodeStore(workspace.episodes), sorted(set(result.ids.values())), label_book=book)
    counts = Counter(annotation.outcome.value for annotation in found.by_id.values())
    result.outcomes = {**dict(sorted(counts.items())), "none": len(found.missing)}


def _said(
    reader: DatasetReader,
    plan: list[tuple[EpisodeEntry, str]],
    request: ImportRequest,
    result: ImportResult,
) -> Mapping[str, Annotation]:
    """{episode id: what is said of it}.

    Raises:
        ConfigError: one recording has two outcomes, or the file is not right.
    """
    from data.annotation import read_outcomes_file
    from recap.types import Annotation

    if request.outcomes is not None:
        return read_outcomes_file(request.outcomes, result.ids.values(), numbers=result.ids)
    said: dict[str, Annotation] = {}
    for entry, _ in plan:
        outcome = reader.outcome(entry) if entry.index in result.ids else None
        if outcome is None:
            continue
        episode = result.ids[entry.index]
        if episode in said and said[episode].outcome is not outcome:
            twins = sorted(number for number, one in result.ids.items() if one == episode)
            raise ConfigError(
                f"{reader.folder.root}: episodes {twins} are one recording with two outcomes", hint="--episodes"
            )
        said[episode] = Annotation(episode_id=episode, outcome=outcome)
    return said


def _too_long(task: str, entries: Iterable[EpisodeEntry]) -> list[int]:
    from data.tasks import TASKS

    limit = TASKS.get(task).spec.max_steps
    return [entry.index for entry in entries if entry.length > limit]


def _listed(broken: Mapping[int, str]) -> str:
    from data.lerobot_io.folder import listed

    return listed(problem for _, problem in sorted(broken.items()))
