"""Finds what is wrong in an episode store, and takes it out of use without throwing it away.

`verify` reads only; `repair` acts on what it found and says what was lost. Both may run beside processes that commit:
files being written are told from leftovers by their locks. Must not know runs, labels or models.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from data.episode_contract import RESERVED_FOLDERS, check_truth, violations
from data.episode_file import Header, assemble, encode_again, read_array, read_episode, read_header
from data.episodes import EpisodeStore
from data.index import EpisodeRow, row_of
from data.truth_file import read_truth
from recap.errors import ConfigError, EpisodeCorrupt
from recap.files import TMP_PREFIX, abandoned, move, write_atomic
from recap.hashing import canonical_json


class Kind(StrEnum):
    """What is wrong, which decides what `repair` does."""

    CORRUPT = "corrupt"
    """The episode file is torn or altered: quarantined."""
    CONTRACT = "contract"
    """The file is whole but holds what no episode may hold (NaN, another shape, ...): quarantined."""
    FRAMING = "framing"
    """The bytes changed but the content is proved unchanged: written afresh."""
    MISPLACED = "misplaced"
    """In the folder of another task: moved home, or quarantined if it is there already."""
    TRUTH = "truth"
    """The truth sidecar is torn, altered or does not fit its episode: quarantined, the episode stays."""
    ORPHAN_TRUTH = "orphan_truth"
    """A truth whose episode was never committed (its process died between the two): quarantined."""
    ORPHAN_TMP = "orphan_tmp"
    """A half-written file of a process that died or was stopped at its time limit: quarantined."""
    DUPLICATE = "duplicate"
    """The same recording under other facts: left in place, for a person to judge."""
    DISCARDED = "discarded"
    """Nothing is wrong with it, but whoever recorded it does not want it: quarantined, by `discard` only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EpisodeFinding:
    """One thing that is wrong."""

    kind: Kind
    episode: str | None
    """Id, as far as the file name tells it."""
    path: Path
    field: str
    """Part of the episode: "header", "state", "frames/cam_high", "file", ..."""
    problem: str

    def __str__(self) -> str:
        return f"{self.kind.value}: episode {self.episode or '?'}, {self.field}: {self.problem}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Repaired:
    """What `repair` did about one finding."""

    finding: EpisodeFinding
    action: str
    """"quarantined to ...", "moved to ...", "written afresh", "left in place"."""
    lost: str
    """What can no longer be used, in words; empty if nothing."""


