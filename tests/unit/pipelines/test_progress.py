from __future__ import annotations

import io
from pathlib import Path

import pytest

from pipelines.progress import LiveScreen, PlainScreen, ProgressObserver, Rate, duration, screen_for, speed
from recap.journal import FileJournal


def _record(done: int, t: float) -> dict[str, object]:
    return {"kind": "progress", "node": "0/collect", "done": done, "total": 200, "unit": "episodes", "t": t}


def test_a_stage_in_one_line() -> None:
    rate = Rate("0/collect")
    rate.saw(_record(0, 100.0))
    assert rate.line() == "0/collect  0/200 episodes"
    rate.saw(_record(57, 130.0))
    assert rate.line() == "0/collect  57/200 episodes  1.9/s  ETA 1m15s"
    rate.saw(_record(200, 200.0))
    assert rate.line() == "0/collect  200/200 episodes  2.0/s  finishing"


def test_a_new_unit_begins_a_new_rate() -> None:
    rate = Rate("0/policy")
    rate.saw({"t": 0.0, "done": 0, "total": 9, "unit": "episodes packed"})
    rate.saw({"t": 90.0, "done": 9, "total": 9, "unit": "episodes packed"})
    rate.saw({"t": 100.0, "done": 20, "total": 60, "unit": "steps"})
    assert rate.per_second() is None
    rate.saw({"t": 104.0, "done": 40, "total": 60, "unit": "steps"})
    assert (rate.per_second(), rate.eta_s()) == (5.0, 4.0)


def test_what_an_earlier_attempt_did_is_not_in_the_rate() -> None:
    rate = Rate("0/collect")
    rate.saw(_record(150, 100.0))
    assert rate.per_second() is None
    rate.saw(_record(160, 110.0))
    assert rate.per_second() == pytest.approx(1.0)
    assert rate.eta_s() == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4s"), (9.96, "10s"), (59.4, "59s"), (59.6, "1m00s"), (75, "1m15s"), (7380, "2h03m"), (273600, "3d04h")],
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(12.4, "12/s"), (1.94, "1.9/s"), (0.5, "30/min"), (0.02, "1.2/min"), (0.0007, "2.5/h")]
)
def test_rates_for_people(rate: float, text: str) -> None:
    assert speed(rate) == text


def test_plain_lines_come_at_intervals_and_end_with_the_step(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j.jsonl", "0/collect")
    journal.progress(199, 200, "episodes")  # an earlier process's: not shown
    lines: list[str] = []
    now = [0.0]
    observer = ProgressObserver(journal.path, PlainScreen(lines.append), clock=lambda: now[0])
    observer.on_event({"kind": "step_cached", "node": "0/demos"})
    observer.on_event({"kind": "step_started", "node": "0/collect"})
    for done in range(11):
        journal.progress(done, 200, "episodes")
        journal.at("0/other").progress(5, 6, "things")
        observer.tick()
        now[0] += 1.0
    observer.on_event({"kind": "step_done", "node": "0/collect", "seconds": 12.0})
    observer.tick()
    assert lines[0] == "0/demos  already done"
    assert [line.split("  ")[1] for line in lines[1:-1]] == ["5/200 episodes", "10/200 episodes"]
    assert lines[-1] == "0/collect  done in 12s"


def test_it_follows_by_itself_inside_a_with(tmp_path: Path) -> None:
    import time

    journal = FileJournal(tmp_path / "j.jsonl", "0/collect")
    lines: list[str] = []
    screen = PlainScreen(lines.append)
    screen.every_s = 0.02
    with ProgressObserver(journal.path, screen) as observer:
        observer.on_event({"kind": "step_started", "node": "0/collect"})
        journal.progress(1, 2, "episodes")
        deadline = time.monotonic() + 10
        while not lines and time.monotonic() < deadline:
            time.sleep(0.01)
    assert lines[0] == "0/collect  1/2 episodes"


def test_failures_and_dead_workers_are_said(tmp_path: Path) -> None:
    lines: list[str] = []
    observer = ProgressObserver(tmp_path / "j.jsonl", PlainScreen(lines.append))
    observer.on_event({"kind": "executor_started", "executor": "ray", "seconds": 5.5, "dashboard_url": "http://x"})
    observer.on_event({"kind": "worker_died", "worker": "collector-0", "during": "collector job 3 (17)"})
    observer.on_event({"kind": "step_failed", "node": "0/policy", "seconds": 3.0, "state": "interrupted"})
    assert lines == [
        "ray ready in 5.5s, dashboard http://x",
        "collector-0 died during collector job 3 (17): given again to a fresh process",
        "0/policy  interrupted after 3.0s",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_moving_bar_and_a_pipe_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    screen = screen_for(stream, print)
    assert isinstance(screen, LiveScreen)
    stage = Rate("0/collect")
    stage.saw({"t": 0.0, "done": 1, "total": 2, "unit": "[episodes]"})
    screen.show(stage)
    screen.say("0/demos  already done")
    stage.saw({"t": 2.0, "done": 2, "total": 2, "unit": "[episodes]"})
    screen.show(stage)
    screen.close()
    assert "0/collect  1/2 [episodes]" in stream.getvalue(), "brackets are not markup"
    assert "2/2 [episodes]  30/min  finishing" in stream.getvalue()
    assert stream.getvalue().count("\u2501") >= 40, "a bar was drawn twice"
    assert "0/demos  already done\n" in stream.getvalue().replace("\r\n", "\n")
    assert isinstance(screen_for(io.StringIO(), print), PlainScreen)
