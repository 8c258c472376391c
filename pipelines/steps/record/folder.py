"""Recorded experience in a folder of someone else: what lies there and what of it fits.

A folder is a workspace of recap, its `episodes` folder, or any episode store. It is only read. Knows no graph.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.errors import ConfigError

if TYPE_CHECKING:
    from data.episode_file import Header
    from data.tasks import TaskDefinition

ROLES: Mapping[str, tuple[str, ...]] = {"demos": ("demo",), "rollouts": ("rollout", "correction")}
"""{option of the command line: sources of the episodes that it takes}."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """Where the experience of a folder lies."""

    store: Path
    """Root of an episode store."""
    labels: Path | None
    """Folder of the label book beside it; None where there can be none."""
    workspace: Path | None
    """The workspace it belongs to, for the commands that take one."""

    def check_command(self) -> str:
        """What to do about episodes that cannot be read."""
        if self.workspace is None:
            return f"copy them again from where they were recorded, or move them out of {self.store}"
        there = shlex.quote(str(self.workspace))
        return f"recap data verify --workspace {there}   (then: recap data repair --workspace {there})"


def open_recorded(folder: str | Path, *, option: str) -> Recorded:
    """Finds the experience of a folder.

    Args:
        folder: a workspace, its `episodes` folder, or another episode store.
        option: what names it, for messages: "--demos".

    Raises:
        ConfigError: no such directory.
    """
    path = Path(folder)
    if not path.is_dir():
        what = "is no directory" if path.exists() else "does not exist"
        raise ConfigError(f"{option} {path}: {what}", hint=f"give a workspace or an episode store: {option} DIR")
    store = path / "episodes" if (path / "episodes").is_dir() else path
    beside = store.parent if store.name == "episodes" else None
    return Recorded(
        store=store,
        labels=None if beside is None else beside / "labels",
        workspace=beside if beside is not None and (beside / "workspace.json").is_file() else None,
    )


def contents(recorded: Recorded, *, option: str) -> dict[str, Any]:
    """What decides the result of taking it over, as JSON: {"episodes": ids, "truths": ids, "labels": {id: annotation}}.

    Ids stand for content and the folder's own name does not appear, so a moved folder changes nothing, and an episode,
    truth or label that was added since changes it. Looks at names and at the label book, opens no episode.

    Raises:
        ConfigError: no episode there.
        Corrupt: the label book is not what was written.
    """
    from data.annotation import LabelBook, annotation_to_json
    from data.episodes import EpisodeStore

    store = EpisodeStore(recorded.store)
    ids = store.ids()
    if not ids:
        raise ConfigError(
            f"{option} {recorded.store}: no episode there",
            hint=f"give a workspace of recap, or an episode store that holds TASK/ID.zip files: {option} DIR",
        )
    labels = {} if recorded.labels is None else LabelBook(recorded.labels).annotations()
    return {
        "episodes": list(ids),
        "truths": [episode for episode in ids if store.has_truth(episode)],
        "labels": {episode: annotation_to_json(labels[episode]) for episode in ids if episode in labels},
    }


def why_other(header: Header, *, task: str, role: str) -> str:
    """Why an episode is not meant here, though there is nothing wrong with it; "" if it is."""
    from recap.specs import SEEDS_PER_SPLIT, Split, split_of

    facts, wanted = header.facts, ROLES[role]
    if facts["task"] != task:
        return f"of task '{facts['task']}', expected '{task}'"
    if facts["source"] not in wanted:
        return f"recorded as '{facts['source']}', expected {' or '.join(map(repr, wanted))}"
    seed = facts["start_seed"]
    if seed is not None and SEEDS_PER_SPLIT <= seed < SEEDS_PER_SPLIT * len(Split):
        return f"from {split_of(seed).name} starts, which are kept for measuring"
    return ""


def why_misfit(header: Header, task: TaskDefinition) -> str:
    """Why an episode of the task cannot be learned from with the others: another robot; "" if it can."""
    spec, robot = task.spec, task.robot
    found = {
        "robot": header.facts["robot"],
        "control rate": f"{header.facts['rate_hz']:g} Hz",
        "state": f"{header.arrays['state']['shape'][1]} numbers",
        "action": f"{header.arrays['action']['shape'][1]} numbers",
    }
    wanted = {
        "robot": robot.id,
        "control rate": f"{spec.rate_hz:g} Hz",
        "state": f"{len(robot.state_names)} numbers",
        "action": f"{len(robot.action_names)} numbers",
    }
    problems = [f"{name} {found[name]}, expected {wanted[name]}" for name in found if found[name] != wanted[name]]
    missing = sorted(set(robot.camera_names) - set(header.cameras))
    if missing:
        problems.append(f"no camera {', '.join(missing)}")
    return "; ".join(problems)
