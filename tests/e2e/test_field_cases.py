"""Inputs made after public bug reports: each imports with the right content, or is refused with a command that works.

What an import left with exit code 0 is verified, run at preset micro and exported; taken in again it adds nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import recap

from cli.main import main
from data.episodes import EpisodeStore

CASES = Path(__file__).parents[3] / "shared" / "field-cases"
pytestmark = [pytest.mark.skipif(not CASES.is_dir(), reason=f"the field cases are not on this machine ({CASES})")]
TASK = "field"

WHOLE = ("01-trimmed-start/input", "03-depth-by-old-flag/input", "04-emoji-prompt/demos", "08-version-2.0/input",
         "10-many-instructions/wordings")  # fmt: skip
ASKING = {
    "05-empty-prompt/input": "--instruction TEXT",
    "05-empty-prompt/spaces": "--instruction TEXT",
    "06-part-of-a-dataset/camera_without_place": "--camera front=observation.images.front",
    "06-part-of-a-dataset/one_camera": "--camera front=observation.images.front",
    "06-part-of-a-dataset/one_film_lost": "--skip-broken",
    "06-part-of-a-dataset/two_of_four": "--skip-broken",
    "10-many-instructions/mixed": "--instruction TEXT",
    "10-many-instructions/no_tasks": "--instruction TEXT",
    "10-many-instructions/steps": "--instruction TEXT",
    "11-wall-clock-times/small": "--nominal-times 0.002",
    "11-wall-clock-times/usual": "--nominal-times 0.007",
}


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECAP_TASKS", "")


def _here(*words: str, workspace: Path) -> Any:
    """The command in this process: imports need no other."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["recap", *words, "--workspace", str(workspace)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return SimpleNamespace(exit_code=ended.value.code or 0, stdout=out.getvalue(), stderr=err.getvalue())


def _take(case: str, workspace: Path) -> tuple[dict[str, Any], list[str]]:
    """Imports a case, by the command that the refusal prints where it is refused; returns the result and the words."""
    words = ["data", "import", str(CASES / case), "--task", TASK, "--lossless"]
    if case in ASKING:
        done = _here(*words, workspace=workspace)
        assert done.exit_code == 2, done.stderr
        hint = done.stderr.rpartition("next: ")[2].splitlines()[0].partition("   (")[0]
        assert ASKING[case] in hint
        assert not (workspace / "tasks").exists()
        words = shlex.split(hint)[1:]
        words = words[: words.index("--workspace")]
    done = _here(*words, "--json", workspace=workspace)
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout), words


def _episodes(workspace: Path, result: dict[str, Any]) -> dict[int, Any]:
    store = EpisodeStore(workspace / "episodes")
    return {int(number): store.load(episode) for number, episode in result["ids"].items()}


@pytest.mark.parametrize("case", [*WHOLE, *ASKING])
def test_it_comes_in_or_says_what_to_type_and_adds_nothing_again(tmp_path: Path, case: str) -> None:
    workspace = tmp_path / "w"
    result, words = _take(case, workspace)
    meta = CASES / case / "meta"
    lengths = {}
    for path in meta.glob("episodes/*/*.parquet"):
        lengths |= {row["episode_index"]: row["length"] for row in pq.read_table(path).to_pylist()}
    if (meta / "episodes.jsonl").is_file():
        rows = [json.loads(line) for line in (meta / "episodes.jsonl").read_text().splitlines()]
        lengths = {row["episode_index"]: row["length"] for row in rows}
    taken = {number: episode.length for number, episode in _episodes(workspace, result).items()}
    assert taken == {number: length for number, length in lengths.items() if str(number) not in result["left_out"]}
    again = json.loads(_here(*words, "--json", workspace=workspace).stdout)
    assert (again["imported"], again["known"]) == (0, len(taken))
    assert _here("data", "verify", workspace=workspace).exit_code == 0


def test_trimmed_starts_have_the_pictures_that_lerobot_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lerobot.datasets.video_utils import decode_video_frames_pyav

    case = "01-trimmed-start/input"
    result, _ = _take(case, tmp_path / "w")
    film = CASES / case / "videos/observation.images.front/chunk-000/file-000.mp4"
    table = pq.read_table(CASES / case / "data/chunk-000/file-000.parquet").to_pydict()
    starts = pq.read_table(CASES / case / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    start = dict(zip(starts["episode_index"], starts["videos/observation.images.front/from_timestamp"], strict=True))
    for number, episode in _episodes(tmp_path / "w", result).items():
        rows = np.flatnonzero(np.array(table["episode_index"]) == number)
        times = [start[number] + table["timestamp"][row] for row in rows]
        wanted = decode_video_frames_pyav(film, times, 1e-4, return_uint8=True).numpy().transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(episode.frames["front"], wanted)


def test_a_depth_film_is_no_camera(tmp_path: Path) -> None:
    result, _ = _take("03-depth-by-old-flag/input", tmp_path / "w")
    assert result["unused"] == ["observation.images.front_depth"]
    assert {camera for one in _episodes(tmp_path / "w", result).values() for camera in one.frames} == {"front"}


@pytest.mark.slow
@pytest.mark.parametrize("case", [*WHOLE, *ASKING])
def test_what_came_in_can_be_learned_from_and_exported(tmp_path: Path, case: str) -> None:
    workspace = tmp_path / "w"
    _take(case, workspace)
    ran = recap(
        "run", "--task", TASK, "--collect", "none", "--demos", str(workspace), "--iterations", "0", "--preset", "micro",
        "--unlabelled", "skip", workspace=workspace, timeout_s=280,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    for kind in ([], ["--images"]):
        to = tmp_path / f"x{len(kind)}"
        done = recap("data", "export", "--to", str(to), *kind, workspace=workspace, timeout_s=280)
        assert done.returncode == 0, done.stderr
        assert (to / "meta" / "info.json").is_file()
