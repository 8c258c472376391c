"""A study whose settings are fixed: by the first cell that is run.

It is a file beside its cells, `study.json`: the study, and the settings of every run in it. A digest of what decides a
cell stands in the cell. What this recap would run otherwise is refused by name, so that all cells are of one study;
only a further task may join, which concerns no cell of the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.study.arms import run_settings, runs_of
from pipelines.study.config import STANDARD, STUDIES, StudyConfig
from recap.config import from_json, semantic_dict, to_json
from recap.errors import ConfigError
from recap.files import write_atomic
from recap.hashing import canonical_json, sha256_hex
from recap.workspace import check_name

_FILE = "study.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A study whose settings are fixed, and the folder of its cells."""

    name: str
    config: StudyConfig
    runs: Mapping[str, Any]
    """{"TASK": its definition; "TASK VARIANT ARMS": settings that decide the result of its runs, but for the seed}."""
    folder: Path
    written: Mapping[str, Any] | None = None
    """The study as its file says it; None of one that has none. A digest is of that, whatever settings came since."""

    def digest_of(self, task: str, variant: str) -> str:
        """Stands in the cells of a task in a variant: sha256 (hex) of what decides them."""
        study = {name: value for name, value in self._study().items() if name != "tasks"}
        runs = {key: run for key, run in self.runs.items() if key.split(" ")[:2] in ([task], [task, variant])}
        return sha256_hex(canonical_json({"name": self.name, "study": study, "runs": runs}))

    def _study(self) -> Mapping[str, Any]:
        written: Mapping[str, Any] = to_json(self.config) if self.written is None else self.written
        return written

    def _content(self) -> dict[str, Any]:
        return {"name": self.name, "study": self._study(), **self.runs}

    @classmethod
    def frozen(cls, name: str, results: Path) -> Study | None:
        """The study as it was frozen; None if no cell of it was ever run.

        Raises:
            ConfigError: its file cannot be read.
        """
        file = results / check_name("study", name) / _FILE
        if not file.is_file():
            return None
        try:
            content = json.loads(file.read_bytes())
            written = content.pop("study")
            config = from_json(StudyConfig, written)
            return cls(name=content.pop("name"), config=config, runs=content, folder=file.parent, written=written)
        except (ValueError, KeyError) as error:
            raise ConfigError(f"{file} is not a frozen study: {error}") from error

    @classmethod
    def current(cls, name: str, results: Path) -> Study:
        """The study as this recap would run it.

        Raises:
            UnknownName: no such study.
        """
        config = STUDIES.get(name)
        runs: dict[str, Any] = {}
        for task in config.tasks:
            runs[task] = _definition(task)
            for variant in (STANDARD, *config.variants):
                for everyone in runs_of(config, variant, config.arms_of(variant, 0)):
                    run = semantic_dict(run_settings(config, task, variant, everyone=everyone).config())
                    settings = {key: value for key, value in run.items() if key != "seed"}
                    runs[f"{task} {variant} {','.join(everyone)}"] = settings
        return cls(name=name, config=config, runs=runs, folder=results / name)

    @classmethod
    def planned(cls, name: str, results: Path) -> Study:
        """The study as it was frozen, else what its name stands for, with no cell and no settings looked at.

        Raises:
            UnknownName: no such study.
        """
        fixed = cls.frozen(name, results)
        return fixed or cls(name=name, config=STUDIES.get(name), runs={}, folder=results / name)

    def freeze(self) -> Study:
        """Writes the study down, or finds it written with the same settings; returns it as written.

        A setting that did not exist then, and stands at its default now, is no difference; a further task is added.

        Raises:
            ConfigError: it was frozen with other settings; names them.
        """
        written = Study.frozen(self.name, self.folder.parent)
        if written is None:
            write_atomic(self.folder / _FILE, lines_of(self._content()))
            return replace(self, written=self._study())
        joined = [task for task in self.config.tasks if task not in written.config.tasks]
        new = {key: run for key, run in self.runs.items() if key.partition(" ")[0] in joined}
        if joined:
            tasks = (*written.config.tasks, *joined)
            content = {**written._study(), "tasks": list(tasks)}
            written = replace(
                written, config=replace(written.config, tasks=tasks), runs={**written.runs, **new}, written=content
            )
        before, now = written._content(), self._content()
        different = sorted(_different(_today(before, now), now))
        if different:
            shown = ", ".join(different[:5]) + (f" and {len(different) - 5} more" if len(different) > 5 else "")
            raise ConfigError(
                f"study '{self.name}' was frozen with other settings than this recap would run it with: {shown}",
                hint=f"give the study another name, or go back to the settings in {self.folder / _FILE}",
            )
        if joined:
            write_atomic(self.folder / _FILE, lines_of(written._content()))
        return written


def _definition(task: str) -> dict[str, Any]:
    """What decides how hard a task is, beside code: its definition, with its revision, and its demonstrators."""
    from data.tasks import TASKS

    found = TASKS.get(task)
    return {**to_json(found.spec), "flawed_share": getattr(found, "flawed_share", None)}


def lines_of(content: Mapping[str, Any]) -> bytes:
    """JSON with one line per key: small, and readable in a diff."""
    rows = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    return ("{\n" + ",\n".join(rows) + "\n}\n").encode()


def _today(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What was frozen, with the defaults of settings that came since."""
    from pipelines.config import RunConfig

    today = dict(before)
    if "study" in before:
        today["study"] = to_json(from_json(StudyConfig, before["study"]))
    for key in before.keys() & now.keys() - {"name", "study", *now["study"]["tasks"]}:
        try:
            run = semantic_dict(from_json(RunConfig, {**before[key], "seed": 0}))
        except ConfigError:  # a setting that is gone or means something else: the comparison names it
            continue
        today[key] = {name: value for name, value in run.items() if name != "seed"}
    return today


def _different(a: Any, b: Any, path: str = "") -> Iterator[str]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in {**a, **b}:
            inner = f"{path}.{key}" if path else str(key)
            if key not in a or key not in b:
                yield inner
            else:
                yield from _different(a[key], b[key], inner)
    elif canonical_json(a) != canonical_json(b):
        yield path
