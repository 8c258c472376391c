"""What the trackers share: the protocol, the settings, the registry, and the tracker that tracks nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from recap.registry import Registry


def _ignore(text: str) -> None:
    """For callers that do not listen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackerSettings:
    """Which run is mirrored, and where to."""

    workspace: Path
    """Root of the workspace."""
    run_name: str
    uri: str | None = None
    """MLflow tracking URI; None: mlflow.db in the workspace."""
    experiment: str = "recap"
    params: Mapping[str, object] = field(default_factory=dict)
    """Said of the whole run (preset, task, ...); shown as params of the parent run."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """Said of the whole run (command, ...); shown as tags of the parent run."""
    warn: Callable[[str], None] = _ignore
    """Told, once per process, that the tracker cannot be reached."""
    interval_s: float = 2.0
    """Seconds between looks at the journal."""


def sqlite_uri(database: Path) -> str:
    """The address of an SQLite file, also below folders whose names hold `?`, `#`, `%`, spaces or other scripts."""
    path = str(database.absolute())
    quoted = quote(path)
    # SQLAlchemy undoes the escapes; MLflow does not, and makes the parent folder of whatever follows "sqlite:///" as it
    # is spelled: a stray folder beside the real one. It makes none where the driver is named.
    return f"sqlite:///{path}" if quoted == path else f"sqlite+pysqlite:///{quoted}"


class Tracker(Protocol):
    """A mirror of one run's journal."""

    @property
    def uri(self) -> str | None:
        """Where to browse; None if nowhere."""
        ...

    def start(self) -> None:
        """Begins to follow the journal in the background."""
        ...

    def artifact(self, path: Path, folder: str = "") -> None:
        """Asks for a file or directory of the run to be shown with it."""
        ...

    def close(self, timeout_s: float = 20.0) -> bool:
        """Mirrors what is left, for at most `timeout_s`; False if something is left for the next run."""
        ...


TRACKERS: Registry[Callable[[TrackerSettings], Tracker]] = Registry("tracker", packages=("pipelines.trackers",))


class NoTracker:
    """Tracks nothing."""

    uri = None

    def start(self) -> None:
        """Does nothing."""

    def artifact(self, path: Path, folder: str = "") -> None:
        """Does nothing."""

    def close(self, timeout_s: float = 20.0) -> bool:
        """Nothing is ever left over."""
        return True


@TRACKERS.register("none")
def make_none(settings: TrackerSettings) -> NoTracker:
    """A NoTracker."""
    return NoTracker()
