"""What each journal record becomes in MLflow.

    run                    the parent run: params and tags of the whole run, the report as an artifact
    step, at one key       a nested run: settings as params, metrics, identities and attempts as tags, data as inputs

Records may be offered twice (a cursor that was lost, a training that was resumed and says its steps again): a metric
point whose step MLflow has already is dropped, and everything else says the same thing again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.trackers.base import TrackerSettings
from pipelines.trackers.client import Client, Point, shown_name
from recap.errors import ArtifactCorrupt
from recap.journal import Record
from recap.provenance import attempts_at
from recap.store import entry_name
from recap.workspace import Workspace

_RUN = "recap.run_identity"
_NODE = "recap.node"
_KEY = "recap.key"
_WHOLE = "(run)"
"""Stands for the node in the tags of the parent run: MLflow cannot search for an empty tag."""
_STATUS = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "waiting": "SCHEDULED"}


class Mirror:
    """Applies records, in order, to MLflow. Any error leaves it to be thrown away: the next one asks what is there."""

    def __init__(self, settings: TrackerSettings, uri: str, folder: Path, identity: str) -> None:
        self._settings = settings
        self._folder = folder
        self._workspace = Workspace.open(settings.workspace, create=False)
        own_files = uri.startswith("sqlite")
        self._client = Client(
            uri, settings.experiment, self._workspace.root / "mlflow-artifacts" if own_files else None
        )
        self._identity = identity
        self._parent = self._client.find({_RUN: identity, _NODE: _WHOLE})
        self.found = self._parent is not None
        """MLflow knew the run before."""
        self._runs: dict[str, str] = {}
        self._last: dict[str, dict[str, int]] = {}
        self._waiting: dict[str, list[Point]] = {}
        self._key: dict[str, str] = {}
        self._attempts: dict[str, int] = {}
        self._sets: dict[str, list[Any]] = {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on from what `state` gave."""
        self._key = dict(state.get("key", {}))
        self._attempts = dict(state.get("attempts", {}))
        self._sets = dict(state.get("sets", {}))

    def state(self) -> dict[str, Any]:
        """What later records need to know of earlier ones, as JSON."""
        return {"key": self._key, "attempts": self._attempts, "sets": self._sets}

    def apply(self, records: Iterable[Record]) -> None:
        """Brings MLflow up to the end of `records`."""
        for record in records:
            handler = getattr(self, f"_on_{record['kind']}", None)
            if handler is not None:
                handler(record)
        self._flush()

    def _on_run_started(self, record: Record) -> None:
        parent = self._parent_run(record["t"])
        self._client.set_status(parent, "RUNNING")
        self._client.params(parent, self._settings.params)
        self._client.tag(parent, self._settings.tags)

    def _on_run_done(self, record: Record) -> None:
        self._flush()
        self._client.set_status(self._parent_run(record["t"]), _STATUS[record.get("state", "done")], record["t"])

    def _on_artifact(self, record: Record) -> None:
        path = Path(record["path"])
        if path.exists():  # made again later, or cleaned away: the journal's newest word is the one that counts
            self._client.artifact(self._parent_run(record["t"]), path, record["folder"])

    def _on_step_started(self, record: Record) -> None:
        node, key = record["node"], record["key"]
        self._key[node] = key
        number = self._attempts[f"{node}@{key}"] = self._attempts.get(f"{node}@{key}", 0) + 1
        run = self._node_run(node, key, record["step"], record["t"])
        self._client.set_status(run, "RUNNING")
        self._client.params(run, dict(_flat(record.get("config") or {})))
        tags = {"recap.attempts": str(number), "recap.state": "running", **self._provenance(record["step"], key)}
        for name, identity in (record.get("inputs") or {}).items():
            tags[f"recap.input.{name}"] = str(identity)
            if str(identity) in self._sets:
                root, count, source = self._sets[str(identity)]
                self._client.dataset(run, name, root, count, source)
        self._client.tag(run, tags)

    def _on_step_done(self, record: Record) -> None:
        self._ended(record, "done", "")
        self._note_sets(record)

    def _on_step_failed(self, record: Record) -> None:
        self._ended(record, record.get("state", "failed"), record.get("error", ""))

    def _on_step_cached(self, record: Record) -> None:
        self._key[record["node"]] = record["key"]
        self._note_sets(record)

    def _on_metrics(self, record: Record) -> None:
        node, step = record["node"], int(record["step"])
        if node in self._key:
            run = self._node_run(node, self._key[node], node, record["t"])
        else:
            run = self._parent_run(record["t"])
        last = self._last_steps(run)
        points = self._waiting.setdefault(run, [])
        for name, value in record["values"].items():
            shown = shown_name(name)
            if step > last.get(shown, -(2**62)):
                last[shown] = step
                points.append((shown, float(value), int(record["t"] * 1000), step))

    def _ended(self, record: Record, state: str, error: str) -> None:
        self._flush()
        node, key = record["node"], record["key"]
        run = self._node_run(node, key, record["step"], record["t"])
        number = self._attempts.get(f"{node}@{key}", 0)
        tags = {"recap.state": state, f"recap.attempt.{number:03d}": f"{state} after {record['seconds']:.1f} s"}
        if error:
            tags["recap.error"] = error
        for name, identity in (record.get("outputs") or {}).items():
            tags[f"recap.output.{name}"] = str(identity)
        self._client.tag(run, tags)
        if state == "done":
            self._client.metrics(run, [("step_seconds", float(record["seconds"]), int(record["t"] * 1000), number)])
        self._client.set_status(run, _STATUS[state], record["t"])

    def _note_sets(self, record: Record) -> None:
        """Remembers which outputs are sets of episodes, for the steps that will take them in."""
        from data.episode_set import EpisodeSet
        from recap.store import Store

        try:
            stored = Store(self._workspace).load(record["step"], record["key"])
        except ArtifactCorrupt:  # the runner says so, and makes it again; a mirror has nothing to add
            return
        for name, artifact in (stored or {}).items():
            if artifact.path.suffix != ".json":
                continue
            value = artifact.json()
            if isinstance(value, dict) and set(value) == {"ids", "root"}:
                episodes = EpisodeSet.from_json(value)
                place = f"{entry_name(record['step'], record['key'])}/{name}"
                self._sets[artifact.identity] = [episodes.root, len(episodes.ids), place]

    def _provenance(self, step: str, key: str) -> dict[str, str]:
        attempts = attempts_at(self._workspace, step, key)
        if not attempts:
            return {}
        last = attempts[-1]
        tags = {"recap.host": str(last.get("host", ""))}
        git = last.get("git")
        if isinstance(git, dict):
            tags["mlflow.source.git.commit"] = str(git.get("commit", ""))
            tags["recap.git_dirty"] = str(git.get("dirty", "")).lower()
        return tags

    def _parent_run(self, t: float) -> str:
        if self._parent is None:
            tags = {_RUN: self._identity, _NODE: _WHOLE, **self._settings.tags}
            self._parent = self._client.create(self._settings.run_name, t, tags)
        return self._parent

    def _node_run(self, node: str, key: str, step: str, t: float) -> str:
        name = f"{node}@{key}"
        if name not in self._runs:
            tags = {_RUN: self._identity, _NODE: node, _KEY: key}
            found = self._client.find(tags)
            if found is None:
                parent = self._parent_run(t)
                found = self._client.create(node, t, {**tags, "recap.step": step}, parent)
                self._last[found] = {}
            self._runs[name] = found
        return self._runs[name]

    def _last_steps(self, run: str) -> dict[str, int]:
        if run not in self._last:
            self._last[run] = self._client.last_steps(run)
        return self._last[run]

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for run, points in waiting.items():
            self._client.metrics(run, points)


def _flat(value: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Nested settings as dotted names."""
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(inner, f"{prefix}.{name}" if prefix else str(name))
    elif prefix:
        yield prefix, value
