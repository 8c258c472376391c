"""What happened: one record per attempt at a step, one per run. Readable at any time without the lock.

    attempts/<step>-<key16>/<utc>-<pid>.json   who ran what, with which code, settings and versions, and how it ended
    runs/<run>/run.json                        the graph and the state of each node

It must not decide anything: results are decided by the store.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from recap.errors import ConfigError, UnknownName
from recap.files import write_atomic
from recap.graph import Node
from recap.store import Store, entry_name
from recap.workspace import Workspace, process_alive, user_name

FORMAT = 1
_FLUSH_EVERY_S = 0.5


class StepAttempt:
    """The record of one attempt, on disk from its start, so that a killed one leaves a trace."""

    def __init__(self, workspace: Workspace, *, node: str, run_name: str, facts: Mapping[str, Any], key: str) -> None:
        folder = workspace.attempts / entry_name(facts["step"], key)
        folder.mkdir(exist_ok=True)
        started = time.time()
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(started))
        self.path = folder / f"{stamp}.{int(started % 1 * 1e6):06d}Z-{os.getpid()}.json"
        self._record: dict[str, Any] = {
            "format": FORMAT,
            "run": run_name,
            "node": node,
            "key": key,
            "facts": dict(facts),
            "seeds": _seeds(facts["config"]),
            "started": started,
            "state": "running",
            **_process(),
        }
        self._write(durable=False)

    def end(self, state: str, *, outputs: Mapping[str, str] | None = None, error: BaseException | None = None) -> None:
        """Adds how it ended: state "done", "failed", "interrupted" or "waiting"; identities; the error."""
        ended = time.time()
        self._record |= {
            "state": state,
            "ended": ended,
            "seconds": ended - self._record["started"],
            "outputs": dict(outputs or {}),
        }
        if error is not None:
            import traceback

            self._record["error"] = {
                "type": type(error).__name__,
                "message": str(error),
                "traceback": "".join(traceback.format_exception(error)),
            }
        self._write(durable=True)

    def _write(self, *, durable: bool) -> None:
        write_atomic(self.path, json.dumps(self._record).encode(), durable=durable)


def attempts_at(workspace: Workspace, step: str, key: str) -> list[dict[str, Any]]:
    """Every attempt at a key, oldest first."""
    return attempts_in(workspace.attempts / entry_name(step, key))


def attempts_in(folder: Path) -> list[dict[str, Any]]:
    """The attempts that a folder tells of; one whose file a power cut tore tells of nothing any more."""
    found = []
    for path in sorted(folder.glob("[0-9]*.json")):
        with suppress(ValueError):
            found.append(json.loads(path.read_bytes()))
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeStatus:
    """State of one node of a run."""

    name: str
    step: str
    state: str
    """pending, running, done, cached, failed, interrupted, waiting; or killed: running when its process died."""
    key: str | None
    """None until its inputs are known."""
    seconds: float | None
    outputs: Mapping[str, str]
    """{output: identity}"""
    error: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunStatus:
    """State of a run, as its record says."""

    run_name: str
    state: str
    """running, done, failed, interrupted, waiting; or killed."""
    created: float
    """UTC seconds of the first attempt at this run."""
    updated: float
    command: str
    nodes: tuple[NodeStatus, ...]


class RunRecord:
    """The writer of run.json. A record of an earlier attempt at the same run is carried on."""

    def __init__(self, workspace: Workspace, run_name: str, nodes: list[Node]) -> None:
        folder = workspace.run_dir(run_name)
        folder.mkdir(exist_ok=True)
        self._path = folder / "run.json"
        self._flushed = 0.0
        earlier = _read(self._path) or {"created": time.time(), "nodes": {}, "retired": {}}
        old = {**earlier["retired"], **earlier["nodes"]}
        self.nodes: dict[str, dict[str, Any]] = {
            node.name: {
                "step": node.spec.name,
                "state": "pending",
                "inputs": {name: str(ref) for name, ref in node.inputs.items()},
                "key": None,
                "last_key": (old.get(node.name) or {}).get("key") or (old.get(node.name) or {}).get("last_key"),
                "committed_key": (old.get(node.name) or {}).get("committed_key"),
            }
            for node in nodes
        }
        self._record: dict[str, Any] = {
            "format": FORMAT,
            "run": run_name,
            "created": earlier["created"],
            "state": "running",
            "pid": os.getpid(),
            "pid_mark": _process_mark(os.getpid()),
            "host": os.uname().nodename,
            "argv": sys.argv,
            "nodes": self.nodes,
            # A node that this graph lacks may come back, and what it recorded must then still count.
            "retired": {name: entry for name, entry in old.items() if name not in self.nodes},
        }
        self.flush()

    def set(self, node: str, *, flush: bool, **fields: Any) -> None:
        """Updates a node; without `flush` it reaches the disk within half a second of further updates."""
        self.nodes[node].update(fields)
        if flush or time.monotonic() - self._flushed > _FLUSH_EVERY_S:
            self.flush()

    def end(self, state: str) -> None:
        """Marks the run as over."""
        self._record["state"] = state
        self.flush()

    def flush(self, *, durable: bool = False) -> None:
        """Writes the record, atomically; `durable` also waits until it is on disk."""
        self._record["updated"] = time.time()
        write_atomic(self._path, json.dumps(self._record).encode(), durable=durable)
        self._flushed = time.monotonic()


def read_run(workspace: Workspace, run_name: str) -> dict[str, Any] | None:
    """The raw record of a run; None if there is none."""
    return _read(workspace.run_dir(run_name) / "run.json")


def run_status(workspace: Workspace, run_name: str) -> RunStatus:
    """State of a run and its nodes, from its record alone.

    Raises:
        UnknownName: no such run.
    """
    record = read_run(workspace, run_name)
    if record is None:
        raise UnknownName.among("run", run_name, workspace.run_names(), hint="recap list")
    killed = record["state"] == "running" and not _lives(record)

    def shown(state: str) -> str:
        return "killed" if killed and state == "running" else state

    return RunStatus(
        run_name=run_name,
        state=shown(record["state"]),
        created=record["created"],
        updated=record["updated"],
        command=shlex.join(record["argv"]),
        nodes=tuple(
            NodeStatus(
                name=name,
                step=entry["step"],
                state=shown(entry["state"]),
                key=entry["key"],
                seconds=entry.get("seconds"),
                outputs=entry.get("outputs", {}),
                error=entry.get("error", ""),
            )
            for name, entry in record["nodes"].items()
        ),
    )


def last_attempt(workspace: Workspace, run_name: str, node: str) -> dict[str, Any] | None:
    """The latest attempt that this run made at a node, under whatever key; None if it made none."""
    record = read_run(workspace, run_name)
    entry = record and {**record["retired"], **record["nodes"]}.get(node)
    if not entry:
        return None
    for key in (entry["key"], entry["last_key"]):
        made = attempts_at(workspace, entry["step"], key) if key else []
        mine = [attempt for attempt in made if attempt["run"] == run_name and attempt["node"] == node]
        # A node that was cached throughout made no attempt of its own: another's facts are the same, by the key.
        if mine or made:
            return (mine or made)[-1]
    return None


def committed_key(store: Store, node: Node, entry: Mapping[str, Any]) -> str | None:
    """The key whose result a run has already committed for a node, by its entry in the run record."""
    if entry["committed_key"] is not None:
        return str(entry["committed_key"])
    # Killed between the commit and the record of it.
    for key in (entry["key"], entry["last_key"]):
        if key is not None and store.path(node.spec.name, key).exists():
            return str(key)
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        record: dict[str, Any] = json.loads(content)
        known = record["format"] <= FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a run record: {error!r}", hint=f"move {path} away and re-issue") from error
    if not known:
        raise ConfigError(f"{path} has format {record['format']}, this recap knows up to {FORMAT}")
    return record


def _lives(record: Mapping[str, Any]) -> bool:
    """Whether the writer of a record may still be at work; another machine's cannot be asked, so it counts as alive."""
    if record["host"] != os.uname().nodename:
        return True
    return process_alive(record["pid"]) and _process_mark(record["pid"]) == record["pid_mark"]


