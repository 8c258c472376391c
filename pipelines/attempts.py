"""Attempts at a task, each played once and kept: what recording, checkpoint selection, gate and evaluation share.

Owns the resumable loop (ledger, what is missing, workers, progress) and the rule that one node never mixes image
backends. Knows no policy and no statistics.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.facts import ActingFacts
from pipelines.ledger import Ledger
from recap.errors import ConfigError
from recap.files import write_atomic
from recap.step import Artifact, StepContext
from recap.workspace import Workspace

Start = tuple[str, int]
"""(task id, start seed)"""


def starts_of(tasks: Sequence[str], seeds: Sequence[int]) -> dict[str, Start]:
    """{"TASK/SEED": start} of every task, seed by seed, so that any first part holds all tasks alike."""
    return {f"{task}/{seed}": (task, seed) for seed in seeds for task in tasks}


def play_missing(
    ctx: StepContext,
    ledger: Ledger,
    jobs: Mapping[Any, Any],
    *,
    role: str,
    make_worker: Callable[..., Any],
    worker_args: tuple[Any, ...],
    workers: int,
    unit: str = "attempts",
    lost: Collection[Any] = (),
    one_by_one: Callable[[Any], dict[str, Any]] | None = None,
) -> dict[Any, dict[str, Any]]:
    """Plays the jobs that the ledger does not hold yet; returns {ledger key: row} of all of them, in order of `jobs`.

    Args:
        ctx: of the running step.
        ledger: every row is on disk before it counts; a re-issued step plays only what is missing.
        jobs: {ledger key: job for the worker}; the row a job returns carries that key.
        role: of the workers.
        make_worker: builds one.
        worker_args: its arguments.
        workers: how many at once.
        unit: of the progress line.
        lost: keys whose row is in the ledger but no longer counts.
        one_by_one: does one job in place of the workers, where each takes all of them.
    """
    done = {key: row for key, row in ledger.rows().items() if key in jobs and key not in lost}
    todo = [key for key in jobs if key not in done]
    ctx.journal.progress(len(done), len(jobs), unit)

    def keep(index: int, row: dict[str, Any]) -> None:
        ledger.append(row)
        done[todo[index]] = row
        ctx.journal.progress(len(done), len(jobs), unit)

    if one_by_one is not None:
        for index, key in enumerate(todo):
            keep(index, one_by_one(jobs[key]))
        return {key: done[key] for key in jobs}
    ctx.executor.map(role, make_worker, worker_args, [jobs[key] for key in todo], keep, num_workers=workers)
    return {key: done[key] for key in jobs}


def pin_renderer(ctx: StepContext, facts: ActingFacts) -> str:
    """The image backend of a step; "auto" is decided once per workspace and robot: what is compared was drawn alike.

    Raises:
        ConfigError: the renderer does not work on this machine.
    """
    renderer = renderer_here(ctx.workspace.root, facts.tasks, facts.env.renderer)
    marker = _renderer_marker(ctx.workspace.root, facts.tasks)
    if facts.env.renderer == "auto" and not marker.exists():
        marker.parent.mkdir(exist_ok=True)
        write_atomic(marker, renderer.encode())
    return renderer


def renderer_here(root: Path, tasks: Sequence[str], asked: str) -> str:
    """The image backend that `pin_renderer` gives in the workspace at `root`; raises like it and writes nothing."""
    from data.task_list import tasks_of
    from data.tasks import simulated

    found, marker = simulated(tasks_of(tasks)[0]), _renderer_marker(root, tasks)
    if asked != "auto" or not marker.exists():
        return found.choose_renderer(asked)
    pinned = marker.read_text()
    try:
        return found.choose_renderer(pinned)
    except ConfigError as error:
        raise ConfigError(
            f"env.renderer: this workspace's images are drawn by '{pinned}', which does not work here: {error.message}",
            hint="use another workspace (--workspace DIR), or mix image backends knowingly: --set env.renderer=ray",
        ) from error


def _renderer_marker(root: Path, tasks: Sequence[str]) -> Path:
    from data.task_list import robot_of

    return root / "renderers" / robot_of(tasks).id


def lost_episodes(workspace: Workspace, episodes: Artifact) -> str:
    """Says which episodes of a committed EpisodeSet are gone from the store; "" if none."""
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore

    ids = EpisodeSet.from_json(episodes.json())
    lost = set(ids) - set(EpisodeStore(workspace.episodes).files())
    return f"{len(lost)} of {len(ids)} episodes are gone, {min(lost)[:12]} first" if lost else ""


def link_tree(source: Path, target: Path) -> None:
    """Copies a directory without its bytes: artifacts are never written again, so their files can be shared."""
    shutil.copytree(source, target, copy_function=_link)


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)
    return target