def verify(
    store: EpisodeStore,
    ids: Iterable[str] | None = None,
    *,
    full: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[EpisodeFinding]:
    """Yields everything that is wrong, episode by episode, and nothing if all is well.

    Full: file checksum against the index, zip checksums, zarr decoding, array digests, the id, the episode contract and
    the truth. Quick (full=False): file size against the index and the header. Leftovers, orphans and duplicates are
    looked for only if `ids` is None.

    Raises:
        UnknownName: an id that is not in the store.
    """
    known = store.index.known()
    paths = _episode_paths(store) if ids is None else [store.path(episode_id) for episode_id in sorted(set(ids))]
    rows: list[EpisodeRow] = []
    for done, path in enumerate(paths, start=1):
        finding = _check_episode(path, known.get(path.stem), full=full)
        if finding is None:
            header = read_header(path)
            rows.append(known.get(path.stem) or row_of(header, path.read_bytes()))
            finding = _check_truth(store, header) if full else None
        if finding is not None:
            yield finding
        if progress:
            progress(done, len(paths))
    if ids is None:
        yield from _duplicates(store, rows)
        yield from _orphans(store)


def repair(store: EpisodeStore, findings: Iterable[EpisodeFinding] | None = None) -> list[Repaired]:
    """Acts on `findings` (those of a full `verify` by default); episodes that are well are not touched."""
    known = store.index.known()
    # Misplaced files last: a good copy may go home once the bad one that lies there has been set aside.
    ordered = sorted(verify(store) if findings is None else findings, key=lambda f: f.kind is Kind.MISPLACED)
    return [_repair(store, finding, known) for finding in ordered]


def _check_episode(path: Path, row: EpisodeRow | None, *, full: bool) -> EpisodeFinding | None:
    def found(kind: Kind, field: str, problem: str) -> EpisodeFinding:
        return EpisodeFinding(kind=kind, episode=path.stem, path=path, field=field, problem=problem)

    size = path.stat().st_size
    try:
        header = read_header(path)
    except EpisodeCorrupt as error:
        return found(Kind.CORRUPT, "header", error.message)
    arrays = {}
    for name in header.arrays if full else ():
        try:
            arrays[name] = read_array(path, header, name)
        except EpisodeCorrupt as error:
            return found(Kind.CORRUPT, name, error.message)
    if full:
        broken = next(_contract(header, arrays), None)
        if broken is not None:
            return found(Kind.CONTRACT, broken[0], broken[1])
    if header.facts["task"] != path.parent.name:
        return found(Kind.MISPLACED, "task", f"'{header.facts['task']}', but the file lies in '{path.parent.name}'")
    if row is None:
        return None
    if size != row.bytes:
        return found(Kind.FRAMING if full else Kind.CORRUPT, "file", f"{size} bytes, committed with {row.bytes}")
    if full and hashlib.sha256(path.read_bytes()).hexdigest() != row.sha256:
        return found(Kind.FRAMING, "file", "checksum differs from the commit, though every array is intact")
    return None


def _contract(header: Header, arrays: dict[str, NDArray[Any]]) -> Iterator[tuple[str, str]]:
    frames = {camera: arrays[f"frames/{camera}"] for camera in header.cameras}
    yield from violations(assemble(header, arrays, frames))


def discard(store: EpisodeStore, episode_id: str, *, reason: str) -> str:
    """Takes a good episode out of use: it and its truth go to quarantine, with the reason; where to, in words.

    Raises:
        UnknownName: no such episode.
    """
    path = store.path(episode_id)
    finding = EpisodeFinding(kind=Kind.DISCARDED, episode=episode_id, path=path, field="file", problem=reason)
    if store.has_truth(episode_id):
        _set_aside(store, finding, path=store.truth_path(episode_id))
    return _set_aside(store, finding)


def _check_truth(store: EpisodeStore, header: Header) -> EpisodeFinding | None:
    path = store.truth_path(header.id)
    if not path.is_file():
        return None
    try:
        check_truth(read_truth(path, header.id), header.length)
    except (EpisodeCorrupt, ConfigError) as error:
        return EpisodeFinding(kind=Kind.TRUTH, episode=header.id, path=path, field="truth", problem=error.message)
    return None


def _duplicates(store: EpisodeStore, rows: Iterable[EpisodeRow]) -> Iterator[EpisodeFinding]:
    first: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row.id):
        twin = first.setdefault(row.content_sha256, row.id)
        if twin != row.id:
            problem = f"the same recording as episode {twin}, under other facts (seed, policy, source, ...)"
            yield EpisodeFinding(
                kind=Kind.DUPLICATE, episode=row.id, path=store.path(row.id), field="content", problem=problem
            )


def _orphans(store: EpisodeStore) -> Iterator[EpisodeFinding]:
    # Order matters beside a live commit: it holds its temporary file until the episode is there (`_ownerless`).
    for path in sorted((store.root / "truth").glob("*.json")):
        if not path.name.startswith(TMP_PREFIX) and _ownerless(store, path.stem):
            problem = "no episode of this id was committed"
            yield EpisodeFinding(kind=Kind.ORPHAN_TRUTH, episode=path.stem, path=path, field="truth", problem=problem)
    for path in sorted(store.root.glob(f"*/{TMP_PREFIX}*")):
        with abandoned(path) as dead:
            if dead:
                problem = f"{path.stat().st_size} bytes of a commit that did not finish"
                name = path.name.removeprefix(TMP_PREFIX).split(".")[0]
                yield EpisodeFinding(
                    kind=Kind.ORPHAN_TMP, episode=name or None, path=path, field="file", problem=problem
                )


