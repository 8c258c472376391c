"""Which night is due, what is noted of it, and what it leaves behind."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.faults import run_python

from data.annotation import Annotations
from pipelines.invocation import Invocation
from pipelines.schedule.challenger import health_problems
from pipelines.schedule.history import History, Night, due
from pipelines.schedule.night import _learned, run_night
from pipelines.schedule.request import NightRequest
from pipelines.steps.open_loop_eval.outputs import ActionError, MeanError, OpenLoopEval, RangeCheck
from pipelines.steps.record.outputs import RecordedAttempt, Recording
from recap.errors import ConfigError, Corrupt, WorkspaceLocked
from recap.graph import Graph, NodeName
from recap.registry import Registry
from recap.runner import Runner
from recap.step import JsonOutput, StepSpec, step
from recap.types import Annotation, Outcome, Source
from recap.workspace import Workspace

TASK = "shirt_folding"


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-{text}")


@pytest.fixture
def history(tmp_path: Path) -> History:
    """Scheduled on the 1st, at noon."""
    found = History(tmp_path, "r")
    found.folder.mkdir(parents=True)
    found.path.write_text(json.dumps({"kind": "scheduled", "t": at("01T12:00").timestamp()}) + "\n")
    return found


def had(history: History, slot: str, state: str) -> None:
    began = history.begin(f"2026-03-{slot}")
    if state != "killed":
        history.end(Night(slot=f"2026-03-{slot}", began=began, state=state, ended=began + 1))


@pytest.mark.parametrize(
    ("now", "until", "slot", "missed"),
    [
        ("01T13:00", None, None, False),  # the night of before it was scheduled is nobody's
        ("02T01:59", None, None, False),
        ("02T02:00", None, "02T02:00", False),
        ("02T09:00", None, "02T02:00", False),  # the machine was off at two
        ("02T05:59", "06:00", "02T02:00", False),
        ("02T06:00", "06:00", "02T02:00", True),
        ("02T23:30", "01:00", "02T02:00", False),  # the window goes past midnight
        ("03T01:30", "01:00", "02T02:00", True),
    ],
)
def test_a_night_is_due_from_its_time_until_it_was_had(
    history: History, now: str, until: str | None, slot: str | None, missed: bool
) -> None:
    found = due("02:00", until, history, at(now))
    assert (None if found is None else (found.slot, found.missed)) == (slot and (f"2026-03-{slot}", missed))


@pytest.mark.parametrize("state", ["done", "too few", "out of time", "waiting", "failed", "interrupted", "missed"])
def test_a_night_that_was_had_is_not_due_again(history: History, state: str) -> None:
    had(history, "02T02:00", state)
    assert due("02:00", None, history, at("02T03:00")) is None
    assert due("02:00", None, history, at("03T02:00")) is not None


@pytest.mark.parametrize("state", ["killed", "locked"])
def test_one_that_was_killed_or_locked_out_is_due_within_its_time(history: History, state: str) -> None:
    had(history, "02T02:00", state)
    assert due("02:00", "06:00", history, at("02T03:00")) is not None
    assert due("02:00", "06:00", history, at("02T06:00")) is None, "what is known is not missed"


def test_nobody_wrote_down_when_it_was_scheduled(tmp_path: Path) -> None:
    """An entry that was printed here and put into a crontab by hand."""
    history = History(tmp_path, "r")
    history.folder.mkdir(parents=True)
    assert due("02:00", None, history, at("01T09:00")) is None
    assert due("02:00", None, History(tmp_path, "s"), at("01T02:00")) is not None


def test_a_kill_in_the_middle_of_a_line_loses_that_line_alone(history: History) -> None:
    had(history, "02T02:00", "done")
    with history.path.open("ab") as file:
        file.write(b'{"kind": "beg')
    assert [night.state for night in history.nights(at_work=False)] == ["done"]
    had(history, "03T02:00", "killed")
    assert [night.state for night in history.nights(at_work=False)] == ["done", "killed"]
    with history.only_one():
        assert history.at_work()
        assert [night.state for night in history.nights(at_work=True)] == ["done", "running"]
    assert not history.at_work()


def test_what_is_no_history_is_refused(history: History) -> None:
    history.path.write_text("[]\n")
    with pytest.raises(Corrupt, match="not a history"):
        history.nights(at_work=False)


# A night that trains nothing, with all that is around it.


def offline(root: Path, **asked: Any) -> tuple[NightRequest, Invocation]:
    (root / "demos").mkdir(exist_ok=True)
    (root / "watch").mkdir(exist_ok=True)
    invocation = Invocation.of(task=TASK, preset="micro", collect="none", demos=str(root / "demos"), tracker="none")
    return NightRequest.of(watch=[root / "watch"], **asked), invocation


def test_a_night_without_enough_is_noted_reported_and_told(tmp_path: Path) -> None:
    told = tmp_path / "told"
    asked, invocation = offline(
        tmp_path, min_new_episodes=2, notify=f'echo "$RECAP_STATE $RECAP_EXIT_CODE $RECAP_LINE" > {told}; exit 3'
    )
    (tmp_path / "watch" / "notes.txt").write_text("x")
    said: list[str] = []
    night = run_night(tmp_path / "w", asked, invocation, said.append)
    assert night is not None
    assert (night.state, night.exit_code, night.slot) == ("too few", 0, "")
    assert told.read_text() == f"too few 0 {night.line}\n"
    assert said[-1] == "--notify ended with exit code 3: it said nothing"
    page = Path(night.report).read_text()
    assert "notes.txt" in page
    assert "neither a LeRobotDataset" in page
    assert "min-new-episodes 2" in page
    assert History(tmp_path / "w", invocation.name).nights(at_work=False) == [night]
    assert not (tmp_path / "w" / "runs" / invocation.name).exists(), "nothing was issued"


def test_a_night_that_fails_says_why_and_keeps_its_exit_code(tmp_path: Path) -> None:
    asked, invocation = offline(tmp_path)
    (tmp_path / "watch").rmdir()
    with pytest.raises(ConfigError, match="no such directory"):
        run_night(tmp_path / "w", asked, invocation, lambda _: None)
    (night,) = History(tmp_path / "w", invocation.name).nights(at_work=False)
    assert (night.state, night.exit_code) == ("failed", 2)
    assert "no such directory" in night.line
    assert "no such directory" in Path(night.report).read_text()


def test_of_two_nights_at_once_one_works(tmp_path: Path) -> None:
    asked, invocation = offline(tmp_path)
    history = History(Workspace.open(tmp_path / "w").root, invocation.name)
    with history.only_one():
        assert run_night(tmp_path / "w", asked, invocation, lambda _: None, at="00:00") is None
        with pytest.raises(WorkspaceLocked, match="at work"):
            run_night(tmp_path / "w", asked, invocation, lambda _: None)
    assert history.nights(at_work=False) == []


def test_a_night_whose_time_is_over_is_noted_once(tmp_path: Path) -> None:
    asked, invocation = offline(tmp_path, until="00:01")
    history = History(Workspace.open(tmp_path / "w").root, invocation.name)
    history.folder.mkdir(parents=True)
    history.path.write_text('{"kind": "scheduled", "t": 0}\n')
    if datetime.now().strftime("%H:%M") < "00:01":
        pytest.skip("it is the one minute of the day that this night has")
    first = run_night(tmp_path / "w", asked, invocation, lambda _: None, at="00:00")
    assert first is not None
    assert (first.state, first.exit_code) == ("missed", 0)
    assert run_night(tmp_path / "w", asked, invocation, lambda _: None, at="00:00") is None
    assert len(history.nights(at_work=False)) == 1


def test_a_night_that_is_killed_is_seen_to_have_been(tmp_path: Path) -> None:
    _, invocation = offline(tmp_path)
    code = f"""
