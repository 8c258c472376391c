"""The end of a run's time: where it is ended, and that nothing else is ended by it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines.until import Until
from recap.errors import OutOfTime
from recap.journal import FileJournal
from recap.store import Store
from recap.workspace import Workspace

NODE, STEP, KEY = "1/policy", "policy", "ab" * 32
LONG_S = 20.0


class Clock:
    """Turned by hand."""

    now = 99.9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "w")


@pytest.fixture(autouse=True)
def handlers_are_put_back() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    assert signal.getsignal(signal.SIGUSR1) == before


def started(until: Until) -> None:
    until.on_event({"kind": "step_started", "node": NODE, "step": STEP, "key": KEY})


def runs(until: Until, work: Callable[[], None]) -> None:
    with until:
        started(until)
        work()


def rest(seconds: float = LONG_S) -> None:
    """As a step works: a call that a signal wakes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)


def test_a_training_ends_at_its_next_checkpoint_and_not_before(workspace: Workspace) -> None:
    clock = Clock()
    until = Until(100.0, workspace, "r", again="recap run", clock=clock)
    checkpoints = Store(workspace).scratch_dir(STEP, KEY) / "fold-0" / "checkpoints"
    (checkpoints / "step-000000010").mkdir(parents=True)
    journal = FileJournal(workspace.run_dir("r") / "journal.jsonl", NODE)
    passed = []

    def training() -> None:
        clock.now = 101.0
        rest(0.8)
        journal.progress(11, 40, "steps")  # gradient steps since the last checkpoint would be lost
        journal.at("0/policy").progress(1, 2, "episodes")
        rest(0.8)
        passed.append("no checkpoint yet")
        (checkpoints / "step-000000020").mkdir()
        rest()
        passed.append("not ended")

    with pytest.raises(OutOfTime, match=f"ended in {NODE}") as caught:
        runs(until, training)
    assert passed == ["no checkpoint yet"]
    assert caught.value.hint == "recap run"
    assert caught.value.exit_code == 7


def test_what_keeps_units_ends_after_one(workspace: Workspace) -> None:
    clock = Clock()
    until = Until(100.0, workspace, "r", again="recap run", clock=clock)
    journal = FileJournal(workspace.run_dir("r") / "journal.jsonl", NODE)
    journal.progress(1, 9, "episodes")

    def collection() -> None:
        clock.now = 101.0
        rest(0.8)
        journal.progress(2, 9, "episodes")
        rest()
        pytest.fail("not ended")

    with pytest.raises(OutOfTime):
        runs(until, collection)


def test_a_step_that_begins_too_late_ends_at_once(workspace: Workspace) -> None:
    until = Until(time.time() - 1, workspace, "r", again="recap run")
    with pytest.raises(OutOfTime):
        runs(until, rest)


def test_between_steps_and_before_its_time_nothing_is_ended(workspace: Workspace) -> None:
    clock = Clock()
    with Until(100.0, workspace, "r", again="recap run", clock=clock) as until:
        started(until)
        rest(0.5)
        until.on_event({"kind": "step_done", "node": NODE})
        clock.now = 101.0
        rest(0.6)  # after the last step: the run is done, and says so


def test_other_errors_and_ctrl_c_stay_what_they_are(workspace: Workspace) -> None:
    for error in (KeyboardInterrupt(), ValueError("x")):
        with pytest.raises(type(error)) as caught, Until(time.time() + 99, workspace, "r", again="recap run"):
            raise error
        assert type(caught.value) is type(error)


def test_the_thread_reads_what_the_journal_holds(workspace: Workspace) -> None:
    """A record is one line of JSON with these names: what the test writes is what runs write."""
    FileJournal(workspace.run_dir("r") / "journal.jsonl", NODE).progress(1, 2, "steps")
    line = json.loads((workspace.run_dir("r") / "journal.jsonl").read_text())
    assert {"kind", "node", "unit"} <= line.keys()
