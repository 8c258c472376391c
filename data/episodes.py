"""The experience store: where an attempt becomes a committed episode and how it is found again.

    <root>/<task>/<id>.zip     one immutable file per episode (data/episode_file.py): the truth of the store
    <root>/truth/<id>.json     what only the simulator knows (data/truth_file.py); models are never given this path
    <root>/index/*.parquet     rows of facts, a cache (data/index.py)
    <root>/quarantine/         what `repair` took out of use, each with its reason

Any number of processes commit at once without talking to each other: names come from content, a name appears by one
rename, and equal content is the same file. Must not know labels, policies, or how an episode was made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from data.episode_contract import RESERVED_FOLDERS, check, check_truth
from data.episode_file import (
    Header,
    encode,
    encode_again,
    header_of,
    read_episode,
    read_header,
    read_numbers,
    through_codec,
)
from data.image_codec import LOSSLESS, ImageCodec
from data.index import EpisodeIndex, EpisodeRow, row_of
from data.truth_file import encode_truth, read_truth
from recap import faults
from recap.errors import ConfigError, EpisodeCorrupt, UnknownName
from recap.files import claimed_tmp, sync, write_all, write_atomic
from recap.types import BoolArray, Episode, EpisodeDraft, FloatArray, PrivilegedTruth


class EpisodeStore:
    """Episodes under `root`. Holds no open file and no state: cheap to make, safe to pickle, safe in any process.

    Example:
        store = EpisodeStore(workspace.episodes)
        episode_id = store.commit(draft, truth)
        episode = store.load(episode_id)        # numbers now, episode.frames["cam_high"] on access
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.index = EpisodeIndex(self.root / "index")
        self.quarantine = self.root / "quarantine"

    def commit(self, draft: EpisodeDraft, truth: PrivilegedTruth | None = None, *, codec: ImageCodec = LOSSLESS) -> str:
        """Stores `draft` and returns its id; from then on it survives a power cut. Equal content twice is one file.

        With a lossy codec the episode is what the codec gives back, and the id is of that.

        Raises:
            ConfigError: a field breaks the episode contract (named), or another truth is already kept for the episode.
        """
        check(draft)
        header = header_of(through_codec(draft, codec))
        return self._keep(header, truth, lambda: encode(draft, header, codec))

    def id_of(self, draft: EpisodeDraft) -> str:
        """The id that `commit` would give a draft; stores nothing.

        Raises:
            ConfigError: as `commit`.
        """
        check(draft)
        return header_of(draft).id

    def import_episode(self, source: Path, truth: PrivilegedTruth | None = None) -> Episode:
        """Commits the episode in a file of another store and returns it, its frames decoded.

        It is read in full and proved first. JPEG images stay the files they are: encoding them again would lose more.

        Raises:
            EpisodeCorrupt: the file is not what was committed there.
            ConfigError: as `commit`.
        """
        stored = read_episode(source)
        # Decoded and proved once here; a stored episode would decode its images at every access.
        episode = replace(stored, frames=dict(stored.frames))
        check(episode)
        header = read_header(source)
        self._keep(header, truth, lambda: encode_again(source, episode, header))
        return episode

    def _keep(self, header: Header, truth: PrivilegedTruth | None, content_of: Callable[[], bytes]) -> str:
        if truth is not None:
            check_truth(truth, header.length)
        final = self.root / str(header.facts["task"]) / f"{header.id}.zip"
        # The claim also tells a repair running beside us that a truth without an episode is about to get one.
        with claimed_tmp(final) as (tmp, handle):
            if truth is not None:
                self._commit_truth(header.id, truth)
            if self._stored_whole(final, header):
                return header.id
            content = content_of()
            write_all(handle, content)
            faults.point("episodes.before_fsync")
            os.fsync(handle)
            faults.point("episodes.before_rename")
            tmp.rename(final)
            faults.point("episodes.after_rename")
        sync(final.parent)
        sync(self.root)
        self.index.append([row_of(header, content)])
        return header.id

    def ids(self, *, task: str | None = None) -> tuple[str, ...]:
        """Ids of the committed episodes, sorted. Looks at names only."""
        return tuple(sorted(i for i, path in self.files().items() if task is None or path.parent.name == task))

    def files(self) -> dict[str, Path]:
        """{id: path} of the committed episodes, in order of id."""
        found = {
            path.stem: path
            for path in sorted(self.root.glob("*/*.zip"))
            if path.parent.name not in RESERVED_FOLDERS and not path.name.startswith(".")
        }
        return dict(sorted(found.items()))

    def path(self, episode_id: str) -> Path:
        """The file of an episode; UnknownName with the nearest id if there is none."""
        for folder in self.root.iterdir() if self.root.is_dir() else ():
            path = folder / f"{episode_id}.zip"
            if folder.name not in RESERVED_FOLDERS and path.is_file():
                return path
        raise UnknownName.among("episode", episode_id, self.ids(), hint="recap data verify")

    def resolve(self, prefix: str) -> str:
        """The one id that begins with `prefix`; UnknownName if none does, ConfigError if several do."""
        matching = [episode_id for episode_id in self.ids() if episode_id.startswith(prefix)]
        if not matching:
            raise UnknownName.among("episode", prefix, self.ids())
        if len(matching) > 1:
            raise ConfigError(f"episode '{prefix}' is ambiguous: {len(matching)} ids begin so, {matching[0]} the first")
        return matching[0]

    def load(self, episode_id: str) -> Episode:
        """The episode: state, action and intervened are read and proved now, each camera when it is accessed.

        Raises:
            UnknownName: no such episode.
            EpisodeCorrupt: here, or at the access of a camera: the file is not what was committed.
        """
        return read_episode(self.path(episode_id))

    def numbers(self, episode_id: str) -> tuple[FloatArray, FloatArray, BoolArray]:
        """State [T, S], action [T, A] and intervened [T]; no image is decoded."""
        path = self.path(episode_id)
        return read_numbers(path, read_header(path))

    def header(self, episode_id: str) -> Header:
        """Facts, array shapes and software versions, from the file itself."""
        return read_header(self.path(episode_id))

    def info(self, episode_id: str) -> EpisodeRow:
        """The row of one episode."""
        return self.index.rows({episode_id: self.path(episode_id)})[episode_id]

    def rows(self, ids: Iterable[str] | None = None) -> list[EpisodeRow]:
        """Rows of `ids` (all episodes by default), in order of id. Decodes nothing.

        Raises:
            UnknownName: an id that is not in the store.
            EpisodeCorrupt: a file unknown to the index has no readable header.
        """
        files = self.files()
        if ids is not None:
            files = {episode_id: self._file(files, episode_id) for episode_id in sorted(set(ids))}
        return list(self.index.rows(files).values())

    def rebuild_index(self) -> int:
        """Makes every row again from the files; the number of rows."""
        self.index.clear()
        return len(self.rows())

    def truth(self, episode_id: str) -> PrivilegedTruth:
        """What the simulator knows of the episode; UnknownName if nothing was recorded."""
        path = self.truth_path(episode_id)
        if not path.is_file():
            self.path(episode_id)
            raise UnknownName(f"episode {episode_id} has no privileged truth: it was not recorded in simulation")
        return read_truth(path, episode_id)

    def has_truth(self, episode_id: str) -> bool:
        """Whether a truth was recorded with the episode."""
        return self.truth_path(episode_id).is_file()

    def truth_path(self, episode_id: str) -> Path:
        """Where the truth of an episode lies, if it has one."""
        return self.root / "truth" / f"{episode_id}.json"

    def _file(self, files: Mapping[str, Path], episode_id: str) -> Path:
        if episode_id not in files:
            raise UnknownName.among("episode", episode_id, files, hint="recap data verify")
        return files[episode_id]

    def _stored_whole(self, final: Path, header: Header) -> bool:
        """True if `final` already holds the episode, every array proved; a bad file is left to be replaced."""
        if not final.exists():
            return False
        try:
            episode = read_episode(final)
            for camera in episode.frames:
                episode.frames[camera]
        except EpisodeCorrupt:
            return False
        return True

    def _commit_truth(self, episode_id: str, truth: PrivilegedTruth) -> None:
        path = self.truth_path(episode_id)
        content = encode_truth(episode_id, truth)
        if path.is_file() and path.read_bytes() != content:
            try:
                stored = read_truth(path, episode_id)
            except EpisodeCorrupt:
                stored = None  # replaced below by the good one
            # What a recap before this one did not note (neutral events) does not make it another verdict.
            if stored is not None and _verdict(episode_id, stored) != _verdict(episode_id, truth):
                raise ConfigError(
                    f"episode {episode_id} is already stored with another truth ({path}): one recording, two verdicts",
                    hint=f"recap data show {episode_id[:12]}",
                )
        elif path.is_file():
            return
        write_atomic(path, content)


def _verdict(episode_id: str, truth: PrivilegedTruth) -> bytes:
    """What a truth says but for its neutral events."""
    return encode_truth(episode_id, replace(truth, events=tuple(event for event in truth.events if event.kind)))
