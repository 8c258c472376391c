"""The note that a run leaves when it stops for labels: which episodes, for which node.

    <workspace>/runs/<run>/waiting.json     {"episodes": [ids], "node": "1/annotate"}

Owns that file and the command that answers it. Knows no label.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from data.episode_set import EpisodeSet
from recap.errors import ConfigError
from recap.files import write_atomic
from recap.workspace import workspace_option

_FILE = "waiting.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """What a stopped run waits for."""

    episodes: tuple[str, ...]
    """Ids without a label, in the order they were asked for."""
    node: str
    """The node of the run that asked."""


def write_waiting(run_dir: Path, ids: Iterable[str], *, node: str) -> Path:
    """Leaves the note of a run; on disk when it returns."""
    episodes = list(dict.fromkeys(ids))
    EpisodeSet.of(episodes)  # refuses what is no id
    path = run_dir / _FILE
    write_atomic(path, json.dumps({"episodes": episodes, "node": node}, indent=1).encode())
    return path


def read_waiting(run_dir: Path) -> Waiting | None:
    """The note of a run; None if it waits for nothing.

    Raises:
        ConfigError: the file is not such a note.
    """
    path = run_dir / _FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        value = json.loads(raw)
        episodes, node = tuple(value["episodes"]), str(value["node"])
        EpisodeSet.of(episodes)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: not a list of waiting episodes ({error})", hint=f"recap resume {run_dir.name}   (writes it anew)"
        ) from error
    return Waiting(episodes=tuple(dict.fromkeys(episodes)), node=node)


def clear_waiting(run_dir: Path) -> None:
    """Takes the note away: the run has what it waited for."""
    (run_dir / _FILE).unlink(missing_ok=True)


def annotate_command(run: str, workspace: Path) -> str:
    """The command line with which a person answers."""
    return shlex.join(["recap", "annotate", run, *workspace_option(workspace)])
