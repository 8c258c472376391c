"""Gathers a report from a workspace: the run's record, its committed outputs, its episodes.

Reads without the workspace lock and changes nothing, so it works beside a live run. A run that was killed, or whose
outputs were damaged since, gives a report that names what it lacks. No number is made here: all come from the steps.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.episodes import EpisodeStore
from pipelines.report import read
from pipelines.report.arms import arm_results
from pipelines.report.footage import choose, cut, value_strips
from pipelines.report.formats import when
from pipelines.report.model import Command, DataFacts, Provenance, ReportData
from pipelines.trackers import sqlite_uri
from recap.provenance import RunStatus, read_run
from recap.types import Source
from recap.workspace import Workspace, workspace_option


def gather(workspace: Workspace, run_name: str, *, only: str | None = None) -> ReportData:
    """The report of a run, as far as the run came.

    Args:
        workspace: where it lies.
        run_name: which.
        only: in a run of several tasks, the one to tell of; see `ReportData.tasks`.

    Raises:
        UnknownName: no such run, or its task is not registered.
        ConfigError: an output lacks a field that the report reads.
    """
    run = read.read_run(workspace, run_name, only=only)
    store = EpisodeStore(workspace.episodes)
    iterations = read.iterations(run)
    missing = run.missing
    first = next((i.recordings for i in iterations if i.recordings is not None), ())
    films = cut(store, choose(first, read.films(run)), missing)
    task = run.task.id if run.task is not None else ""
    strips = value_strips(store, iterations, read.latest_values(run), task=task, missing=missing)
    facts = _data_facts(store, read.episode_ids(run, iterations), missing, only=only)
    return ReportData(
        run_name=run_name,
        task=task,
        prompt=run.task.prompt if run.task is not None else "",
        success_definition=run.task.success if run.task is not None else "",
        simulated=None if facts is None else bool(facts.renderers),
        generated=time.time(),
        iterations=iterations,
        nodes=run.nodes,
        films=films,
        strips=strips,
        data=facts,
        settings={name: attempt["facts"]["config"] or {} for name, attempt in run.attempts.items()},
        provenance=_provenance(run.status, run.attempts),
        commands=_commands(workspace, run_name),
        tasks=run.tasks,
        arms=arm_results(run),
        missing=tuple(dict.fromkeys(missing)),
    )


def _data_facts(store: EpisodeStore, wanted: set[str], missing: list[str], *, only: str | None) -> DataFacts | None:
    """Facts of the episodes (of one task) that are there; a sentence in `missing` if some are not."""
    present = wanted & set(store.files())
    if len(present) < len(wanted):
        lost = len(wanted) - len(present)
        missing.append(f"{lost} of {len(wanted)} episodes are no longer in the store (recap data verify)")
    rows = [row for row in store.rows(present) if only in (None, row.task)] if present else []
    if not rows:
        return None
    software: dict[str, set[str]] = {}
    for row in rows:
        for name, version in store.header(row.id).software.items():
            software.setdefault(name, set()).add(version)
    sources = [row.source for row in rows]
    return DataFacts(
        episodes=len(rows),
        frames=sum(row.length for row in rows),
        bytes=sum(row.bytes for row in rows),
        cameras=tuple(sorted({camera for row in rows for camera in row.cameras})),
        renderers=tuple(sorted({row.renderer for row in rows if row.renderer is not None})),
        sources={source.value: sources.count(source) for source in Source if source in sources},
        software={name: ", ".join(sorted(versions)) for name, versions in sorted(software.items())},
        rate_hz=tuple(sorted({row.rate_hz for row in rows})),
    )


def _provenance(status: RunStatus, attempts: Mapping[str, Mapping[str, Any]]) -> Provenance:
    newest = sorted(attempts.values(), key=lambda attempt: float(attempt["started"]))

    def distinct(values: Sequence[str]) -> str:
        return ", ".join(dict.fromkeys(values)) or "not recorded"

    versions: dict[str, str] = {}
    for attempt in newest:
        versions |= {"recap": attempt["recap"], "python": attempt["python"], **attempt["facts"]["libraries"]}
    return Provenance(
        facts=(
            ("Git commit", distinct([_commit(attempt["git"]) for attempt in newest])),
            ("Host", distinct([attempt["host"] for attempt in newest])),
            ("First started", when(status.created)),
            ("Last change", when(status.updated)),
            ("State", status.state),
        ),
        versions=versions,
    )


def _commit(git: Mapping[str, Any] | None) -> str:
    if git is None or git.get("commit") is None:
        return "none (not a git checkout)"
    return f"{git['commit'][:12]}{' with local changes' if git.get('dirty') else ''}"


def _commands(workspace: Workspace, run_name: str) -> tuple[Command, ...]:
    where = workspace_option(workspace.root)
    lines = [
        ("Go on with this run", ["recap", "resume", run_name, *where]),
        ("See where it stands", ["recap", "status", run_name, *where]),
        ("Check the stored episodes", ["recap", "data", "verify", *where]),
        ("Make this report again", ["recap", "report", run_name, *where]),
    ]
    record = read_run(workspace, run_name)
    if record is not None:
        path, *arguments = record["argv"]
        # As cron and `python -m cli` start it, its file is called otherwise than what a person types.
        program = Path(path).name if Path(path).name != "__main__.py" else "recap"
        lines.insert(0, ("It was started with", [program, *arguments]))
    database = workspace.root / "mlflow.db"
    if database.exists():
        lines.append(("Browse the metrics", ["mlflow", "ui", "--backend-store-uri", sqlite_uri(database)]))
    return tuple(Command(purpose=purpose, line=shlex.join(line)) for purpose, line in lines)
