"""One generated dataset, read by LeRobot and taken in by an import: where the two disagree.

python lerobot_compare.py SEED ...     shows the plan and the disagreements of seeds
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from lerobot_folders import numbers_of, without_gaps, write_folder
from lerobot_plans import Plan, draw

from data.episodes import EpisodeStore
from data.tasks import TASKS
from data.verify import verify
from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest
from recap.errors import ConfigError

TASK = "generated"


class Oracle:
    """LeRobot in a process of its own. Use as a context manager."""

    def __init__(self, scratch: Path) -> None:
        self._out = scratch / "answer.npz"
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("lerobot_oracle.py")), str(scratch / "hf")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> Oracle:
        return self

    def __exit__(self, *args: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def ask(self, root: Path, *, whole: bool = False, convert: bool = False) -> None:
        """Has it read a folder; `answer` waits for what it gives.

        Args:
            root: the folder.
            whole: by LeRobotDataset throughout, its cache included.
            convert: from 2.1 to 3.0 first, in place, by LeRobot's script.
        """
        assert self._process.stdin is not None
        asked = {"root": str(root), "out": str(self._out), "whole": whole, "convert": convert}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Answer:
        """What it gives for the rows of the folder it was asked for."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"LeRobot's process ended with {self._process.wait(10)}"
        error = json.loads(line)["error"]
        return Answer(error, {} if error else dict(np.load(self._out, allow_pickle=False)))


@dataclass
class Given:
    """What LeRobot gives for the rows of one episode."""

    refused: str
    """Why it does not give one of them; "" if it gives all."""
    columns: dict[str, Any]
    """{column: [T, ...]} of those that it gives."""


@dataclass
class Answer:
    """Of LeRobot for one folder."""

    error: str
    """Why it does not open the folder; "" if it does."""
    columns: dict[str, Any]
    """{column: [T, ...]} of the rows that it gives; of all rows `errors`: "" or why it does not give one, and
    `episodes`: whose they are."""

    def of(self, number: int) -> Given:
        """Its rows of one episode, by episode_index."""
        if self.error:
            return Given(self.error, {})
        columns = dict(self.columns)
        errors, episodes = columns.pop("errors"), columns.pop("episodes")
        del columns["missed"]
        refused = next((str(error) for error in errors[episodes == number] if error), "")
        rows = episodes[errors == ""] == number
        return Given(refused, {name: values[rows] for name, values in columns.items()})


@dataclass
class Verdict:
    """What came of one plan."""

    plan: Plan
    read: int = 0
    """Episodes of which LeRobot gives every row."""
    taken: int = 0
    """Of these, how many were taken in."""
    expected: int = 0
    """Of these, how many have nothing that may be refused."""
    missed: int = 0
    """Rows whose picture LeRobot's seek misses: it gives them if it decodes from the beginning."""
    wrong: list[str] = field(default_factory=list)
    """Disagreements, in words."""
    refusals: Counter[str] = field(default_factory=Counter)
    """{message, numbers left out: episodes}"""

    def __str__(self) -> str:
        return "\n".join([f"seed {self.plan.seed}: {self.plan}", *(f"  {line}" for line in self.wrong)])


def check(plan: Plan, scratch: Path, oracle: Oracle, *, whole: bool = False) -> Verdict:
    """Writes the folder of a plan below `scratch`, has both read it, and compares."""
    shutil.rmtree(scratch, ignore_errors=True)
    folder = twin = scratch / "dataset"
    wandering = write_folder(folder, plan)
    if plan.gaps:
        # Numbers with gaps: LeRobot reads the same dataset without.
        twin = scratch / "twin"
        write_folder(twin, without_gaps(plan))
    oracle.ask(twin, whole=whole)
    verdict = Verdict(plan)
    with _task_folders_kept():
        imported = _import(folder, scratch / "workspace", verdict)
        answer = oracle.answer()
        verdict.missed = int(answer.columns.get("missed", 0))
        for place, number in enumerate(numbers_of(plan)):
            of_answer = place if plan.gaps else number
            free = place in wandering or plan.may_be_refused(place)
            _compare(verdict, answer.of(of_answer), number, imported, free=free)
        verdict.wrong += [f"verify: {finding}" for finding in verify(imported.store)]
    return verdict


def simplest(verdict: Verdict, scratch: Path, oracle: Oracle) -> Verdict:
    """The plan with as many fields made plain as still gives a disagreement of the first one's kind."""
    kind = _kind(verdict.wrong[0])
    for plan in verdict.plan.simpler():
        simpler = check(plan, scratch, oracle)
        if len(plan.unusual()) < len(verdict.plan.unusual()) and kind in map(_kind, simpler.wrong):
            return simplest(simpler, scratch, oracle)
    return verdict


def _kind(message: str) -> str:
    return re.sub(r"/\S+|[0-9.]+|\n.*", "_", message)


@contextmanager
def _task_folders_kept() -> Iterator[None]:
    """An import has the task files of its workspace searched; afterwards they are not."""
    searched = os.environ.get("RECAP_TASKS")
    try:
        yield
    finally:
        os.environ.pop("RECAP_TASKS", None)
        if searched is not None:
            os.environ["RECAP_TASKS"] = searched


