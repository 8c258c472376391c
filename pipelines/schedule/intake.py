"""New episodes of watched folders, taken into the intake of a run: never twice, nothing left out unsaid.

    nights/<run>/intake   a workspace of recap that only nights write; the run learns from it as its --rollouts

A watched folder holds LeRobotDatasets and episode stores at any depth. What is being written is left for the next
night, what is broken is refused by name, and neither keeps the others from being taken. Nothing in the folder changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.datasets.request import ImportRequest
from pipelines.ledger import Ledger
from pipelines.steps.record.folder import open_recorded, why_misfit, why_other
from recap.errors import ConfigError, EpisodeCorrupt, RecapError, UnknownName, WorkspaceLocked
from recap.hashing import canonical_json, sha256_hex
from recap.workspace import Workspace

if TYPE_CHECKING:
    from data.episodes import EpisodeStore

DATASET, EPISODES, OTHER = "LeRobotDataset", "episodes", "unknown"
_BY = "recap ingest"
"""Who says it in the label book, as in an offline run: it may be said anew where the folder says otherwise."""


@dataclass(kw_only=True, slots=True)
class Found:
    """What became of one dataset or episode store of a watched folder."""

    path: str
    kind: str
    state: str = "taken"
    """taken; unchanged (since it was taken whole); being written (left for the next night); or refused."""
    new: int = 0
    known: int = 0
    """Episodes that were taken before."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    """{reason: episodes} that were not taken."""
    why: str = ""
    """Why it was left or refused."""

    @property
    def in_words(self) -> str:
        """It in one line."""
        counts = f"{self.new} new, {self.known} known"
        left = "".join(f"; {len(names)} left out: {reason}" for reason, names in self.left_out.items())
        return f"{self.path}  {self.state}: {self.why or counts}{left}"


def take_in(
    watched: Sequence[Path],
    intake: Path,
    template: ImportRequest,
    *,
    settle_s: float,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.time,
) -> list[Found]:
    """Takes what is new; re-issued after a kill it goes on.

    Args:
        watched: folders.
        intake: workspace to take it into; made if absent.
        template: how a LeRobotDataset is read; `dataset` is filled in, and `outcomes` meant from within it.
        settle_s: what changed within so many seconds is being written.
        say: prints one line for a person.
        clock: UTC seconds.

    Raises:
        ConfigError: a watched folder is not there.
        WorkspaceLocked: another process writes the intake.
    """
    taker = _Taker(Workspace.open(intake), template, settle_s, say, clock)
    found = []
    for folder in watched:
        if not folder.is_dir():
            raise ConfigError(f"--watch {folder}: no such directory", hint="recap night ... --watch DIR")
        for kind, path in _sources(folder):
            one = Found(path=str(path), kind=kind)
            if kind == DATASET:
                taker.dataset(path, one)
            elif kind == EPISODES:
                taker.episodes(path, one)
            else:
                one.state, one.why = "refused", "neither a LeRobotDataset (meta/) nor an episode store (TASK/ID.zip)"
            say(one.in_words)
            found.append(one)
    return found


class _Taker:
    """Takes one source after the other."""

    def __init__(
        self,
        workspace: Workspace,
        template: ImportRequest,
        settle_s: float,
        say: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        from data.episodes import EpisodeStore

        self._workspace, self._template = workspace, template
        self._settle_s, self._say, self._clock = settle_s, say, clock
        self._store = EpisodeStore(workspace.episodes)
        # In no key: what it spares is reading datasets again that nobody has touched.
        self._whole = Ledger(workspace.root / "collections" / "watched.jsonl", key="path")

    def dataset(self, path: Path, found: Found) -> None:
        """Takes the episodes of a LeRobotDataset."""
        from pipelines.datasets.importing import import_dataset

        before: list[tuple[str, int, int]] = []
        here = set(self._store.ids())
        outcomes = self._template.outcomes
        request = replace(self._template, dataset=path, outcomes=None if outcomes is None else path / outcomes)
        try:
            before = _files(path)
            age = self._clock() - max((changed for _, _, changed in before), default=0) / 1e9
            if age < self._settle_s:
                found.state, found.why = "being written", f"changed {max(age, 0):.0f} s ago"
                return
            asked = sha256_hex(canonical_json([before, request.again(self._workspace.root)]))
            known = self._whole.rows().get(str(path))
            if known is not None and known["asked"] == asked:
                found.state, found.known = "unchanged", known["episodes"]
                return
            result = import_dataset(self._workspace.root, request, lambda line: self._say(f"{path.name}  {line}"))
        except WorkspaceLocked:
            raise
        except (RecapError, OSError) as error:
            found.new = len(set(self._store.ids()) - here)
            if _changed(path, before):
                found.state, found.why = "being written", "it changed while it was read"
            else:
                found.state, found.why = "refused", error.message if isinstance(error, RecapError) else str(error)
            return
        taken = set(result.ids.values())
        found.new, found.known = len(taken - here), len(taken & here)
        for number, problem in result.left_out.items():
            found.left_out.setdefault(problem, []).append(str(number))
        if not result.left_out and not _changed(path, before):
            self._whole.append({"path": str(path), "asked": asked, "episodes": len(taken)})

    def episodes(self, path: Path, found: Found) -> None:
        """Takes the episodes of a store of recap, and what people said of them."""
        from data.annotation import LabelBook
        from data.episodes import EpisodeStore
        from pipelines.steps.record.worker import Importer

        recorded = open_recorded(path, option="--watch")
        store = EpisodeStore(recorded.store)
        importer = Importer(str(recorded.store), str(self._workspace.episodes))
        here = set(self._store.ids())
        files = store.files()
        ours = here & files.keys()
        found.known = len(ours)
        with self._workspace.lock("night"):
            for episode in sorted(files.keys() - here):
                try:
                    other = self._why_not(store, episode)
                except (EpisodeCorrupt, UnknownName) as error:
                    other, broken = "", error.message
                else:
                    broken = "" if other else importer.run(episode)["problem"]
                if broken and self._is_young(files[episode]):
                    broken = "being written, left for the next night"
                if other or broken:
                    found.left_out.setdefault(other or broken, []).append(episode)
                else:
                    found.new += 1
                    ours.add(episode)
            said = {} if recorded.labels is None else LabelBook(recorded.labels).annotations()
            book = LabelBook(self._workspace.root / "labels")
            book.take_imports([said[episode] for episode in sorted(ours & said.keys())], by=_BY)

    def _why_not(self, store: EpisodeStore, episode: str) -> str:
        from data.tasks import TASKS

        task, header = self._template.task, store.header(episode)
        return why_other(header, task=task, role="rollouts") or why_misfit(header, TASKS.get(task))

    def _is_young(self, file: Path) -> bool:
        return file.exists() and self._clock() - file.stat().st_ctime < self._settle_s


def _changed(path: Path, before: list[tuple[str, int, int]]) -> bool:
    try:
        return _files(path) != before
    except OSError:
        return True


def _sources(folder: Path) -> Iterator[tuple[str, Path]]:
    """(kind, path) of what lies in a watched folder, in order of path; hidden names are somebody's scratch."""
    kind = _kind(folder)
    if kind:
        yield kind, folder
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        inner = list(_sources(path)) if path.is_dir() and not path.is_symlink() else []
        # Of a folder of folders, those that say something; else it is named itself.
        yield from inner or [(OTHER, path)]


def _kind(folder: Path) -> str:
    if (folder / "meta").is_dir():
        return DATASET
    if (folder / "workspace.json").is_file() or any(folder.glob("episodes/*/*.zip")) or any(folder.glob("*/*.zip")):
        return EPISODES
    return ""


def _files(folder: Path) -> list[tuple[str, int, int]]:
    """(name, bytes, ns of the last change, of name and rights too: a copy keeps the other time) of every file."""
    found = []
    for place, _, names in folder.walk():
        for name in names:
            facts = (place / name).stat()
            found.append((str((place / name).relative_to(folder)), facts.st_size, facts.st_ctime_ns))
    return sorted(found)
