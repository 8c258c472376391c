"""Episodes of a workspace as a LeRobotDataset v3.0, with what a run made of them: returns, values, advantages, labels.

Owns which episodes and which columns. The format stands in `data/lerobot_io/writing.py`.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.errors import ConfigError
from recap.graph import NodeName
from recap.task_folders import offer
from recap.workspace import Workspace

if TYPE_CHECKING:
    from data.annotation import Annotations
    from data.episodes import EpisodeStore
    from data.frame_table import FrameTable
    from data.index import EpisodeRow
    from data.lerobot_io.writing import ExportEpisode, ExportLayout

FORMAT = 1
_SAY_EVERY_S = 2.0
_FROM_RUN = {
    "recap.return": "returns",
    "recap.value": "value",
    "recap.advantage": "advantage",
    "recap.positive": "positive",
}
"""{column: array of the run's labels}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportResult:
    """What an export wrote."""

    to: str
    task: str
    run: str | None
    episodes: int
    frames: int
    columns: tuple[str, ...]
    """Beside state, action and pictures."""
    left_out: int
    """Episodes of the run that have no label, or are of another task."""
    unmarked: int
    """Episodes with steps at which another action was sent than asked, or the reading was late: marks that are left."""
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Labels:
    """What a run says of its episodes."""

    run: str
    node: str
    table: FrameTable
    annotations: Annotations
    experience: int
    """Episodes that the run has, labelled or not."""


def export_dataset(
    root: Path,
    to: Path,
    say: Callable[[str], None],
    *,
    run: str | None = None,
    task: str | None = None,
    videos: bool = True,
) -> ExportResult:
    """Writes the episodes of a workspace, or those that a run has labelled, to the new folder `to`.

    Raises:
        UnknownName: no such run or task.
        ConfigError: nothing to export, `to` exists, the run has no labels yet, or episodes that do not go together.
        EpisodeCorrupt: an episode is not what was committed.
    """
    from data.episodes import EpisodeStore
    from data.lerobot_io.writing import write_dataset

    began = time.monotonic()
    offer(root)
    workspace = Workspace.open(root, create=False)
    store = EpisodeStore(workspace.episodes)
    labels = None if run is None else _labels_of(workspace, run)
    rows = _rows(store, labels, task)
    name = _one_task(rows, task)
    annotations = _annotations(workspace, store, rows) if labels is None else labels.annotations
    layout = _layout(store, name, rows, labels, videos=videos)
    extra = {
        "format": FORMAT,
        "task": name,
        "run": run,
        "labels": None if labels is None else {"node": labels.node, **dict(labels.table.facts)},
        "episodes": [_facts(row, number, annotations) for number, row in enumerate(rows)],
    }
    frames, said = 0, time.monotonic()
    for done, frames in enumerate(
        write_dataset(to, layout, _episodes(store, rows, annotations, labels), extra), start=1
    ):
        if time.monotonic() - said > _SAY_EVERY_S:
            said = time.monotonic()
            say(f"{done} of {len(rows)} episodes, {frames} frames")
    return ExportResult(
        to=str(to),
        task=name,
        run=run,
        episodes=len(rows),
        frames=frames,
        columns=tuple(layout.columns),
        left_out=0 if labels is None else labels.experience - len(rows),
        unmarked=sum(not {"asked", "stale"}.isdisjoint(store.header(row.id).arrays) for row in rows),
        seconds=time.monotonic() - began,
    )


def _labels_of(workspace: Workspace, run: str) -> _Labels:
    """Labels of the latest iteration of a run that has any; of its main arm."""
    from data.annotation import Annotations
    from data.frame_table import FrameTable
    from recap.provenance import run_status
    from recap.store import Store

    store = Store(workspace)
    nodes = {node.name: node for node in run_status(workspace, run).nodes}
    for name, node in reversed(nodes.items()):
        parsed = NodeName.parse(name) if node.step == "advantage" else None
        if parsed is None or parsed.subject or node.state not in ("done", "cached"):
            continue
        iteration = parsed.iteration
        made: dict[str, Any] = {}
        for other in (node, nodes[str(NodeName(iteration, "annotate"))]):
            found = store.load(other.step, other.key or "")
            if found is None:
                raise ConfigError(f"{other.name} of run '{run}' is no longer stored", hint=f"recap resume {run}")
            made |= found
        annotations = Annotations.from_json(made["annotations"].json())
        return _Labels(
            run=run,
            node=name,
            table=FrameTable.read(made["labels"].path),
            annotations=annotations,
            experience=len(annotations.by_id) + len(annotations.missing),
        )
    raise ConfigError(f"run '{run}' has no labels yet", hint=f"recap resume {run}   (or leave --run out)")


def _rows(store: EpisodeStore, labels: _Labels | None, task: str | None) -> list[EpisodeRow]:
    rows = store.rows(None if labels is None else labels.table.ids)
    return [row for row in rows if task is None or row.task == task]


def _one_task(rows: list[EpisodeRow], asked: str | None) -> str:
    tasks = sorted({row.task for row in rows})
    if not tasks:
        what = "no episode" if asked is None else f"no episode of task '{asked}'"
        raise ConfigError(f"{what} to export", hint="recap data stats")
    if len(tasks) > 1:
        raise ConfigError(
            f"episodes of {len(tasks)} tasks ({', '.join(tasks)}), expected one", hint=f"--task {shlex.quote(tasks[0])}"
        )
    return tasks[0]


def _annotations(workspace: Workspace, store: EpisodeStore, rows: list[EpisodeRow]) -> Annotations:
    from data.annotation import LabelBook, gather_annotations

    return gather_annotations(store, [row.id for row in rows], label_book=LabelBook(workspace.root / "labels"))


def _layout(
    store: EpisodeStore, task: str, rows: list[EpisodeRow], labels: _Labels | None, *, videos: bool
) -> ExportLayout:
    from data.lerobot_io.writing import ExportLayout
    from data.tasks import TASKS

    known = TASKS.get(task)
    sizes = {
        (camera, tuple(header.arrays[f"frames/{camera}"]["shape"][1:3]))
        for header in (store.header(row.id) for row in rows)
        for camera in known.robot.camera_names
        if camera in header.cameras
    }
    cameras = dict(sorted(sizes))
    if len(cameras) < len(sizes):
        raise ConfigError(f"episodes of task '{task}' have pictures of several sizes: {sorted(sizes)}, expected one")
    return ExportLayout(
        prompt=known.spec.prompt,
        robot=known.robot.id,
        rate_hz=known.spec.rate_hz,
        state_names=known.robot.state_names,
        action_names=known.robot.action_names,
        cameras={camera: cameras[camera] for camera in known.robot.camera_names if camera in cameras},
        columns={
            "recap.intervened": "bool",
            "recap.outcome": "string",
            **({} if labels is None else {n: "bool" if n == "recap.positive" else "float32" for n in _FROM_RUN}),
        },
        videos=videos,
    )


def _episodes(
    store: EpisodeStore, rows: list[EpisodeRow], annotations: Annotations, labels: _Labels | None
) -> Iterator[ExportEpisode]:
    from data.lerobot_io.writing import ExportEpisode, float_column, text_column

    for row in rows:
        episode = store.load(row.id)
        columns: dict[str, Any] = {
            "recap.intervened": episode.intervened,
            "recap.outcome": text_column(_outcome(row.id, annotations) or "", episode.length),
        }
        if labels is not None:
            span = labels.table.rows_of(row.id)
            for name, array in _FROM_RUN.items():
                values = labels.table.arrays[array][span]
                columns[name] = values if name == "recap.positive" else float_column(values)
        yield ExportEpisode(episode=episode, columns=columns)


def _facts(row: EpisodeRow, number: int, annotations: Annotations) -> Mapping[str, Any]:
    return {
        "episode_index": number,
        "id": row.id,
        "source": row.source.value,
        "policy_id": row.policy_id,
        "start_seed": row.start_seed,
        "renderer": row.renderer,
        "outcome": _outcome(row.id, annotations),
    }


def _outcome(episode_id: str, annotations: Annotations) -> str | None:
    annotation = annotations.by_id.get(episode_id)
    return None if annotation is None else annotation.outcome.value
