"""One generated dataset, read by LeRobot and taken in by an import: where the two disagree.

python lerobot_compare.py SEED ...     shows the plan and the disagreements of seeds
"""

from __future__ import annotations

import json
import os
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
from pipelines.dataset_import import import_dataset
from pipelines.import_plan import ImportRequest, ImportResult
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

    def ask(self, root: Path, *, whole: bool = False, convert: bool = False) -> Answer:
        """What LeRobot gives for the rows of a folder.

        Args:
            root: the folder.
            whole: by LeRobotDataset throughout, its cache included.
            convert: from 2.1 to 3.0 first, in place, by LeRobot's script.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"root": str(root), "out": str(self._out), "whole": whole, "convert": convert}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"LeRobot's process ended with {self._process.wait(10)} at {root}"
        error = json.loads(line)["error"]
        return Answer(error, {} if error else dict(np.load(self._out, allow_pickle=False)))


@dataclass
class Answer:
    """Of LeRobot for one folder."""

    error: str
    """Why it does not open the folder; "" if it does."""
    columns: dict[str, Any]
    """{column: [T, ...]} of the rows that it gives; of all rows `errors`: "" or why it does not give one, and
    `episodes`: whose they are."""

    def refused(self, number: int) -> str:
        """Why it does not give a row of an episode; "" if it gives all."""
        if self.error:
            return self.error
        errors = self.columns["errors"][self.columns["episodes"] == number]
        return next((str(error) for error in errors if error), "")

    def rows_of(self, number: int) -> Any:
        """Which of the rows that it gives are of an episode."""
        index = self.columns.get("episode_index")
        return np.zeros(0, dtype=np.int64) if index is None else np.flatnonzero(index == number)


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
    wrong: list[str] = field(default_factory=list)
    """Disagreements, in words."""
    refusals: Counter[str] = field(default_factory=Counter)
    """{message, numbers left out: episodes}"""

    def __str__(self) -> str:
        return "\n".join([f"seed {self.plan.seed}: {self.plan}", *(f"  {line}" for line in self.wrong)])


def check(plan: Plan, scratch: Path, oracle: Oracle, *, whole: bool = False) -> Verdict:
    """Writes the folder of a plan below `scratch`, has both read it, and compares."""
    shutil.rmtree(scratch, ignore_errors=True)
    folder = write_folder(scratch / "dataset", plan)
    # Numbers with gaps: LeRobot reads the same dataset without.
    answer = oracle.ask(write_folder(scratch / "twin", without_gaps(plan)) if plan.gaps else folder, whole=whole)
    verdict = Verdict(plan)
    with _imported(folder, scratch / "workspace", verdict) as (result, store):
        for place, number in enumerate(numbers_of(plan)):
            _compare(verdict, answer, place, number, result, store)
        verdict.wrong += [f"verify: {finding}" for finding in verify(store)]
    return verdict


@contextmanager
def _imported(folder: Path, workspace: Path, verdict: Verdict) -> Iterator[tuple[ImportResult | None, EpisodeStore]]:
    """Imports what can be taken; the result is None if nothing can. Other errors than ConfigError are disagreements."""
    searched = os.environ.get("RECAP_TASKS")
    try:
        yield _import(folder, workspace, verdict), EpisodeStore(workspace / "episodes")
    finally:
        if searched is None:
            os.environ.pop("RECAP_TASKS", None)
        else:
            os.environ["RECAP_TASKS"] = searched


def _import(folder: Path, workspace: Path, verdict: Verdict) -> ImportResult | None:
    request = ImportRequest(dataset=folder, task=TASK, jpeg_quality=None)
    for asked in (request, _skipping(request)):
        try:
            return import_dataset(workspace, asked, lambda line: None)
        except ConfigError as error:
            if str(folder) not in error.message or "episode" not in error.message:
                verdict.wrong.append(f"a refusal that does not name folder and episode: {error.message}")
            if not error.hint:
                verdict.wrong.append(f"a refusal that does not say what to type: {error.message}")
        except Exception as error:  # noqa: BLE001 the finding is that it is no ConfigError
            verdict.wrong.append(f"{type(error).__name__}: {error}")
    return None


def _skipping(request: ImportRequest) -> ImportRequest:
    import dataclasses

    return dataclasses.replace(request, skip_broken=True)


def _compare(
    verdict: Verdict, answer: Answer, place: int, number: int, result: ImportResult | None, store: EpisodeStore
) -> None:
    asked = place if verdict.plan.gaps else number
    rows, refused = answer.rows_of(asked), answer.refused(asked)
    if not refused:
        verdict.read += 1
        verdict.expected += not verdict.plan.may_be_refused
    if result is None or number not in result.ids:
        said = "" if result is None else result.left_out.get(number, "")
        verdict.refusals[_plain(said)] += not refused
        if result is not None and (str(number) not in said or "episode" not in said):
            verdict.wrong.append(f"episode {number} was left out without its name: {said!r}")
        if not refused and not verdict.plan.may_be_refused:
            verdict.wrong.append(f"episode {number} is read by LeRobot and was refused: {said}")
        return
    if refused:
        verdict.wrong.append(f"episode {number} was taken, LeRobot refuses a row: {refused}")
        return
    verdict.taken += 1
    episode = store.load(result.ids[number])
    told = episode.instruction or TASKS.get(TASK).spec.prompt
    wanted = Counter(answer.columns["task"][rows].tolist()).most_common(1)[0][0]
    if told != wanted:
        verdict.wrong.append(f"episode {number} was told {told!r}, LeRobot's rows mostly {wanted!r}")
    stored = {"observation.state": episode.state, "action": episode.action}
    stored |= {f"observation.images.{camera}": frames for camera, frames in episode.frames.items()}
    if len(stored) != 2 + verdict.plan.cameras:
        verdict.wrong.append(f"episode {number} has cameras {sorted(episode.frames)}")
    for name, found in stored.items():
        given = _as_stored(name, answer.columns[name][rows])
        if len(found) != len(given):
            verdict.wrong.append(f"episode {number}, {name}: {len(found)} rows, LeRobot gives {len(given)}")
        elif found.dtype != given.dtype or not np.array_equal(found, given):
            verdict.wrong.append(f"episode {number}, {name}: {_difference(np.asarray(found), given)}")


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


def _plain(message: str) -> str:
    import re

    return re.sub(r"/\S+|[0-9.]+", "_", message)


def main(seeds: list[int]) -> None:
    """Prints what is found of each seed, and the totals."""
    import tempfile
    import time

    began, totals, refusals = time.monotonic(), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory() as scratch, Oracle(Path(scratch)) as oracle:
        for seed in seeds:
            verdict = check(draw(seed), Path(scratch) / "case", oracle)
            totals += Counter(
                plans=1, read=verdict.read, taken=verdict.taken, expected=verdict.expected, wrong=bool(verdict.wrong)
            )
            refusals += verdict.refusals
            if verdict.wrong or len(seeds) < 5:
                print(verdict)  # noqa: T201
    for message, count in refusals.most_common():
        print(f"{count:5} refused although read: {message}")  # noqa: T201
    print(dict(totals), f"{time.monotonic() - began:.1f} s")  # noqa: T201


if __name__ == "__main__":
    main([s for text in sys.argv[1:] for s in range(int(text.split("-")[0]), int(text.split("-")[-1]) + 1)])
