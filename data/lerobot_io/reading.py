"""One recorded episode of a LeRobotDataset as an EpisodeDraft, with what the dataset says of its outcome."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data.lerobot_io.folder import EpisodeEntry, LeRobotFolder, VideoSpan
from data.lerobot_io.mapping import DatasetMapping, check_mapping, outcome_per_frame, picture_shape
from data.lerobot_io.tables import EpisodeTable, EpisodeTables
from data.lerobot_io.video import TOLERANCE_S, read_frames
from data.lerobot_io.wordings import Told, told_in
from data.outcomes import outcome_of, outcome_of_frames
from data.resize import letterbox
from recap.errors import ConfigError
from recap.hashing import canonical_json
from recap.types import BoolArray, EpisodeDraft, FloatArray, FrameArray, Outcome, Source


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
        self._tables = EpisodeTables(folder, columns, nominal_times_s=mapping.nominal_times_s)
        self._digests: dict[Path, str] = {}
        self._in_film: dict[Path, list[EpisodeEntry]] = {}
        for entry in folder.episodes:
            for path in {span.path for span in entry.videos.values()}:
                self._in_film.setdefault(path, []).append(entry)

    def check(self, entry: EpisodeEntry) -> None:
        """Raises ConfigError if a file of the episode is missing or its tables are not right; decodes no picture."""
        self._check_files(entry)
        table = self._tables.episode(entry)
        self._side_by_side(table, self.mapping.state)
        self._side_by_side(table, self.mapping.action)
        self._who_acted(table, entry)
        self._check_film_times(table, entry)
        self.outcome(entry)

    def has_pictures(self, entry: EpisodeEntry, name: str) -> bool:
        """Whether the file that holds the pictures of a feature is there."""
        if self.folder.features[name].dtype != "video":
            return entry.table.is_file()
        return name in entry.videos and entry.videos[name].path.is_file()

    def told(self, entry: EpisodeEntry) -> Told:
        """What the episode was told.

        Raises:
            ConfigError: nothing says which frame was told what, or two files contradict each other.
        """
        return told_in(self.folder, entry, self._tables.episode(entry))

    def jitter_s(self, entry: EpisodeEntry) -> float:
        """How far a row's recorded time lies from its nominal time at most, in seconds."""
        return self._tables.episode(entry).jitter_s

    def draft(self, entry: EpisodeEntry, *, instruction: str | None = None) -> EpisodeDraft:
        """The episode, its pictures decoded.

        Args:
            entry: which.
            instruction: what the robot was told; None: the prompt of its task.

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
            instruction=instruction,
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
            ConfigError: a value that is no outcome, or frames that say one thing and then another.
        """
        name = self.mapping.outcome
        if not name:
            return None
        where = f"{self.folder.root}: episode {entry.index}, {name}"
        if outcome_per_frame(self.folder, name):
            return outcome_of_frames(self._tables.episode(entry).values(name), self.mapping.outcome_rule, where=where)
        return outcome_of(entry.facts.get(name), where=where)

    def fingerprint(self, entry: EpisodeEntry) -> str:
        """sha256 (hex) of everything an import of the episode depends on, pictures undecoded.

        Raises:
            ConfigError: its table cannot be read.
        """
        mapping = self.mapping
        table = self._tables.episode(entry)
        digest = hashlib.sha256()
        digest.update(canonical_json(self.settings()))
        digest.update(table.times.tobytes())
        for part in table.digestible(mapping.columns()):
            digest.update(hashlib.sha256(part).digest())
        for camera, name in sorted(mapping.cameras.items()):
            digest.update(canonical_json({"camera": camera, "feature": name, **self._film(entry, name)}))
        return digest.hexdigest()

    def settings(self) -> dict[str, Any]:
        """How all episodes are read: what of the mapping is part of a fingerprint, beside columns and cameras."""
        mapping = self.mapping
        return {
            "task": mapping.task,
            "robot": mapping.robot,
            "source": mapping.source.value,
            "policy": mapping.policy_id,
            "state": list(mapping.state),
            "action": list(mapping.action),
            "intervention": mapping.intervention,
            "image_size": None if mapping.image_size is None else list(mapping.image_size),
            "fps": self.folder.fps,
            "nominal_times_s": mapping.nominal_times_s,
        }

    def films(self, entry: EpisodeEntry) -> list[str]:
        """sha256 (hex) of each film of the episode, undecoded: another reading of a recording has them too."""
        names = sorted(set(self.mapping.cameras.values()))
        return [hashlib.sha256(canonical_json(self._film(entry, name))).hexdigest() for name in names]

    def _film(self, entry: EpisodeEntry, name: str) -> dict[str, Any]:
        span = entry.videos.get(name)
        file, start = (entry.table, 0.0) if span is None else (span.path, span.start_s)
        return {"start": start, "length": entry.length, "index": entry.index, "file": self._file_digest(file)}

    def _films(self, entry: EpisodeEntry) -> Iterator[tuple[str, VideoSpan]]:
        """(feature, where its pictures lie) for each film that is asked for; the others may be missing."""
        for name in self.mapping.cameras.values():
            if self.folder.features[name].dtype != "video":
                continue
            if name in entry.placeless:
                raise ConfigError(entry.placeless[name])
            yield name, entry.videos[name]

    def _check_files(self, entry: EpisodeEntry) -> None:
        files = dict.fromkeys([entry.table, *(span.path for _, span in self._films(entry))])
        missing = [str(file.relative_to(self.folder.root)) for file in files if not file.is_file()]
        if missing:
            verb = "is" if len(missing) == 1 else "are"
            raise ConfigError(f"{self.folder.root}: episode {entry.index}: {', '.join(missing)} {verb} missing")

    def _check_film_times(self, table: EpisodeTable, entry: EpisodeEntry) -> None:
        """Row times that lead beyond the episode's end in a film and into another episode are of another film."""
        for name, span in self._films(entry):
            first, last = span.start_s + table.times[0], span.start_s + table.times[-1]
            for other in self._in_film[span.path]:
                place = other.videos.get(name)
                if other.index == entry.index or place is None or place.path != span.path:
                    continue
                if last > span.end_s - TOLERANCE_S and span.end_s < place.end_s and place.start_s <= last + TOLERANCE_S:
                    raise ConfigError(
                        f"{self.folder.root}: episode {entry.index}, {name}: its rows stand for {first:.4f} to "
                        f"{last:.4f} s of {span.path}, where episode {other.index} begins at {place.start_s:.4f} s"
                    )

    def _file_digest(self, file: Path) -> str:
        if file not in self._digests:
            with file.open("rb") as opened:
                self._digests[file] = hashlib.file_digest(opened, "sha256").hexdigest()
        return self._digests[file]

    def _side_by_side(self, table: EpisodeTable, names: tuple[str, ...]) -> FloatArray:
        parts = [table.vectors(name, self.folder.features[name].shape) for name in names]
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
        span, nominal = entry.videos[name], self.mapping.nominal_times_s
        yield from read_frames(
            span.path,
            (span.start_s + table.times).tolist(),
            tolerance_s=TOLERANCE_S if nominal is None else nominal,
            shape=shape,
            where=f"{self.folder.root}: episode {entry.index}, {name}",
        )