@dataclass
class Imported:
    """What an import made of a folder."""

    store: EpisodeStore
    ids: dict[int, str] = field(default_factory=dict)
    """{number: episode id}"""
    left_out: dict[int, str] = field(default_factory=dict)
    """{number: why}"""
    refusal: str = ""
    """Of the last attempt; "" if it took some."""


def _import(folder: Path, workspace: Path, verdict: Verdict) -> Imported:
    """Imports what can be taken. Any other error than a ConfigError that says what and where is a disagreement."""
    imported = Imported(EpisodeStore(workspace / "episodes"))
    request = ImportRequest(dataset=folder, task=TASK, jpeg_quality=None)
    for asked in (request, dataclasses.replace(request, skip_broken=True)):
        try:
            result = import_dataset(workspace, asked, lambda line: None)
        except ConfigError as error:
            imported.refusal = error.message
            if str(folder) not in error.message or "episode" not in error.message:
                verdict.wrong.append(f"a refusal that does not name folder and episode: {error.message}")
            if not error.hint:
                verdict.wrong.append(f"a refusal that does not say what to type: {error.message}")
        except Exception as error:
            verdict.wrong.append(f"{type(error).__name__}: {error}")
        else:
            imported.ids, imported.left_out, imported.refusal = result.ids, result.left_out, ""
            break
    return imported


def _compare(verdict: Verdict, given: Given, number: int, imported: Imported, *, free: bool) -> None:
    """One episode; `free` if it may be refused."""
    verdict.read += not given.refused
    verdict.expected += not (given.refused or free)
    if number not in imported.ids:
        said = imported.left_out.get(number, imported.refusal)
        # By its number, or with all others by the meta file that cannot be read.
        if f"episode {number}" not in said and "/dataset/meta/" not in said:
            verdict.wrong.append(f"episode {number} was left out and not named: {said!r}")
        if not given.refused:
            verdict.refusals[_kind(said)] += 1
            if not free:
                verdict.wrong.append(f"episode {number} is read by LeRobot and was refused: {said}")
        return
    if given.refused:
        verdict.wrong.append(f"episode {number} was taken, LeRobot refuses a row: {given.refused}")
        return
    verdict.taken += 1
    episode = imported.store.load(imported.ids[number])
    told = episode.instruction or TASKS.get(TASK).spec.prompt
    usual = Counter(given.columns["task"].tolist()).most_common(1)[0][0]
    if told != usual:
        verdict.wrong.append(f"episode {number} was told {told!r}, LeRobot's rows mostly {usual!r}")
    stored = {"observation.state": episode.state, "action": episode.action}
    stored |= {f"observation.images.{camera}": frames for camera, frames in episode.frames.items()}
    if len(stored) != 2 + verdict.plan.cameras:
        verdict.wrong.append(f"episode {number} has cameras {sorted(episode.frames)}")
    for name, found in stored.items():
        wanted = _as_stored(name, given.columns[name])
        if found.dtype != wanted.dtype or not np.array_equal(found, wanted):
            verdict.wrong.append(f"episode {number}, {name}: {_difference(np.asarray(found), wanted)}")


def _as_stored(name: str, given: Any) -> Any:
    """Pictures [T, h, w, 3] uint8, numbers [T, N] float32."""
    if not name.startswith("observation.images."):
        return given.astype(np.float32)
    pictures = given.transpose(0, 2, 3, 1)
    if pictures.dtype != np.uint8:
        pictures = np.rint(pictures * 255).astype(np.uint8)
    return np.repeat(pictures, 3, axis=3) if pictures.shape[3] == 1 else pictures


def _difference(found: Any, given: Any) -> str:
    if found.shape != given.shape or found.dtype != given.dtype:
        return f"{found.dtype} {found.shape}, LeRobot gives {given.dtype} {given.shape}"
    rows = [t for t in range(len(found)) if not np.array_equal(found[t], given[t])]
    where = [next((u for u in range(len(given)) if np.array_equal(found[t], given[u])), None) for t in rows]
    return f"rows {rows} differ; what is stored there is LeRobot's row {where}"


def main(seeds: list[int]) -> None:
    """Prints what is found of each seed, and the totals."""
    import tempfile
    import time

    began, totals, refusals = time.monotonic(), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as scratch, Oracle(Path(scratch)) as oracle:
        for seed in seeds:
            verdict = check(draw(seed), Path(scratch) / "case", oracle)
            totals += Counter(
                plans=1,
                missed=verdict.missed,
                read=verdict.read,
                taken=verdict.taken,
                expected=verdict.expected,
                wrong=bool(verdict.wrong),
            )
            refusals += verdict.refusals
            if verdict.wrong or len(seeds) < 5:
                print(verdict)  # noqa: T201
    for message, count in refusals.most_common():
        print(f"{count:5} refused although read: {message}")  # noqa: T201
    print(dict(totals), f"{time.monotonic() - began:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main([s for text in sys.argv[1:] for s in range(int(text.split("-")[0]), int(text.split("-")[-1]) + 1)])
