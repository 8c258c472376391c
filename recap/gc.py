"""What in a workspace nobody needs any more, and its removal.

Kept: every result that the latest state of any run names, so that issuing any run again executes nothing; of every step
of a run the result of its highest iteration (the challenger); what the last K iterations named before, also of nodes
that the run has dropped; every champion; whatever was recorded from the outside world; the K packed caches used last.

Listed: all other artifacts, scratch that no run can go on with, older caches, quarantined artifacts, and the trash of a
removal that was killed. Episodes, labels, attempts and journals are never looked at.

A thing is renamed into a trash folder before its first file is deleted, so a kill leaves it whole or gone. It must not
know what steps mean. Removal needs the workspace lock.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recap import faults
from recap.champion import champions
from recap.errors import ConfigError
from recap.files import move, remove_tree
from recap.provenance import attempts_in, read_run
from recap.store import Store, entry_name
from recap.workspace import Workspace

_TABLES = ("frames-", "latents-")
_TABLE_UNUSED_S = 7 * 86_400.0
KINDS = ("artifact", "scratch", "cache", "quarantine", "trash")
_TRASH = ".trash"
_HALF_BUILT = ".tmp-"
_HALF_BUILT_AGE_S = 86_400.0
_ITERATION = re.compile(r"(\d+)/")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One thing that can go."""

    kind: str
    """One of KINDS."""
    path: str
    """Relative to the workspace."""
    bytes: int
    """Sum of file sizes, as if no file were shared."""
    why: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Garbage:
    """What can go, or went."""

    items: tuple[Item, ...]
    frees: int
    """Bytes that removing all of them gives back: files that something kept links to as well give none."""
    kept: Mapping[str, int]
    """{kind: things of that kind that stay}"""
    notes: tuple[str, ...]
    """What was left alone because it could not be judged, one sentence each."""
    deleted: bool


@dataclass(slots=True)
class _Survey:
    items: list[tuple[Item, Path]] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    notes: list[str] = field(default_factory=list)
    links: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """{(device, inode): [links seen in items, links in all, bytes]}"""

    def add(self, workspace: Workspace, kind: str, path: Path, why: str) -> None:
        size = 0
        for found in _files(path):
            size += found.st_size
            seen = self.links.setdefault((found.st_dev, found.st_ino), [0, found.st_nlink, found.st_size])
            seen[0] += 1
        relative = path.relative_to(workspace.root).as_posix()
        self.items.append((Item(kind=kind, path=relative, bytes=size, why=why), path))

    def result(self, *, deleted: bool) -> Garbage:
        return Garbage(
            items=tuple(item for item, _ in self.items),
            frees=sum(size for seen, links, size in self.links.values() if seen >= links),
            kept=dict(self.kept),
            notes=tuple(self.notes),
            deleted=deleted,
        )


def find_garbage(workspace: Workspace, *, keep: int = 2) -> Garbage:
    """What `remove_garbage` would remove. Changes nothing and needs no lock.

    Args:
        workspace: where to look.
        keep: K, iterations of each run whose dropped or replaced results stay, and caches that stay.

    Raises:
        ConfigError: the record of a run cannot be read, so what it needs is not known; or K below 0.
        ArtifactCorrupt: a champion file cannot be read.
    """
    return _survey(workspace, keep).result(deleted=False)


def remove_garbage(workspace: Workspace, *, keep: int = 2) -> Garbage:
    """Removes what `find_garbage` lists. Killed on the way, it has removed a part, and the next call the rest.

    Raises:
        WorkspaceLocked: a run writes this workspace.
        ConfigError, ArtifactCorrupt: see `find_garbage`; nothing was removed.
        OSError: something could not be removed; what is listed before it is gone.
    """
    with workspace.lock("gc"):
        # Gives scratch back what a killed commit had taken, before scratch is judged.
        Store(workspace).recover()
        survey = _survey(workspace, keep)
        for number, (item, path) in enumerate(survey.items):
            if item.kind == "trash":
                remove_tree(path)
                continue
            trash = path.parent / _TRASH
            trash.mkdir(exist_ok=True)
            gone = trash / f"{time.time_ns()}-{os.getpid()}-{number}-{path.name}"
            faults.point("gc.before_rename")
            move(path, gone)
            faults.point("gc.after_rename")
            remove_tree(gone)
            faults.point("gc.after_remove")
    return survey.result(deleted=True)