def _ownerless(store: EpisodeStore, episode_id: str) -> bool:
    for tmp in store.root.glob(f"*/{TMP_PREFIX}{episode_id}.zip.*"):
        with abandoned(tmp) as dead:
            if not dead:
                return False
    return episode_id not in store.files()


def _episode_paths(store: EpisodeStore) -> list[Path]:
    found = (p for p in store.root.glob("*/*.zip") if p.parent.name not in RESERVED_FOLDERS)
    return sorted((p for p in found if not p.name.startswith(".")), key=lambda p: (p.name, p.parent.name))


def _repair(store: EpisodeStore, finding: EpisodeFinding, known: dict[str, EpisodeRow]) -> Repaired:
    path, lost = finding.path, ""
    if finding.kind is Kind.DUPLICATE:
        return Repaired(finding=finding, action="left in place", lost="")
    if finding.kind is Kind.FRAMING:
        return Repaired(finding=finding, action=_rewrite(store, path), lost="")
    if finding.kind is Kind.MISPLACED:
        home = store.root / str(read_header(path).facts["task"]) / path.name
        if not home.exists():
            home.parent.mkdir(exist_ok=True)
            move(path, home)
            return Repaired(finding=finding, action=f"moved to {home}", lost="")
    elif finding.kind is Kind.TRUTH:
        lost = f"the simulator's truth of episode {finding.episode}; the episode itself stays"
    elif finding.kind is Kind.ORPHAN_TMP:
        lost = f"the attempt that was being committed as {finding.episode}"
        with abandoned(path) as dead:
            if not dead:
                return Repaired(finding=finding, action="left in place: a live process writes it", lost="")
            if not path.stat().st_size:
                # Nothing is lost, and a process that has just made it, and waits for its lock, makes another.
                path.unlink()
                return Repaired(finding=finding, action="removed: it was empty", lost="")
            return Repaired(finding=finding, action=_set_aside(store, finding), lost=lost)
    elif finding.kind is not Kind.ORPHAN_TRUTH and not _kept_elsewhere(store, path):
        lost = _described(finding, known)
        truth = store.truth_path(path.stem)
        if truth.is_file():
            _set_aside(store, finding, path=truth)
    return Repaired(finding=finding, action=_set_aside(store, finding), lost=lost)


def _kept_elsewhere(store: EpisodeStore, path: Path) -> bool:
    """Whether another file in the store is of this episode: it keeps the episode, and its truth with it."""
    return any(one not in (path, store.quarantine / path.name) for one in store.root.glob(f"*/{path.name}"))


def _described(finding: EpisodeFinding, known: dict[str, EpisodeRow]) -> str:
    row = known.get(finding.episode or "")
    if row is None:
        return f"episode {finding.episode} of task '{finding.path.parent.name}'"
    return (
        f"episode {row.id}: {row.source.value} of '{row.task}', {row.length} steps, start seed {row.start_seed}, "
        f"policy {row.policy_id}"
    )


def _set_aside(store: EpisodeStore, finding: EpisodeFinding, *, path: Path | None = None) -> str:
    path = path or finding.path
    store.quarantine.mkdir(parents=True, exist_ok=True)
    name, count = path.name.lstrip("."), 0
    while (target := store.quarantine / (name if not count else f"{name}.{count}")).exists():
        count += 1
    reason = {
        "kind": finding.kind.value,
        "episode": finding.episode,
        "field": finding.field,
        "problem": finding.problem,
        "from": os.path.relpath(path, store.root),
    }
    write_atomic(target.with_name(target.name + ".reason.json"), canonical_json(reason))
    move(path, target)
    return f"quarantined to {target}"


def _rewrite(store: EpisodeStore, path: Path) -> str:
    header = read_header(path)
    content = encode_again(path, read_episode(path), header)
    write_atomic(path, content)
    store.index.append([row_of(header, content)])
    return "written afresh from its intact content"
