"""The whole loop on a third-party robot in real time; killed in every stage, and resumed."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from bench_operator import Operated, env_file
from bench_recording import install
from runs import recap

from data.annotation import LabelBook
from data.episodes import EpisodeStore
from recap.types import Outcome

TASK = "bench_folding"
RUN = f"{TASK}-micro-robot"
KILLS = {
    f"0/{TASK}/record": "record.before_episode:2:kill",
    f"0/{TASK}/evaluate": "record.before_label:1:kill",
    f"1/{TASK}/record": "record.after_step:150:kill",
    "1/gate": "record.before_label:1:kill",
}
"""{step that waits: where its operator's process is killed first}."""


@pytest.mark.slow  # minutes, in real time
@pytest.mark.timeout(1800)
def test_a_run_on_a_robot_killed_in_every_stage_loses_and_repeats_no_finished_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, workspace = install(tmp_path / "site"), tmp_path / "w"
    monkeypatch.setenv("PYTHONPATH", f"{site}:{os.getcwd()}")
    typed = ("run", "--task", TASK, "--preset", "micro", "--env", str(env_file(tmp_path / "env")), "--json")
    for node, fault in KILLS.items():
        waiting = recap(*typed, workspace=workspace, timeout_s=900)
        assert waiting.returncode == 6, waiting.stderr
        assert f"{node}: " in waiting.stderr
        assert f"recap robot {RUN}" in waiting.stderr
        _another_robot_is_refused(tmp_path / "env", site, workspace)
        assert Operated(site, RUN, workspace=workspace, fault=fault).code == -9
        finished = set(EpisodeStore(workspace / "episodes").ids())
        if node == "1/gate":
            killed = recap(*typed, workspace=workspace, fault=f"{node}@runner.before_step:1:kill", timeout_s=900)
            assert killed.returncode == -9
        rest = Operated(site, RUN, workspace=workspace)
        assert rest.code == 0, rest.heard
        assert rest.result["done"] == rest.result["wanted"]
        assert finished <= set(EpisodeStore(workspace / "episodes").ids()), "a finished attempt was lost"
    done = recap(*typed, workspace=workspace, timeout_s=900)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert set(result["evaluations"]) == {f"0/{TASK}/evaluate"}
    decision = result["decisions"]["1/gate"]
    assert (decision["pairs"], decision["aborted"]) == (1, 0)
    _each_attempt_was_made_once(workspace)
    again = recap(*typed, workspace=workspace)
    assert (again.returncode, json.loads(again.stdout)["executed"]) == (0, [])


def _another_robot_is_refused(devices: Path, site: Path, workspace: Path) -> None:
    """Its attempts would be counted as this one's."""
    file = devices / "robot.json"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), "id": "spare"}))
    refused = Operated(site, RUN, workspace=workspace)
    file.write_text(before)
    assert refused.code == 2
    assert any('"spare"' in line and f"run '{RUN}' waits for attempts of" in line for line in refused.heard)


def _each_attempt_was_made_once(workspace: Path) -> None:
    book = LabelBook(workspace / "labels")
    labels = book.annotations()
    assert set(EpisodeStore(workspace / "episodes").ids()) == set(labels), (
        "every episode has its verdict, the one that a kill left out too"
    )
    rows = [
        (row["at"], log.stem, row["slot"], row["episode_id"])
        for log in (workspace / "runs" / RUN / "robot").glob("*.jsonl")
        for row in map(json.loads, log.read_text().splitlines())
    ]
    # A line is there before its episode, and this robot may record twice the same: what was finished has a verdict of
    # its own, given after its line.
    judged: Counter[tuple[str, str]] = Counter()
    for entry in book.entries():
        for episode in entry.labels:
            _, node, slot, _ = max(row for row in rows if row[3] == episode and row[0] <= entry.at)
            judged[node, slot] += labels[episode].outcome is not Outcome.ABORTED
    assert set(judged.values()) == {1}, "a finished attempt was made again"
    assert Counter(node for node, _ in judged) == {
        f"0-{TASK}-record": 3,
        f"0-{TASK}-evaluate": 2,
        f"1-{TASK}-record": 3,
        "1-gate": 2,
    }
