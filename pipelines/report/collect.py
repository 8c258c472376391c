"""Gathers a report from a workspace: the run's record, its committed outputs, its episodes.

Reads without the workspace lock and changes nothing, so it works beside a live run. A run that was killed, or whose
outputs were damaged since, gives a report that names what it lacks. Owns no number: all come from the steps.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.tasks import TASKS
from pipelines.report.footage import Filmed, choose, cut
from pipelines.report.formats import when
from pipelines.report.model import (
    Command,
    DataFacts,
    Estimate,
    Evaluation,
    Iteration,
    Node,
    NodeState,
    Provenance,
    Recording,
    ReportData,
    Training,
    Trial,
)
from recap.errors import ArtifactCorrupt, ConfigError
from recap.journal import read_journal
from recap.provenance import NodeStatus, RunStatus, attempts_at, last_attempt, read_run, run_status
from recap.specs import TaskSpec
from recap.step import Artifact
from recap.store import Store
from recap.types import Outcome, Source
from recap.workspace import Workspace

_OF_ITERATION = re.compile(r"(\d+)/.+")
_CLEAN_FLAW = "clean"
_UNFINISHED = {
    NodeState.PENDING: "not begun",
    NodeState.RUNNING: "still running",
    NodeState.FAILED: "failed",
    NodeState.INTERRUPTED: "interrupted",
    NodeState.KILLED: "killed before it was done",
    NodeState.WAITING: "waiting for labels",
}

Outputs = Mapping[str, Artifact]


def gather(workspace: Workspace, run_name: str) -> ReportData:
    """The report of a run, as far as the run came.

    Raises:
        UnknownName: no such run, or its task is not registered.
        ConfigError: an output lacks a field that the report reads.
    """
    status = run_status(workspace, run_name)
    statuses = [node for node in status.nodes if node.step != "constant"]
    nodes, attempts = _nodes(workspace, run_name, statuses)
    outputs, missing = _outputs(workspace, statuses, nodes)
    store = EpisodeStore(workspace.episodes)
    iterations = _iterations(statuses, outputs, nodes, _curves(workspace, run_name))
    filmed = _filmed(outputs)
    task = _task(outputs, attempts)
    first = next((i.recordings for i in iterations if i.recordings is not None), ())
    films, lost_films = cut(store, choose(first, filmed))
    facts, lost_episodes = _data_facts(store, _episode_ids(iterations, outputs, filmed))
    return ReportData(
        run_name=run_name,
        task=task.id if task is not None else "",
        prompt=task.prompt if task is not None else "",
        success_definition=task.success if task is not None else "",
        simulated=None if facts is None else bool(facts.renderers),
        generated=time.time(),
        iterations=iterations,
        nodes=nodes,
        films=films,
        data=facts,
        settings={name: attempt["facts"]["config"] or {} for name, attempt in attempts.items()},
        provenance=_provenance(status, attempts),
        commands=_commands(workspace, run_name),
        missing=(*missing, *lost_films, *lost_episodes),
    )


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


def _curves(workspace: Workspace, run_name: str) -> dict[str, tuple[tuple[int, float], ...]]:
    """{node: its loss over gradient steps}. Of the latest settings only; a step repeated after a kill counts once."""
    records, _ = read_journal(workspace.run_dir(run_name) / "journal.jsonl")
    keys: dict[str, str] = {}
    curves: dict[str, dict[int, float]] = {}
    for record in records:
        node = record["node"]
        if record["kind"] == "step_started" and keys.get(node) != record["key"]:
            keys[node], curves[node] = record["key"], {}
        elif record["kind"] == "metrics" and "loss" in record["values"]:
            curves.setdefault(node, {})[record["step"]] = float(record["values"]["loss"])
    return {node: tuple(sorted(curve.items())) for node, curve in curves.items()}


def _iterations(
    statuses: Sequence[NodeStatus],
    outputs: Mapping[str, Outputs],
    nodes: Sequence[Node],
    curves: Mapping[str, tuple[tuple[int, float], ...]],
) -> tuple[Iteration, ...]:
    parts: dict[int, dict[str, Any]] = {}
    seconds = {node.name: node.seconds for node in nodes}
    for status in statuses:
        match = _OF_ITERATION.fullmatch(status.name)
        if match is None:
            continue
        part = parts.setdefault(int(match[1]), {})
        made = outputs.get(status.name, {})
        if "summary" in made and status.step == "collect":
            part["recordings"] = _recordings(made["summary"], status.name)
        if "training" in made:
            part["training"] = _training(
                made["training"], status.name, seconds=seconds[status.name], loss=curves.get(status.name, ())
            )
        if "evaluation" in made:
            part["evaluation"] = _evaluation(made, status.name)
    return tuple(Iteration(index=index, **parts[index]) for index in sorted(parts))


def _recordings(artifact: Artifact, node: str) -> tuple[Recording, ...]:
    return tuple(
        Recording(
            start_seed=row.get("start_seed"),
            episode_id=_field(row, "episode_id", node),
            outcome=Outcome(_field(row, "outcome", node)),
            steps=_field(row, "steps", node),
            source=Source(row.get("source", Source.DEMO)),
            flaw=None if row.get("flaw") == _CLEAN_FLAW else row.get("flaw"),
        )
        for row in _field(artifact.json(), "attempts", node)
    )


def _training(artifact: Artifact, node: str, *, seconds: float | None, loss: tuple[tuple[int, float], ...]) -> Training:
    record = artifact.json()
    counts = {name: int(_field(record, name, node)) for name in ("steps", "frames", "episodes", "parameters")}
    return Training(**counts, seconds=seconds, loss=loss)


def _evaluation(made: Outputs, node: str) -> Evaluation:
    record = made["evaluation"].json()
    # What the clock says is an output of its own, so that equal seeds give equal evaluations.
    timing = made["timing"].json() if "timing" in made else {"summary": {}, "attempts": []}
    summary = {**_field(record, "summary", node), **_field(timing, "summary", node)}
    inference = {row["start_seed"]: row["inference_s"] for row in _field(timing, "attempts", node)}

    def estimate(value: str, stem: str) -> Estimate:
        return Estimate(
            value=_field(summary, value, node),
            low=_field(summary, f"{stem}_low", node),
            high=_field(summary, f"{stem}_high", node),
        )

    return Evaluation(
        split=_field(record, "split", node),
        policy_id=_field(record, "policy_id", node),
        attempts=_field(summary, "attempts", node),
        successes=_field(summary, "successes", node),
        success=estimate("success", "success"),
        throughput=estimate("throughput_per_hour", "throughput"),
        mean_steps=_field(summary, "mean_steps", node),
        trials=tuple(
            Trial(
                start_seed=_field(row, "start_seed", node),
                outcome=Outcome(_field(row, "outcome", node)),
                steps=_field(row, "steps", node),
                inference_s=inference.get(row["start_seed"], row.get("inference_s")),
                human_steps=_field(row, "human_steps", node),
                metrics=row.get("metrics", {}),
            )
            for row in _field(record, "attempts", node)
        ),
    )


def _filmed(outputs: Mapping[str, Outputs]) -> list[Filmed]:
    return [
        Filmed(
            iteration=int(match[1]),
            start_seed=_field(row, "start_seed", node),
            episode_id=_field(row, "episode_id", node),
            outcome=Outcome(_field(row, "outcome", node)),
        )
        for node, made in outputs.items()
        if "evaluation" in made and (match := _OF_ITERATION.fullmatch(node)) is not None
        for row in made["evaluation"].json().get("films", [])
    ]


def _task(outputs: Mapping[str, Outputs], attempts: Mapping[str, Mapping[str, Any]]) -> TaskSpec | None:
    """The task that the steps were told to work on; None before the first step has begun."""
    named = [(attempt["facts"]["config"] or {}).get("task") for attempt in attempts.values()]
    named += [made["summary"].json().get("task") for made in outputs.values() if "summary" in made]
    task = next((name for name in named if name), None)
    return TASKS.get(task).spec if task is not None else None


def _episode_ids(iterations: Sequence[Iteration], outputs: Mapping[str, Outputs], filmed: Sequence[Filmed]) -> set[str]:
    ids = {film.episode_id for film in filmed}
    ids |= {recording.episode_id for iteration in iterations for recording in iteration.recordings or ()}
    for made in outputs.values():
        if "demos" in made:
            ids |= set(EpisodeSet.from_json(made["demos"].json()))
    return ids


def _data_facts(store: EpisodeStore, wanted: set[str]) -> tuple[DataFacts | None, list[str]]:
    """Facts of the episodes that are there, and a sentence if some are not."""
    present = wanted & set(store.files())
    lost = len(wanted) - len(present)
    missing = [f"{lost} of {len(wanted)} episodes are no longer in the store (recap data verify)"] if lost else []
    if not present:
        return None, missing
    rows = store.rows(present)
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
        program, *arguments = record["argv"]
        lines.insert(0, ("It was started with", [Path(program).name, *arguments]))
    database = workspace.root / "mlflow.db"
    if database.exists():
        lines.append(("Browse the metrics", ["mlflow", "ui", "--backend-store-uri", f"sqlite:///{database}"]))
    return tuple(Command(purpose=purpose, line=shlex.join(line)) for purpose, line in lines)


def _field(record: Any, name: str, node: str) -> Any:
    """`record[name]`; an output of another shape is named rather than shown half."""
    if not isinstance(record, Mapping) or name not in record:
        got = sorted(record) if isinstance(record, Mapping) else type(record).__name__
        raise ConfigError(f"report: an output of {node} has no '{name}' (got {got})", hint="recap data verify")
    return record[name]