def _process_mark(pid: int) -> str | None:
    """Start time of a process, which tells it from a later one of the same number; None where there is no /proc."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _seeds(config: Any) -> dict[str, Any]:
    """Settings that are seeds, wherever they nest."""
    found: dict[str, Any] = {}
    for name, value in (config or {}).items():
        if isinstance(value, dict):
            found |= {f"{name}.{inner}": seed for inner, seed in _seeds(value).items()}
        elif name in ("seed", "seeds") or name.endswith(("_seed", "_seeds")):
            found[name] = value
    return found


@cache
def _process() -> dict[str, Any]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("recap-rl")
    except PackageNotFoundError:
        own = "not installed"
    return {
        "git": _git(),
        "recap": own,
        "python": sys.version.split()[0],
        "platform": sys.platform,
        "host": os.uname().nodename,
        "user": user_name(),
        "pid": os.getpid(),
        "argv": sys.argv,
        "deterministic_env": {k: os.environ[k] for k in ("OMP_NUM_THREADS", "PYTHONHASHSEED") if k in os.environ},
    }


def _git() -> dict[str, Any] | None:
    """Commit of the source tree that recap runs from, and whether files differ from it; None outside one."""
    import subprocess

    source = Path(__file__).resolve().parents[1]
    if not (source / ".git").exists():
        return None
    command = ["git", "-C", str(source), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return {"commit": None, "error": str(error)}
    lines = found.stdout.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid")), None)
    return {"commit": commit, "dirty": any(not line.startswith("#") for line in lines)}
