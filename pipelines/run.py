"""One `recap run`: configuration -> graph -> runner, with the terminal, the journal and the tracker listening.

Owns the order of those things. A finished run that is issued again costs a look at the store: no executor, no tracker,
no torch and no ray.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.champion import ChampionObserver
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.preflight.ahead import check_ahead
from pipelines.preflight.environment import OF_MLFLOW, OF_RAY, not_used
from pipelines.steps.evaluate.outputs import Evaluation, SuccessSummary, ThroughputSummary, Timing
from pipelines.steps.gate.outputs import GateResult
from pipelines.steps.open_loop_eval.outputs import OpenLoopEval
from pipelines.task_files import keep_task_file
from pipelines.until import Until
from pipelines.watch import Watch
from recap.explain import is_finished
from recap.graph import NodeName
from recap.journal import FileJournal
from recap.runner import Runner, RunSummary
from recap.workspace import Workspace

if TYPE_CHECKING:  # protocols imports numpy, which a run of cached steps never needs
    from pipelines.config import RunConfig
    from pipelines.steps.evaluate.summary import PairedDifference
    from pipelines.trackers import Tracker
    from recap.gate import GateDecision
    from recap.protocols import Executor, RunObserver

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluated:
    """What an evaluation found."""

    success: SuccessSummary
    throughput: ThroughputSummary
    to_imitation: PairedDifference | None
    """After iteration 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What a run left behind."""

    run: str
    executed: tuple[str, ...]
    """Nodes whose step ran."""
    cached: tuple[str, ...]
    """Nodes whose result was there already."""
    seconds: float
    report: Path
    tracking_uri: str | None
    """None: no tracker."""
    evaluations: Mapping[str, Evaluated]
    """{node: figures} of every evaluation, in order."""
    decisions: Mapping[str, GateDecision]
    """{node: decision} of every gate, in order."""
    command: str
    """Issues this run again."""
    open_loop: Mapping[str, OpenLoopEval]
    """{node: figures} of every open-loop evaluation of an offline run, in order."""
    policy: Path
    """Bundle of the champion, or where no gate decides of the policy chosen last."""
    loaded_by: tuple[str, ...]
    """Other libraries that load that folder."""


class JournalObserver:
    """Writes the runner's events into the journal of the run, where terminal, tracker and report read them."""

    def __init__(self, journal: FileJournal) -> None:
        self._journal = journal

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Appends one event under its node."""
        fields = {name: value for name, value in event.items() if name not in ("kind", "node", "t")}
        self._journal.at(str(event.get("node", ""))).event(str(event["kind"]), **fields)


def run_loop(
    root: Path, invocation: Invocation, say: Say, *, task_file: Path | None = None, until: float | None = None
) -> RunResult:
    """Brings a run up to date and returns where it stands.

    Args:
        root: workspace directory; made if absent.
        invocation: what was asked for.
        say: prints one line for a person.
        task_file: description of the task to keep in the workspace, once nothing is found to refuse.
        until: UTC seconds after which the run ends at the next place where it loses nothing; None: it takes its time.

    Raises:
        OutOfTime: it ended because of `until`.
        RecapError: see recap.errors; nothing that was finished is lost.
    """
    config = invocation.config()
    graph = build_graph(config)
    if not (Workspace.is_at(root) and is_finished(Workspace.open(root), graph, invocation.name)):
        config = check_ahead(config, root, say)
        graph = build_graph(config)
    if task_file is not None:
        keep_task_file(root, task_file)
    workspace = Workspace.open(root)
    again = invocation.command(root)
    limit = None if until is None else Until(until, workspace, invocation.name, again=again)
    told = [] if limit is None else [limit]
    with running(workspace, config, invocation, say, again=again, observers=told) as (runner, watch):
        began = time.monotonic()
        with limit or nullcontext():
            summary = runner.run(graph, invocation.name)
        seconds = time.monotonic() - began
        report = workspace.run_dir(invocation.name) / "report" / "report.html"
        if summary.executed or not report.exists():
            report = report_of(root, invocation.name)
            watch.finished(report)
    from policy.models import family_of

    return RunResult(
        run=invocation.name,
        executed=tuple(summary.executed),
        cached=tuple(summary.cached),
        seconds=seconds,
        report=report,
        tracking_uri=_tracking_uri(workspace) if config.tracker == "mlflow" else None,
        evaluations=_evaluations(summary),
        decisions={node: made["decision"].read(GateResult).decision for node, made in summary.of("gate").items()},
        command=again,
        open_loop={node: made["open_loop"].read(OpenLoopEval) for node, made in summary.of("open_loop_eval").items()},
        policy=_final_policy(summary),
        loaded_by=family_of(config.policy.model).loaded_by,
    )


@contextmanager
def running(
    workspace: Workspace,
    config: RunConfig,
    invocation: Invocation,
    say: Say,
    *,
    again: str,
    observers: Iterable[RunObserver] = (),
) -> Iterator[tuple[Runner, Watch]]:
    """The runner of a run, with the workspace locked and journal, champion, terminal and tracker listening.

    Args:
        workspace: where it runs.
        config: its configuration.
        invocation: what was asked for; kept beside it.
        say: prints one line for a person.
        again: the command that goes on after a failure.
        observers: who else is told of events.

    Raises:
        WorkspaceLocked: another run writes this workspace.
    """
    with workspace.lock(f"run {invocation.name}"):
        invocation.save(workspace)
        params = params_of(invocation)
        told = [ChampionObserver(workspace, invocation.name, gated=not config.offline), *observers]
        with watched(workspace, config, invocation.name, params, say, again=again, observers=told) as pair:
            yield pair


@contextmanager
def watched(
    workspace: Workspace,
    config: RunConfig,
    name: str,
    params: Mapping[str, Any],
    say: Say,
    *,
    again: str,
    observers: Iterable[RunObserver] = (),
) -> Iterator[tuple[Runner, Watch]]:
    """The runner of steps under a name, with journal, terminal and tracker (told `params`) listening.

    The workspace is locked by the caller; the other arguments are those of `running`.
    """
    journal = FileJournal(workspace.run_dir(name) / "journal.jsonl", "")
    with Watch(journal.path, lambda: tracker_of(workspace, config, name, params, say), say) as watch:
        yield (
            Runner(
                workspace,
                lambda: _executor(config, name, watch.on_event, say),
                [JournalObserver(journal), *observers, watch],
                journal_factory=journal.at,
                resume_command=again,
            ),
            watch,
        )


def params_of(invocation: Invocation) -> dict[str, Any]:
    """What the tracker is told of a run as a whole."""
    return {"task": ",".join(invocation.task), "preset": invocation.preset, "seed": invocation.seed}


def report_of(root: Path, run: str) -> Path:
    """Writes the report of a run, finished or not; returns its first HTML file."""
    from pipelines.report.overview import write_pages

    workspace = Workspace.open(root, create=False)
    return write_pages(workspace, run, workspace.run_dir(run) / "report")


def _executor(config: RunConfig, name: str, on_event: Callable[[Mapping[str, Any]], None], say: Say) -> Executor:
    from pipelines.executors import EXECUTORS, ExecutorSettings

    asked = config.executor
    if asked.name == "ray":
        for line in not_used(os.environ, OF_RAY, "a run starts its own Ray on this machine"):
            say(line)
    settings = ExecutorSettings(
        namespace=name,
        address=asked.address,
        num_cpus=asked.num_cpus,
        role_resources=asked.role_resources,
        dashboard=asked.dashboard,
        on_event=on_event,
    )
    return EXECUTORS.get(asked.name)(settings)


def tracker_of(workspace: Workspace, config: RunConfig, name: str, params: Mapping[str, Any], say: Say) -> Tracker:
    """The tracker of a run, not started; `params` are said of the run as a whole."""
    from pipelines.trackers import TRACKERS, TrackerSettings
    from recap.config import to_json

    if config.tracker == "mlflow":
        for line in not_used(os.environ, OF_MLFLOW, "MLflow shows this run by its own name, in experiment 'recap'"):
            say(line)
    return TRACKERS.get(config.tracker)(
        TrackerSettings(
            workspace=workspace.root,
            run_name=name,
            uri=_tracking_uri(workspace),
            params=params,
            tags={"command": shlex.join(sys.argv), "config": json.dumps(to_json(config))},
            warn=say,
        )
    )


def _tracking_uri(workspace: Workspace) -> str:
    from pipelines.trackers import sqlite_uri

    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(workspace.root / "mlflow.db")


def _final_policy(summary: RunSummary) -> Path:
    """The champion where a gate decided, else the policy of the main arm chosen last."""
    gates = list(summary.of("gate").values())
    if gates:
        return gates[-1]["champion"].path
    chosen = [made for name, made in summary.of("checkpoint_selection").items() if not NodeName.parse(name).subject]
    return chosen[-1]["policy"].path


def _evaluations(summary: RunSummary) -> dict[str, Evaluated]:
    from pipelines.steps.evaluate.summary import paired_difference

    found: dict[str, Evaluated] = {}
    first: dict[str, Evaluation] = {}
    for node, made in summary.of("evaluate").items():
        evaluation = made["evaluation"].read(Evaluation)
        imitation = first.setdefault(evaluation.task, evaluation)
        paired = None if imitation is evaluation else paired_difference(evaluation.attempts, imitation.attempts)
        throughput = made["timing"].read(Timing).summary
        found[node] = Evaluated(success=evaluation.summary, throughput=throughput, to_imitation=paired)
    return found