from pathlib import Path
from pipelines.invocation import Invocation
from pipelines.schedule.night import _learned, run_night
from pipelines.schedule.request import NightRequest
root = Path({str(tmp_path)!r})
run_night(root / "w", NightRequest.of(watch=[root / "watch"]),
    Invocation.of(task="{TASK}", preset="micro", collect="none", demos=str(root / "demos")), print)
"""
    history = History(tmp_path / "w", invocation.name)
    for fault, states in (
        ("history.after_append:1:kill", ["killed"]),
        ("history.before_write:2:kill", ["killed", "killed"]),
        ("history.after_append:2:kill", ["killed", "killed", "too few"]),
    ):
        assert run_python(code, fault=fault) == -9
        assert [night.state for night in history.nights(at_work=history.at_work())] == states


def test_an_episode_that_nobody_had_judged_counts_as_new_again(tmp_path: Path) -> None:
    """The run left it out: labelled the next morning, it is what the next night trains on."""
    steps: Registry[StepSpec] = Registry("step")
    ids = [digit * 64 for digit in "abc"]
    outcomes = (Outcome.SUCCESS, None, None)

    @step(name="record", version=1, outputs=("summary",), registry=steps)
    def record(ctx: Any, config: Any, inputs: Any) -> Any:
        attempts = tuple(
            RecordedAttempt(episode_id=one, source=Source.ROLLOUT, outcome=outcome, steps=3, human_steps=0)
            for one, outcome in zip(ids, outcomes, strict=True)
        )
        return {"summary": JsonOutput.of(Recording(task=TASK, attempts=attempts, imported=True))}

    @step(name="annotate", version=1, outputs=("annotations",), registry=steps)
    def annotate(ctx: Any, config: Any, inputs: Any) -> Any:
        judged = {one: Annotation(episode_id=one, outcome=Outcome.FAILURE) for one in ids[:2]}
        return {"annotations": JsonOutput(Annotations(by_id=judged, missing=(ids[2],)).to_json())}

    graph = Graph(steps=steps)
    for name in (NodeName(1, "record", TASK), NodeName(1, "annotate")):
        graph.add(name, name.stage, None)
    workspace = Workspace.open(tmp_path / "w")
    invocation = Invocation.of(task=TASK, preset="micro", collect="none", demos=str(tmp_path / "demos"))
    assert _learned(workspace, invocation) == set()
    Runner(workspace, lambda: None).run(graph, invocation.name)
    assert _learned(workspace, invocation) == {*ids[:2]}


# What recordings have against a policy.


def evaluation(error: float, outside: float = 0.0) -> OpenLoopEval:
    group = ActionError(
        frames=6,
        steps=6,
        error=(error,),
        keep_state_error=(None,),
        mean={"rad": MeanError(error=error, keep_state_error=None)},
        closer_than_keeping=0,
        comparable=0,
    )
    return OpenLoopEval(
        task=TASK,
        policy_id="p",
        statement="",
        execute=6,
        frames=18,
        episodes=7,
        actions=("a",),
        units=("rad",),
        groups={"demos": group},
        contract=RangeCheck(finite=True, margin=0.05, outside_fraction=outside, outside={}),
    )


@pytest.mark.parametrize(
    ("latest", "said"),
    [
        (evaluation(0.19), []),
        (evaluation(0.19, outside=0.05), []),
        (evaluation(0.19, outside=0.06), ["beyond the recorded range"]),
        (evaluation(0.21), ["more than 2 times"]),
        (evaluation(9.0, outside=1.0), ["beyond the recorded range", "more than 2 times"]),
    ],
)
def test_a_challenger_is_held_against_imitation_and_the_recorded_range(latest: OpenLoopEval, said: list[str]) -> None:
    nodes = {f"0/{TASK}/open_loop_eval": evaluation(0.1), f"1/{TASK}/open_loop_eval": latest}
    problems = health_problems(nodes, TASK)
    assert len(problems) == len(said)
    assert all(part in problem for part, problem in zip(said, problems, strict=True))


def test_every_field_of_a_night_comes_back(history: History) -> None:
    night = Night(
        slot="2026-03-02T02:00",
        began=history.begin("2026-03-02T02:00"),
        state="done",
        line="all",
        ended=2.0,
        exit_code=0,
        report="/x.html",
        found={"new": 3, "sources": [{"path": "p"}]},
        challenger="ab",
    )
    history.end(night)
    assert history.nights(at_work=False) == [night]
    assert {item.name for item in dataclasses.fields(Night)} <= json.loads(
        history.path.read_text().splitlines()[-1]
    ).keys()
