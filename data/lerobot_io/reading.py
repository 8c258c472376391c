"""One recorded episode of a LeRobotDataset as an EpisodeDraft, with what the dataset says of its outcome."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.lerobot_io.folder import EpisodeEntry, LeRobotFolder
from data.lerobot_io.mapping import DatasetMapping, check_mapping, outcome_per_frame, picture_shape, width_of
from data.lerobot_io.tables import EpisodeTable, EpisodeTables
from data.lerobot_io.video import read_frames
from data.resize import letterbox
from recap.errors import ConfigError
from recap.hashing import canonical_json
from recap.types import BoolArray, EpisodeDraft, FloatArray, FrameArray, Outcome, Source

_FLAGS = {True: Outcome.SUCCESS, False: Outcome.FAILURE}


class DatasetReader:
    """Reads episodes of `folder` by `mapping`; ConfigError at once if the dataset cannot give what it asks for.

    Example:
        reader = DatasetReader(open_folder("recordings"), mapping)
        for entry in reader.folder.episodes:
            store.commit(reader.draft(entry))
    """

    def __init__(self, folder: LeRobotFolder, mapping: DatasetMapping) -> None:
        check_mapping(folder, mapping)
        self.folder = folder
        self.mapping = mapping
        columns = list(mapping.columns())
        if mapping.outcome and outcome_per_frame(folder, mapping.outcome):
            columns.append(mapping.outcome)
        self._tables = EpisodeTables(folder, columns)
        self._digests: dict[Path, str] = {}

    def check(self, entry: EpisodeEntry) -> None:
        """Raises ConfigError if the tables of the episode are not right; no picture is decoded."""
        table = self._tables.episode(entry)
        self._side_by_side(table, self.mapping.state)
        self._side_by_side(table, self.mapping.action)
        self._who_acted(table, entry)
        self.outcome(entry)

    def draft(self, entry: EpisodeEntry) -> EpisodeDraft:
        """The episode, its pictures decoded.

        Raises:
            ConfigError: anything of it is not what the meta files say, or is no experience (NaN, no frame, ...).
        """
        table, mapping = self._tables.episode(entry), self.mapping
        state = self._side_by_side(table, mapping.state)
        action = self._side_by_side(table, mapping.action)
        source, intervened = self._who_acted(table, entry)
        return EpisodeDraft(
            task=mapping.task,
            robot=mapping.robot,
            source=source,
            policy_id=mapping.policy_id,
            rate_hz=self.folder.fps,
            start_seed=None,
            renderer=None,
            state=state,
            action=action,
            intervened=intervened,
            frames={camera: self._frames(table, entry, name) for camera, name in sorted(mapping.cameras.items())},
            software={
                **mapping.software,
                "origin": f"LeRobotDataset {self.folder.version} {self.folder.root.name}, episode {entry.index}",
            },
        )

    def outcome(self, entry: EpisodeEntry) -> Outcome | None:
        """What the outcome column says; None where it says nothing or there is none.

        Raises:
            ConfigError: a value that is no outcome.
        """
        name = self.mapping.outcome
        if not name:
            return None
        per_frame = outcome_per_frame(self.folder, name)
        value = self._tables.episode(entry).last(name) if per_frame else entry.facts.get(name)
        return outcome_of(value, where=f"{self.folder.root}: episode {entry.index}, {name}")

    def fingerprint(self, entry: EpisodeEntry) -> str:
        """sha256 (hex) of everything an import of the episode depends on, pictures undecoded.

        Raises:
            ConfigError: its table cannot be read.
        """
        mapping = self.mapping
        table = self._tables.episode(entry)
        digest = hashlib.sha256()
        settings = {
            "task": mapping.task,
            "robot": mapping.robot,
            "source": mapping.source.value,
            "policy": mapping.policy_id,
            "state": list(mapping.state),
            "action": list(mapping.action),
            "intervention": mapping.intervention,
            "image_size": None if mapping.image_size is None else list(mapping.image_size),
            "fps": self.folder.fps,
        }
        digest.update(canonical_json(settings))
        for part in table.digestible(mapping.columns()):
            digest.update(hashlib.sha256(part).digest())
        for camera, name in sorted(mapping.cameras.items()):
            span = entry.videos.get(name)
            file, start = (entry.table, 0.0) if span is None else (span.path, span.start_s)
            facts = {"camera": camera, "feature": name, "start": start, "length": entry.length, "index": entry.index}
            digest.update(canonical_json({**facts, "file": self._file_digest(file)}))
        return digest.hexdigest()

    def _file_digest(self, file: Path) -> str:
        if file not in self._digests:
            with file.open("rb") as opened:
                self._digests[file] = hashlib.file_digest(opened, "sha256").hexdigest()
        return self._digests[file]

    def _side_by_side(self, table: EpisodeTable, names: tuple[str, ...]) -> FloatArray:
        parts = [table.vectors(name, width_of(self.folder, (name,))) for name in names]
        return np.ascontiguousarray(np.concatenate(parts, axis=1))

    def _who_acted(self, table: EpisodeTable, entry: EpisodeEntry) -> tuple[Source, BoolArray]:
        source = self.mapping.source
        if not self.mapping.intervention:
            return source, np.full(entry.length, source is Source.DEMO, dtype=np.bool_)
        intervened = table.flags(self.mapping.intervention)
        # As in simulation: an attempt nobody stepped into is a rollout, whatever it was watched by.
        return Source.CORRECTION if intervened.any() else Source.ROLLOUT, intervened

    def _frames(self, table: EpisodeTable, entry: EpisodeEntry, name: str) -> FrameArray:
        h, w = picture_shape(self.folder.features[name])
        height, width = self.mapping.image_size or (h, w)
        frames = np.empty((entry.length, height, width, 3), dtype=np.uint8)
        for t, picture in enumerate(self._pictures(table, entry, name, (h, w))):
            frames[t] = letterbox(picture[None], height, width)[0]
        return frames

    def _pictures(
        self, table: EpisodeTable, entry: EpisodeEntry, name: str, shape: tuple[int, int]
    ) -> Iterator[FrameArray]:
        if name not in entry.videos:
            yield from table.pictures(name, shape)
            return
        where = f"{self.folder.root}: episode {entry.index}, {name}"
        yield from read_frames(entry.videos[name], length=entry.length, fps=self.folder.fps, shape=shape, where=where)


def outcome_of(value: Any, *, where: str) -> Outcome | None:
    """The outcome that a cell says: true or 1, false or 0, one of the three words; None for an empty cell.

    Raises:
        ConfigError: anything else.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        word = value.strip().lower()
        if word in [outcome.value for outcome in Outcome]:
            return Outcome(word)
    elif isinstance(value, bool | int | float) and value in (0, 1):
        return _FLAGS[bool(value)]
    raise ConfigError(
        f"{where}: {value!r} is no outcome, expected true, false, 1, 0, 'success', 'failure', 'aborted' or nothing"
    )
