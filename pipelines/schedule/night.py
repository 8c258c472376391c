"""One night of a run: goes on with what the last one left, takes in what is new, trains on it, and says how it went.

Owns the order of those things and what is written down. A night ends with a challenger; nobody promotes it here.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pipelines.invocation import Invocation
from pipelines.run import RunResult, report_of, run_loop
from pipelines.schedule.challenger import Challenger, name_challenger
from pipelines.schedule.clock import next_time
from pipelines.schedule.history import Due, History, Night, due
from pipelines.schedule.intake import Found, take_in
from pipelines.schedule.request import NightRequest
from recap.errors import OutOfTime, RecapError, StepFailed, WaitingForLabels, WorkspaceLocked
from recap.graph import NodeName
from recap.provenance import read_run, run_status
from recap.step import Artifact
from recap.store import Store
from recap.workspace import Workspace

Say = Callable[[str], None]
_NOTIFY_S = 120.0
_UNFINISHED = ("interrupted", "killed")
"""States of a run that the next night goes on with before it looks for new episodes."""


@dataclass(kw_only=True, slots=True)
class Work:
    """What a night has done so far."""

    found: list[Found] = field(default_factory=list)
    new: int = 0
    """Episodes in the intake that nothing was trained on yet."""
    trained: bool = False
    """The run was issued and has ended well."""
    went_on: bool = False
    """It began with what the last night had left."""
    challenger: Challenger | None = None


def run_night(
    root: Path, asked: NightRequest, invocation: Invocation, say: Say, *, at: str | None = None
) -> Night | None:
    """Does one night's work and notes how it ended.

    Args:
        root: workspace directory; made if absent.
        asked: of the night.
        invocation: of the run.
        say: prints one line for a person.
        at: time of day that nights begin at: one that is not due does nothing. None: it begins now.

    Returns:
        What was noted; None if no night was due.

    Raises:
        RecapError: what ended it, after it was noted; nothing that was finished is lost.
    """
    workspace = Workspace.open(root)
    history = History(workspace.root, invocation.name)
    if at is not None and history.at_work():
        return None
    with history.only_one():
        began_at = datetime.now()
        now_due = None if at is None else due(at, asked.until, history, began_at)
        if at is not None and now_due is None:
            return None
        if now_due is not None and now_due.missed:
            return _note_missed(history, now_due, asked)
        if now_due is not None and _locked_again(workspace, history, now_due):
            return None
        with _noted(workspace, history, asked, invocation, "" if now_due is None else now_due.slot, say) as work:
            until = None if asked.until is None else next_time(asked.until, began_at).timestamp()
            _do(workspace, asked, asked.run_of(root, invocation), say, work, until)
        return history.nights(at_work=False)[-1]


def _do(workspace: Workspace, asked: NightRequest, run: Invocation, say: Say, work: Work, until: float | None) -> None:
    with workspace.lock("night"):  # whoever writes there by now is told of before anything is read
        pass
    state = "" if read_run(workspace, run.name) is None else run_status(workspace, run.name).state
    if state in _UNFINISHED:
        say("the last night is not finished: going on with it first")
        work.went_on = True
        _train(workspace, run, say, work, until)
    if asked.watch:
        template = asked.template(run.task[0], run.name)
        watched = [Path(path) for path in asked.watch]
        intake = asked.intake(workspace.root, run)
        work.found = take_in(watched, intake, template, settle_s=asked.settle, say=say)
        from data.episodes import EpisodeStore

        work.new = len(set(EpisodeStore(Workspace.open(intake).episodes).ids()) - _learned(workspace, run))
        if work.new < asked.min_new_episodes:
            return
    elif work.went_on:
        return
    _train(workspace, run, say, work, until)


def _train(workspace: Workspace, run: Invocation, say: Say, work: Work, until: float | None) -> None:
    work.trained = False
    result: RunResult = run_loop(workspace.root, run, say, until=until)
    work.trained = True
    task = run.task[0]
    if str(NodeName(1, "open_loop_eval", task)) in result.open_loop:
        work.challenger = name_challenger(workspace, run.name, result.open_loop, task)


def _learned(workspace: Workspace, run: Invocation) -> set[str]:
    """Episodes that a finished run was given and could learn from or leave for good.

    None of a run that was not issued or failed, and none that it left out because nobody had judged it: those count as
    new again.
    """
    if read_run(workspace, run.name) is None or (status := run_status(workspace, run.name)).state != "done":
        return set()
    from data.annotation import Annotations
    from pipelines.steps.record.outputs import Recording

    def outputs(name: NodeName) -> Mapping[str, Artifact] | None:
        node = next((one for one in status.nodes if one.name == str(name) and one.key), None)
        return None if node is None else Store(workspace).load(node.step, node.key or "")

    recorded, annotated = outputs(NodeName(1, "record", run.task[0])), outputs(NodeName(1, "annotate"))
    if recorded is None:
        return set()
    judged = {} if annotated is None else Annotations.from_json(annotated["annotations"].json()).by_id
    attempts = recorded["summary"].read(Recording).attempts
    return {one.episode_id for one in attempts if one.outcome is not None or one.episode_id in judged}


@contextmanager
def _noted(
    workspace: Workspace, history: History, asked: NightRequest, invocation: Invocation, slot: str, say: Say
) -> Iterator[Work]:
    """Notes beginning and end of the work in the block, writes the morning report and tells who is to be told."""
    work = Work()
    began = history.begin(slot)
    error: BaseException | None = None
    try:
        yield work
    except BaseException as caught:
        error = caught
        raise
    finally:
        state, code = _state_of(error, work)
        night = Night(
            slot=slot,
            began=began,
            state=state,
            line=_line(invocation.name, state, work, error),
            ended=time.time(),
            exit_code=code,
            found={"sources": [asdict(one) for one in work.found], "new": work.new},
            challenger="" if work.challenger is None else work.challenger.identity,
        )
        night = _reported(workspace, history, night, asked, invocation, work, error)
        history.end(night)
        say(night.line)
        if night.report:
            say(f"report  {night.report}")
        if asked.notify is not None:
            _notify(asked.notify, night, say)


def _state_of(error: BaseException | None, work: Work) -> tuple[str, int]:
    """State of the night, and exit code."""
    cause = error.__cause__ if isinstance(error, StepFailed) else None
    known = cause if isinstance(cause, RecapError) else error
    if known is None:
        return ("done" if work.trained else "too few"), 0
    if isinstance(known, RecapError):
        kinds: Mapping[type[RecapError], str] = {
            OutOfTime: "out of time",
            WaitingForLabels: "waiting",
            WorkspaceLocked: "locked",
        }
        return next((state for kind, state in kinds.items() if isinstance(known, kind)), "failed"), known.exit_code
    return ("failed", 1) if isinstance(known, Exception) else ("interrupted", 130)


def _line(run: str, state: str, work: Work, error: BaseException | None) -> str:
    parts = [f"{run}: {state}"]
    if work.went_on:
        parts.append("went on with the last night")
    if work.found:
        parts.append(f"{work.new} new episodes")
        odd = [one for one in work.found if one.state in ("refused", "being written") or one.left_out]
        if odd:
            parts.append(f"{len(odd)} of {len(work.found)} sources not taken whole")
    if work.challenger is not None:
        verdict = "not fit for the robot" if work.challenger.problems else "to be tried against the champion"
        parts.append(f"challenger {work.challenger.identity[:12]} {verdict}")
    if error is not None:
        said = error.message if isinstance(error, RecapError) else f"{type(error).__name__}: {error}"
        parts.append(said.splitlines()[0] if said else "")
    return "; ".join(parts)


def _reported(
    workspace: Workspace,
    history: History,
    night: Night,
    asked: NightRequest,
    invocation: Invocation,
    work: Work,
    error: BaseException | None,
) -> Night:
    """The night with its page. One that found the workspace in use has none: another process writes there."""
    from pipelines.schedule.page import write_night

    if night.state == "locked":
        return night
    try:
        run_page = None
        if read_run(workspace, invocation.name) is not None:
            run_page = workspace.run_dir(invocation.name) / "report" / "report.html"
            if error is not None or not run_page.exists():
                run_page = report_of(workspace.root, invocation.name)
        command = asked.command(workspace.root, invocation)
        page = write_night(workspace, history, night, work.found, work.challenger, error, run_page, command)
    except Exception as second:
        # What ended the night is the thing to note; a page that cannot be written comes after it.
        return replace(night, line=f"{night.line}; no report: {type(second).__name__}: {second}")
    return replace(night, report=str(page))


def _note_missed(history: History, now_due: Due, asked: NightRequest) -> Night:
    line = f"{history.folder.name}: missed; the machine was off or busy from {now_due.slot[11:]} to {asked.until}"
    began = history.begin(now_due.slot)
    night = Night(slot=now_due.slot, began=began, state="missed", line=line, ended=time.time(), exit_code=0)
    history.end(night)
    return night


def _locked_again(workspace: Workspace, history: History, now_due: Due) -> bool:
    """Whether the workspace is still in use, which was noted when this night was looked at before."""
    had = [night for night in history.nights(at_work=False) if night.slot == now_due.slot]
    if not had or had[-1].state != "locked":
        return False
    try:
        with workspace.lock("night"):
            return False
    except WorkspaceLocked:
        return True


def _notify(command: str, night: Night, say: Say) -> None:
    told: dict[str, Any] = {
        "RECAP_LINE": night.line,
        "RECAP_REPORT": night.report,
        "RECAP_STATE": night.state,
        "RECAP_EXIT_CODE": str(night.exit_code),
    }
    try:
        done = subprocess.run(
            command,
            shell=True,
            env={**os.environ, **told},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_NOTIFY_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        say(f"--notify: {error}")
        return
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        say(f"--notify ended with exit code {done.returncode}: {said or 'it said nothing'}")
