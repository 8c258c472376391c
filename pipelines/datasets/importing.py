"""Recordings of a LeRobotDataset taken into a workspace: every episode durable when it is done, none twice.

Owns what is written and what the outcomes become. What is taken and refused stands in `plan.py`, how a dataset
is read in `data/lerobot_io`. A re-issued import goes by the content of tables and films: what is here is not decoded
again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.datasets.plan import ImportPlan, plan_import, refuse_broken
from pipelines.datasets.request import ImportRequest, ImportResult
from pipelines.ledger import Ledger
from recap import faults
from recap.errors import ConfigError
from recap.task_folders import offer
from recap.workspace import Workspace, check_name

if TYPE_CHECKING:
    from data.image_codec import ImageCodec
    from recap.specs import RobotSpec, TaskSpec
    from recap.types import Annotation

_BY = "recap data import"
_SAY_EVERY_S = 2.0


def import_dataset(root: Path, request: ImportRequest, say: Callable[[str], None]) -> ImportResult:
    """Takes the episodes of a dataset into the workspace at `root`; makes the workspace if absent.

    Raises:
        ConfigError: the dataset or the request is not right, and nothing was written; or some episodes are broken, and
            the others were imported. Each is named.
        WorkspaceLocked: a run or another import writes there.
    """
    from data.image_codec import ImageCodec
    from data.tasks import TASKS

    began = time.monotonic()
    offer(root)
    check_name("task", request.task)
    codec = ImageCodec(quality=request.jpeg_quality)
    result = ImportResult(task=request.task)
    plan = plan_import(root, request, result)
    workspace = Workspace.open(root)
    with workspace.lock("data import"):
        broken = {**plan.broken, **_take(workspace, plan, codec, request, result, say)}
        _keep_outcomes(workspace, plan, request, result)
    if broken and (not request.skip_broken or not result.ids):
        kept = len(result.ids)
        raise refuse_broken(root, plan.reader, request, broken, kept=kept, count=kept + len(broken))
    result.left_out = {index: error.message for index, error in sorted(broken.items())}
    limit = TASKS.get(request.task).spec.max_steps
    result.too_long = [one.entry.index for one in plan.episodes if one.entry.length > limit]
    result.seconds = time.monotonic() - began
    return result


def _keep_task(workspace: Workspace, drafted: tuple[TaskSpec, RobotSpec]) -> Path:
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


def _take(
    workspace: Workspace,
    plan: ImportPlan,
    codec: ImageCodec,
    request: ImportRequest,
    result: ImportResult,
    say: Callable[[str], None],
) -> dict[int, ConfigError]:
    """Commits what is not here yet; returns what is wrong with the episodes whose pictures cannot be read."""
    from data.episodes import EpisodeStore

    store = EpisodeStore(workspace.episodes)
    ledger = Ledger(workspace.root / "collections" / "imported.jsonl", key="key")
    taken, present = ledger.rows(), {row.id: row.instruction for row in store.rows()}
    by_film = {film: row for row in taken.values() if row["episode_id"] in present for film in row.get("films", ())}
    settings = {**plan.reader.settings(), "images": "lossless" if codec.quality is None else f"jpeg{codec.quality}"}
    broken: dict[int, ConfigError] = {}
    said_at = time.monotonic()
    for place, one in enumerate(plan.episodes, start=1):
        entry = one.entry
        key = f"{one.fingerprint}/{settings['images']}"
        row = taken.get(key)
        if row is not None and row["episode_id"] in present:
            kept = present[row["episode_id"]]
            if kept != one.instruction and request.instruction is not None:
                raise ConfigError(
                    f"{plan.reader.folder.root}: episode {entry.index} is here already and was told "
                    f"{'the prompt of its task' if kept is None else repr(kept)}: what is stored is not reworded",
                    hint=request.again(Path("ANOTHER_FOLDER")),
                )
            if kept != one.instruction:
                said = one.instruction or plan.prompt
                result.reworded[said] = result.reworded.get(said, 0) + 1
            result.known += 1
            result.ids[entry.index] = row["episode_id"]
        else:
            films = plan.reader.films(entry)
            twin = next((by_film[film] for film in films if film in by_film), None)
            if twin is not None and twin["settings"]["task"] == request.task:
                raise _read_otherwise(plan, entry.index, settings, twin, request)
            try:
                draft = plan.reader.draft(entry, instruction=one.instruction)
                # A dataset of which nothing is good describes no task.
                if plan.drafted is not None and result.task_file is None:
                    result.task_file = str(_keep_task(workspace, plan.drafted))
                episode_id = store.commit(draft, codec=codec)
            except ConfigError as error:
                broken[entry.index] = error
                continue
            faults.point("import.after_commit")
            about = {"key": key, "episode_id": episode_id, "episode": entry.index, "dataset": result.dataset}
            ledger.append({**about, "settings": settings, "films": films})
            result.imported += 1
            result.ids[entry.index] = episode_id
        result.frames += entry.length
        if time.monotonic() - said_at > _SAY_EVERY_S or place == len(plan.episodes):
            said_at = time.monotonic()
            say(f"{place} of {len(plan.episodes)} episodes, {result.frames} frames")
    return broken


def _read_otherwise(
    plan: ImportPlan, number: int, settings: Mapping[str, Any], twin: Mapping[str, Any], request: ImportRequest
) -> ConfigError:
    """The error for a recording that is here as it was read with other options: it would count twice."""
    names = sorted(name for name in settings if settings[name] != twin["settings"].get(name))
    differ = ", ".join(f"{name} {settings[name]!r} (here: {twin['settings'].get(name)!r})" for name in names)
    return ConfigError(
        f"{plan.reader.folder.root}: episode {number} is here already as {twin['episode_id'][:12]}, "
        f"read otherwise{': ' if differ else ''}{differ}; a second reading of it would count twice",
        hint=request.again(Path("ANOTHER_FOLDER")),
    )


def _keep_outcomes(
    workspace: Workspace,
    plan: ImportPlan,
    request: ImportRequest,
    result: ImportResult,
) -> None:
    """Keeps what the dataset or the file says; what anyone else said here before stands."""
    from collections import Counter

    from data.annotation import LabelBook, gather_annotations
    from data.episodes import EpisodeStore

    said = _said(plan, request, result)
    book = LabelBook(workspace.root / "labels")
    book.take_imports(said.values(), by=_BY)
    faults.point("import.after_outcomes")
    found = gather_annotations(EpisodeStore(workspace.episodes), sorted(set(result.ids.values())), label_book=book)
    counts = Counter(annotation.outcome.value for annotation in found.by_id.values())
    result.outcomes = {**dict(sorted(counts.items())), "none": len(found.missing)}


def _said(
    plan: ImportPlan,
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
        untaken = {one.index: f"number {one.index}" for one in plan.reader.folder.episodes}
        rows = read_outcomes_file(request.outcomes, (), numbers={**untaken, **result.ids})
        taken = {episode: one for episode, one in rows.items() if episode in result.ids.values()}
        result.other_outcomes = len(rows) - len(taken)
        return taken
    said: dict[str, Annotation] = {}
    for entry in (one.entry for one in plan.episodes):
        outcome = plan.reader.outcome(entry) if entry.index in result.ids else None
        if outcome is None:
            continue
        episode = result.ids[entry.index]
        if episode in said and said[episode].outcome is not outcome:
            twins = sorted(number for number, one in result.ids.items() if one == episode)
            raise ConfigError(
                f"{result.dataset}: episodes {twins} are one recording with two outcomes",
                hint="choose one of them: --episodes NUMBERS",
            )
        said[episode] = Annotation(episode_id=episode, outcome=outcome)
    return said