def _survey(workspace: Workspace, keep: int) -> _Survey:
    if keep < 0:
        raise ConfigError(f"keep {keep}: expected 0 or more iterations")
    survey = _Survey()
    needed = _needed(workspace, keep)
    store = Store(workspace)
    committed = set(store.entries())
    for entry in sorted(committed):
        if entry in needed or _keeps_itself(workspace, entry, survey):
            survey.kept["artifact"] += 1
        else:
            survey.add(workspace, "artifact", workspace.artifacts / entry, _last_use(workspace, entry))
    for path in _children(workspace.scratch):
        if path.name in needed and path.name not in committed:
            survey.kept["scratch"] += 1
        else:
            why = "its step is done" if path.name in committed else "no run goes on with it"
            survey.add(workspace, "scratch", path, why)
    _survey_caches(workspace, keep, survey)
    for path in _children(workspace.quarantine):
        try:
            reason = str(json.loads((path / "reason.json").read_bytes())["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            survey.notes.append(f"{path} is left alone: no readable reason.json says what it is")
            survey.kept["quarantine"] += 1
        else:
            survey.add(workspace, "quarantine", path, reason)
    for folder in (workspace.artifacts, workspace.scratch, workspace.cache, workspace.quarantine):
        for path in _children(folder / _TRASH):
            survey.add(workspace, "trash", path, "left by a removal that was killed")
    return survey


def _needed(workspace: Workspace, keep: int) -> set[str]:
    """Directory names, under artifacts/ and scratch/, of every result that has to stay."""
    needed = {entry_name(champion.step, champion.key) for champion in champions(workspace)}
    for run in workspace.run_names():
        record = read_run(workspace, run)
        # Removed between the listing and now: it needs nothing any more.
        if record is not None:
            needed |= _needed_by(record, keep)
    return needed


def _needed_by(record: Mapping[str, Any], keep: int) -> set[str]:
    now, dropped = record["nodes"], record["retired"]
    entries: set[str] = set()
    for entry in now.values():
        # A node not reached yet will most likely be found under the key it had when the run was last issued.
        entries |= _entries(entry, entry["key"] or entry["last_key"], entry["committed_key"])
    everything = {**dropped, **now}
    reached = {name: k for name, entry in everything.items() if (k := _iteration(name)) is not None and _keys(entry)}
    first_kept = max(reached.values(), default=0) - keep
    newest: dict[str, int] = {}
    for name, i in reached.items():
        step = everything[name]["step"]
        newest[step] = max(i, newest.get(step, i))
    for name, entry in everything.items():
        # A node outside the iterations ("pretrain") belongs to all of them.
        iteration = _iteration(name)
        if iteration is None or (keep and iteration > first_kept):
            entries |= _entries(entry, *_keys(entry))
        elif newest.get(entry["step"]) == iteration:
            entries |= _entries(entry, entry["key"] or entry["last_key"], entry["committed_key"])
    return entries


def _entries(entry: Mapping[str, Any], *keys: str | None) -> set[str]:
    return {entry_name(entry["step"], key) for key in keys if key is not None}


def _keys(entry: Mapping[str, Any]) -> list[str]:
    return [key for key in (entry["key"], entry["last_key"], entry["committed_key"]) if key is not None]


def _iteration(node: str) -> int | None:
    """The k of a node named "k/..."; None for one that belongs to no iteration."""
    found = _ITERATION.match(node)
    return int(found.group(1)) if found else None


def _keeps_itself(workspace: Workspace, entry: str, survey: _Survey) -> bool:
    """Whether an artifact that no run names stays all the same."""
    path = workspace.artifacts / entry / "manifest.json"
    try:
        facts = json.loads(path.read_bytes())["facts"]
        recorded = "recorded" in facts
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"its manifest is not readable ({type(error).__name__}); `recap verify` says more"
        survey.notes.append(f"{path.parent} is left alone: {why}")
        return True
    # Nothing brings back what was recorded on a robot.
    return recorded


def _last_use(workspace: Workspace, entry: str) -> str:
    attempts = attempts_in(workspace.attempts / entry)
    if not attempts:
        return "no run names it"
    made = attempts[-1]
    return f"no run names it; made for {made['node']} of run {made['run']}"


def _survey_caches(workspace: Workspace, keep: int, survey: _Survey) -> None:
    now = time.time()
    last_used = [(path.stat().st_mtime, path) for path in _children(workspace.cache)]
    # One per image size or encoder and shared by all runs: data.framecache keeps them below its own cap.
    in_use = {path for used, path in last_used if path.name.startswith(_TABLES) and now - used < _TABLE_UNUSED_S}
    survey.kept["cache"] += len(in_use)
    last_used = [(used, path) for used, path in last_used if path not in in_use]
    for rank, (used, path) in enumerate(sorted(last_used, reverse=True)):
        if rank < keep:
            survey.kept["cache"] += 1
        else:
            survey.add(workspace, "cache", path, f"last used {_days(now - used)} ago; built again when needed")
    for path in sorted(workspace.cache.glob(f"{_HALF_BUILT}*")):
        age = now - path.lstat().st_mtime
        # A younger one may have a living builder, which need not be a run.
        if path.is_dir() and age > _HALF_BUILT_AGE_S:
            survey.add(workspace, "cache", path, f"half built and left {_days(age)} ago")


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:.1f} days"


def _children(folder: Path) -> list[Path]:
    """Directories in a folder, sorted; hidden ones and links are somebody else's."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name[0] != "." and path.is_dir() and not path.is_symlink())


def _files(path: Path) -> Iterator[os.stat_result]:
    """Every file below a directory, links not followed; one that vanishes meanwhile is skipped."""
    pending: list[Iterable[os.DirEntry[str]]] = [_listed(path)]
    while pending:
        for entry in pending.pop():
            if entry.is_dir(follow_symlinks=False):
                pending.append(_listed(Path(entry.path)))
                continue
            try:
                yield entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


def _listed(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return list(entries)
    except FileNotFoundError:
        return []
