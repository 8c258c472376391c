"""Which episodes wait for a person, and what to type when they have been judged. Reads only."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from data.annotation import LabelBook, read_waiting
from data.episodes import EpisodeStore
from recap.errors import ConfigError, UnknownName
from recap.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Queue:
    """The episodes of one sitting."""

    episodes: tuple[str, ...]
    """Ids without a label, in the order in which they are shown."""
    run: str | None
    """The run that waits; None for all episodes of the workspace."""
    node: str
    """The node that asked; empty without a run."""
    next_command: str
    """What to type once every episode is labelled."""


def label_book(workspace: Workspace) -> LabelBook:
    """The book of labels of a workspace."""
    return LabelBook(workspace.root / "labels")


def find_queue(workspace: Workspace, run: str | None, *, everything: bool = False, limit: int | None = None) -> Queue:
    """The episodes that `run` (by default the latest that waits) waits for and that have no label yet.

    Args:
        workspace: where the runs and episodes are.
        run: name of the run.
        everything: all episodes of the workspace without a person's label instead, whether a run asked or not.
        limit: at most so many, the first ones.

    Raises:
        UnknownName: no such run, or it waits for an episode that is not in the store.
        ConfigError: no run waits and `everything` is not asked for, both are asked for, or `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit}: expected at least 1 episode")
    if everything and run is not None:
        raise ConfigError(f"run '{run}' and --all: expected one of them", hint=f"recap annotate {shlex.quote(run)}")
    store, book = EpisodeStore(workspace.episodes), label_book(workspace)
    stored = store.files()
    if everything:
        judged = book.annotations("human")
        ids, node, command = tuple(stored), "", _command("recap resume", workspace)
    else:
        judged = book.annotations()
        run = _waiting_run(workspace) if run is None else _known_run(workspace, run)
        waiting = read_waiting(workspace.run_dir(run))
        ids, node = (waiting.episodes, waiting.node) if waiting is not None else ((), "")
        command = _command(f"recap resume {run}", workspace)
    for episode_id in ids:
        if episode_id not in stored:
            raise UnknownName(
                f"run '{run}' waits for episode {episode_id[:12]}, which is not in the store", hint=command
            )
    todo = tuple(episode_id for episode_id in ids if episode_id not in judged)
    return Queue(episodes=todo[:limit], run=run, node=node, next_command=command)


def _waiting_run(workspace: Workspace) -> str:
    notes = {path.parent.name: path.stat().st_mtime for path in workspace.runs.glob("*/waiting.json")}
    if not notes:
        raise ConfigError(
            f"no run in {workspace.root} waits for labels",
            hint=f"{_command('recap annotate --all', workspace)}   (every episode without a person's label)",
        )
    return max(notes, key=lambda name: notes[name])


def _known_run(workspace: Workspace, run: str) -> str:
    if not workspace.run_dir(run).is_dir():
        known = [entry.name for entry in workspace.runs.iterdir() if entry.is_dir()]
        raise UnknownName.among("run", run, known, hint="recap list")
    return run


def _command(begin: str, workspace: Workspace) -> str:
    if workspace.root == Path("runs").absolute():
        return begin
    return f"{begin} --workspace {shlex.quote(str(workspace.root))}"
