"""What a run's journal becomes in MLflow.

    run                    the parent run: params and tags of the whole run, the report as an artifact
    step, at one key       a nested run: settings as params, metrics, identities and attempts as tags, data as inputs

    policies, value models versions of registered models (pipelines.trackers.models)

The journal is folded into what there is to say of each; what MLflow has already is asked once per process. A step is
whole in MLflow when it carries the tag of its last attempt, which is set last.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.trackers.base import TrackerSettings
from pipelines.trackers.client import Client, Point, shown_name
from pipelines.trackers.models import Models
from recap.errors import ArtifactCorrupt
from recap.journal import Record
from recap.provenance import attempts_at
from recap.store import Store, entry_name
from recap.workspace import Workspace

_RUN = "recap.run_identity"
_NODE = "recap.node"
_KEY = "recap.key"
_WHOLE = "(run)"
"""Stands for the node in the tags of the parent run: MLflow cannot search for an empty tag."""
_STATUS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "waiting": "SCHEDULED"}


@dataclass(slots=True)
class _Told:
    """What the journal says of the run, or of one step at one key."""

    name: str
    began: float
    """UTC seconds."""
    tags: dict[str, str]
    params: Mapping[str, object] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    """{input: identity}"""
    attempts: int = 0
    state: str = ""
    """How the last attempt ended; "" while it runs."""
    ended: float = 0.0
    points: list[Point] = field(default_factory=list)
    """Not in MLflow yet, as far as this process knows."""
    run: str = ""
    """Id in MLflow."""
    last: dict[str, int] | None = None
    """{metric: highest step in MLflow}; None: not asked yet."""
    sent: tuple[int, str] = (0, "")
    """(attempts, state) as MLflow has them."""

    def starts(self) -> None:
        self.attempts += 1
        self.state = ""

    def ends(self, record: Record, state: str) -> None:
        self.state, self.ended = state, record["t"]
        self.tags[_attempt(self.attempts)] = f"{state} after {record.get('seconds', 0.0):.1f} s"


class Mirror:
    """Applies records, in order and from the first one, to MLflow. After any error it is to be thrown away."""

    def __init__(self, settings: TrackerSettings, uri: str) -> None:
        self._settings = settings
        self._workspace = Workspace.open(settings.workspace, create=False)
        own_files = self._workspace.root / "mlflow-artifacts" if uri.startswith("sqlite") else None
        self._client = Client(uri, settings.experiment, own_files)
        self._models = Models(self._workspace, settings.run_name)
        self._identity = ""
        self._there: dict[tuple[str, str], tuple[str, Mapping[str, str]]] = {}
        self._told: dict[tuple[str, str], _Told] = {}
        """{(node, key)}; the run itself first."""
        self._artifacts: dict[Path, str] = {}
        """{path: folder} that were not uploaded yet"""
        self._key: dict[str, str] = {}
        """{node: the key it runs at}"""
        self._origin: dict[str, tuple[str, str, str]] = {}
        """{identity: (step, key, output)}"""

    def apply(self, records: Iterable[Record]) -> None:
        """Brings MLflow up to the end of `records`."""
        for record in records:
            if not self._identity:
                self._begin(record)
            self._fold(record)
            self._models.fold(record)
        for place, told in self._told.items():
            self._push(place, told)
        self._models.push(self._client, {place: told.run for place, told in self._told.items()})
        for path, folder in self._artifacts.items():
            if path.exists():  # made again later, or cleaned away: the journal's newest word is the one that counts
                self._client.artifact(self._told[_WHOLE, ""].run, path, folder)
        self._artifacts.clear()

    def _begin(self, first: Record) -> None:
        """The first thing a journal says, to the microsecond and process, names the run in MLflow for good."""
        self._identity = f"{first['t']:.6f}-{first['pid']}"
        for run, tags in self._client.tagged(_RUN, self._identity):
            self._there.setdefault((tags[_NODE], tags.get(_KEY, "")), (run, tags))
        settings = self._settings
        self._told[_WHOLE, ""] = _Told(settings.run_name, first["t"], dict(settings.tags), settings.params)

    def _fold(self, record: Record) -> None:
        kind, node, whole = record["kind"], record["node"], self._told[_WHOLE, ""]
        if kind == "run_started":
            whole.starts()
        elif kind == "run_done":
            whole.ends(record, record.get("state", "done"))
        elif kind == "artifact":
            self._artifacts[Path(record["path"])] = record["folder"]
        elif kind == "metrics":
            told = self._told.get((node, self._key.get(node, "")), whole)
            at = (int(record["t"] * 1000), int(record["step"]))
            told.points += [(shown_name(name), float(value), *at) for name, value in record["values"].items()]
        elif kind == "step_started":
            self._key[node] = record["key"]
            told = self._step(record)
            told.params = dict(_flat(record.get("config") or {}))
            told.inputs = {name: str(identity) for name, identity in (record.get("inputs") or {}).items()}
            told.starts()
        elif kind in ("step_done", "step_failed"):
            told = self._step(record)
            told.ends(record, "done" if kind == "step_done" else record.get("state", "failed"))
            told.tags.pop("recap.error", None)
            if error := record.get("error"):
                told.tags["recap.error"] = error
            if kind == "step_done":
                told.points.append(("step_seconds", float(record["seconds"]), int(record["t"] * 1000), told.attempts))
        if kind in ("step_done", "step_cached"):
            self._key[node] = record["key"]
            for name, identity in (record.get("outputs") or {}).items():
                self._origin[str(identity)] = (record["step"], record["key"], name)
                if kind == "step_done":
                    self._step(record).tags[f"recap.output.{name}"] = str(identity)

    def _step(self, record: Record) -> _Told:
        node, key = record["node"], record["key"]
        tags = {_KEY: key, "recap.step": record["step"]}
        return self._told.setdefault((node, key), _Told(node, record["t"], tags))

    def _push(self, place: tuple[str, str], told: _Told) -> None:
        now = (told.attempts, told.state)
        if not told.run:
            self._open(place, told)
        if told.sent != now:
            self._client.params(told.run, told.params)
            tags = {name: value for name, value in told.tags.items() if name != _attempt(told.attempts)}
            if place[1]:
                tags |= self._provenance(tags["recap.step"], place[1])
            inputs = {f"recap.input.{name}": identity for name, identity in told.inputs.items()}
            state = {"recap.attempts": str(told.attempts), "recap.state": told.state or "running"}
            self._client.tag(told.run, {**tags, **inputs, **state})
            for name, identity in told.inputs.items():
                self._dataset(told.run, name, identity)
        if told.points:
            self._metrics(told)
        if told.sent != now:
            self._client.set_status(told.run, _STATUS.get(told.state, "RUNNING"), told.ended if told.state else None)
            if told.state:
                self._client.tag(told.run, {_attempt(told.attempts): told.tags[_attempt(told.attempts)]})
            told.sent = now

    def _open(self, place: tuple[str, str], told: _Told) -> None:
        """Finds or makes the run of `told` in MLflow."""
        told.run, tags = self._there.get(place, ("", {}))
        if not told.run:
            parent = self._told[_WHOLE, ""].run or None
            tags = {_RUN: self._identity, _NODE: place[0], **told.tags}
            tags.pop(_attempt(told.attempts), None)
            told.run, told.last = self._client.create(told.name, told.began, tags, parent), {}
        elif told.state and _attempt(told.attempts) in tags:
            told.points.clear()
            told.sent = (told.attempts, told.state)

    def _metrics(self, told: _Told) -> None:
        """Sends the points whose step is beyond what MLflow has: a training that was resumed says steps again."""
        if told.last is None:
            told.last = self._client.last_steps(told.run)
        fresh = []
        for point in told.points:
            name, step = point[0], point[3]
            if step > told.last.get(name, -(2**62)):
                told.last[name] = step
                fresh.append(point)
        self._client.metrics(told.run, fresh)
        told.points.clear()

    def _dataset(self, run: str, name: str, identity: str) -> None:
        """Names an input that is a set of episodes."""
        from data.episode_set import EpisodeSet

        if identity not in self._origin:
            return
        step, key, output = self._origin[identity]
        try:
            artifact = (Store(self._workspace).load(step, key) or {}).get(output)
        except ArtifactCorrupt:  # the runner says so, and makes it again; a mirror has nothing to add
            return
        value = artifact.json() if artifact is not None and artifact.path.suffix == ".json" else None
        if isinstance(value, dict) and set(value) == {"ids", "root"}:
            episodes = EpisodeSet.from_json(value)
            self._client.dataset(run, name, episodes.root, len(episodes.ids), f"{entry_name(step, key)}/{output}")

    def _provenance(self, step: str, key: str) -> dict[str, str]:
        attempts = attempts_at(self._workspace, step, key)
        if not attempts:
            return {}
        tags = {"recap.host": str(attempts[-1].get("host", ""))}
        git = attempts[-1].get("git")
        if isinstance(git, dict):
            tags["mlflow.source.git.commit"] = str(git.get("commit", ""))
            tags["recap.git_dirty"] = str(git.get("dirty", "")).lower()
        return tags


def _attempt(number: int) -> str:
    return f"recap.attempt.{number:03d}"


def _flat(value: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Nested settings as dotted names."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    elif prefix:
        yield prefix, value
