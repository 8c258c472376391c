"""Gathers a report from a workspace: the run's record, its committed outputs, its episodes.

Reads without the workspace lock and changes nothing, so it works beside a live run. A run that was killed, or whose
outputs were damaged since, gives a report that names what it lacks. Owns no number: all come from the steps.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.episodes import EpisodeStore
from data.tasks import TASKS
from pipelines.report.footage import choose, cut
from pipelines.report.formats import when
from pipelines.report.model import Command, DataFacts, Node, NodeState, Provenance, ReportData
from pipelines.report.parse import Outputs
from pipelines.report.strips import value_strips
from pipelines.report.turns import build, episode_ids, filmed, loss_curves
from pipelines.trackers import sqlite_uri
from recap.errors import ArtifactCorrupt
from recap.graph import NodeName
from recap.journal import read_journal
from recap.provenance import NodeStatus, RunStatus, attempts_at, last_attempt, read_run, run_status
from recap.specs import TaskSpec
from recap.store import Store
from recap.types import Source
from recap.workspace import Workspace

_OF_ONE_TASK = ("record", "evaluate", "open_loop_eval")
_UNFINISHED = {
    NodeState.PENDING: "not begun",
    NodeState.RUNNING: "still running",
    NodeState.FAILED: "failed",
    NodeState.INTERRUPTED: "interrupted",
    NodeState.KILLED: "killed before it was done",
    NodeState.WAITING: "waiting for labels",
}


def tasks_in(workspace: Workspace, run_name: str) -> tuple[str, ...]:
    """The tasks that a run of several works on, in its order; none if it is a run of one task."""
    return _tasks_of(run_status(workspace, run_name))


def gather(workspace: Workspace, run_name: str, *, only: str | None = None) -> ReportData:
    """The report of a run, as far as the run came.

    Args:
        workspace: where it lies.
        run_name: which.
        only: in a run of several tasks, the one to tell of; see `tasks_in`.

    Raises:
        UnknownName: no such run, or its task is not registered.
        ConfigError: an output lacks a field that the report reads.
    """
    status = run_status(workspace, run_name)
    statuses = [node for node in status.nodes if node.step != "constant" and _concerns(node, only)]
    nodes, attempts = _nodes(workspace, run_name, statuses)
    outputs, missing = _outputs(workspace, statuses, nodes)
    store = EpisodeStore(workspace.episodes)
    task = _task(status) if only is None else TASKS.get(only).spec
    task_id = task.id if task is not None else ""
    iterations, incomplete = build(
        nodes, outputs, loss_curves(workspace, run_name), task=task_id, several=only is not None
    )
    kept = filmed(outputs)
    first = next((i.recordings for i in iterations if i.recordings is not None), ())
    films, lost_films = cut(store, choose(first, kept))
    strips, lost_strips = value_strips(store, iterations, outputs, task=task_id)
    facts, lost_episodes = _data_facts(store, episode_ids(iterations, outputs, kept), only=only)
    return ReportData(
        run_name=run_name,
        task=task_id,
        prompt=task.prompt if task is not None else "",
        success_definition=task.success if task is not None else "",
        simulated=None if facts is None else bool(facts.renderers),
        generated=time.time(),
        iterations=iterations,
        nodes=nodes,
        films=films,
        strips=strips,
        data=facts,
        settings={name: attempt["facts"]["config"] or {} for name, attempt in attempts.items()},
        provenance=_provenance(status, attempts),
        commands=_commands(workspace, run_name),
        tasks=_tasks_of(status),
        missing=(*missing, *incomplete, *lost_films, *lost_strips, *lost_episodes),
    )


def _tasks_of(status: RunStatus) -> tuple[str, ...]:
    recorded = [NodeName.parse(node.name).subject for node in status.nodes if node.step == "record"]
    found = tuple(dict.fromkeys(recorded))
    return found if len(found) > 1 else ()


def _concerns(node: NodeStatus, task: str | None) -> bool:
    """Whether a node works on this task, or on all."""
    return task is None or node.step not in _OF_ONE_TASK or NodeName.parse(node.name).subject == task


def _nodes(
    workspace: Workspace, run_name: str, statuses: Sequence[NodeStatus]
) -> tuple[tuple[Node, ...], dict[str, dict[str, Any]]]:
    """What became of each node; and {node: record of the last attempt at it}."""
    progress = _progress(workspace, run_name)
    nodes: list[Node] = []
    last: dict[str, dict[str, Any]] = {}
    for status in statuses:
        attempt = last_attempt(workspace, run_name, status.name)
        if attempt is not None:
            last[status.name] = attempt
        made = [] if status.key is None else attempts_at(workspace, status.step, status.key)
        own = [a for a in made if a["run"] == run_name and a["node"] == status.name]
        state = NodeState(status.state)
        if state is NodeState.CACHED and any(a["state"] == "done" for a in own):
            # A re-issued run finds what its earlier attempt computed.
            state = NodeState.DONE
        ended = [a["seconds"] for a in own if "seconds" in a]
        nodes.append(
            Node(
                name=status.name,
                step=status.step,
                state=state,
                seconds=sum(ended) if ended else None,
                attempts=len(own),
                key=status.key or "",
                progress="" if state.finished else progress.get(status.name, ""),
                error=status.error,
            )
        )
    return tuple(nodes), last


def _progress(workspace: Workspace, run_name: str) -> dict[str, str]:
    """{node: its last word on how far it is}."""
    records, _ = read_journal(workspace.run_dir(run_name) / "journal.jsonl")
    return {
        record["node"]: f"{record['done']:,} of {record['total']:,} {record['unit']}"
        for record in records
        if record["kind"] == "progress"
    }


def _outputs(
    workspace: Workspace, statuses: Sequence[NodeStatus], nodes: Sequence[Node]
) -> tuple[dict[str, Outputs], list[str]]:
    """{node: committed outputs} of the finished nodes, and a sentence for each that has none."""
    store = Store(workspace)
    found: dict[str, Outputs] = {}
    missing: list[str] = []
    for status, node in zip(statuses, nodes, strict=True):
        if not node.state.finished or status.key is None:
            detail = f" ({node.progress})" if node.progress else ""
            missing.append(f"{node.name}: {_UNFINISHED[node.state]}{detail}")
            continue
        try:
            loaded = store.load(status.step, status.key)
        except ArtifactCorrupt as error:
            missing.append(
                f"{node.name}: its output is damaged ({error.message}); the run recomputes it when re-issued"
            )
            continue
        if loaded is None:
            missing.append(f"{node.name}: its output is no longer stored; the run recomputes it when re-issued")
            continue
        found[node.name] = loaded
    return found, missing


def _task(status: RunStatus) -> TaskSpec | None:
    """The task that the run works on; None of a run that an older recap made."""
    named = [NodeName.parse(node.name).subject for node in status.nodes if node.step == "record"]
    return TASKS.get(named[0]).spec if named else None


def _data_facts(store: EpisodeStore, wanted: set[str], *, only: str | None) -> tuple[DataFacts | None, list[str]]:
    """Facts of the episodes (of one task) that are there, and a sentence if some are not."""
    present = wanted & set(store.files())
    lost = len(wanted) - len(present)
    missing = [f"{lost} of {len(wanted)} episodes are no longer in the store (recap data verify)"] if lost else []
    rows = [row for row in store.rows(present) if only in (None, row.task)] if present else []
    if not rows:
        return None, missing
    software: dict[str, set[str]] = {}
    for row in rows:
        for name, version in store.header(row.id).software.items():
            software.setdefault(name, set()).add(version)
    sources = [row.source for row in rows]
    facts = DataFacts(
        episodes=len(rows),
        frames=sum(row.length for row in rows),
        bytes=sum(row.bytes for row in rows),
        cameras=tuple(sorted({camera for row in rows for camera in row.cameras})),
        renderers=tuple(sorted({row.renderer for row in rows if row.renderer is not None})),
        sources={source.value: sources.count(source) for source in Source if source in sources},
        software={name: ", ".join(sorted(versions)) for name, versions in sorted(software.items())},
        rate_hz=tuple(sorted({row.rate_hz for row in rows})),
    )
    return facts, missing


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
    where = [] if workspace.root == Path("runs").absolute() else ["--workspace", str(workspace.root)]
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
