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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.crown import CrownObserver
from pipelines.invocation import Invocation
from pipelines.leftovers import OF_MLFLOW, OF_RAY, not_used
from pipelines.loop import build_graph
from pipelines.preflight import check_ahead
from pipelines.task_files import keep_task_file
from pipelines.watch import Watch
from recap.explain import is_finished
from recap.journal import FileJournal
from recap.runner import Runner, RunSummary
from recap.workspace import Workspace

if TYPE_CHECKING:  # protocols imports numpy, which a run of cached steps never needs
    from pipelines.config import LoopConfig
    from pipelines.trackers import Tracker
    from recap.protocols import Executor

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopResult:
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
    evaluations: Mapping[str, Mapping[str, Any]]
    """{node: summary figures} of every evaluation, in order; after iteration 0 with the paired difference to it."""
    decisions: Mapping[str, Mapping[str, Any]]
    """{node: verdict, reason and figures} of every promotion decision, in order."""
    command: str
    """Issues this run again."""
    replays: Mapping[str, Mapping[str, Any]]
    """{node: figures} of every replay of an offline run, in order."""
    policy: Path
    """Bundle of the champion, or where no gate decides of the policy chosen last; LeRobot loads this folder."""


class JournalObserver:
    """Writes the runner's events into the journal of the run, where terminal, tracker and report read them."""

    def __init__(self, journal: FileJournal) -> None:
        self._journal = journal

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Appends one event under its node."""
        fields = {name: value for name, value in event.items() if name not in ("kind", "node", "t")}
        self._journal.at(str(event.get("node", ""))).event(str(event["kind"]), **fields)


def run_loop(root: Path, invocation: Invocation, say: Say, *, task_file: Path | None = None) -> LoopResult:
    """Brings a run up to date and returns where it stands.

    Args:
        root: workspace directory; made if absent.
        invocation: what was asked for.
        say: prints one line for a person.
        task_file: description of the task to keep in the workspace, once nothing is found to refuse.

    Raises:
        RecapError: see recap.errors; nothing that was finished is lost.
    """
    config = invocation.config()
    graph = build_graph(config)
    if not (Workspace.is_at(root) and is_finished(Workspace.open(root), graph, invocation.name)):
        check_ahead(config, root)
    if task_file is not None:
        keep_task_file(root, task_file)
    workspace = Workspace.open(root)
    folder = workspace.run_dir(invocation.name)
    with workspace.lock(f"run {invocation.name}"):
        invocation.save(workspace)
        journal = FileJournal(folder / "journal.jsonl", "")
        with Watch(journal.path, lambda: _tracker(workspace, config, invocation, say), say) as watch:
            runner = Runner(
                workspace,
                lambda: _executor(config, invocation, watch.on_event, say),
                [JournalObserver(journal), CrownObserver(workspace, invocation.name), watch],
                journal_factory=journal.at,
                resume_command=invocation.command(root),
            )
            began = time.monotonic()
            summary = runner.run(graph, invocation.name)
            seconds = time.monotonic() - began
            report = folder / "report" / "report.html"
            if summary.executed or not report.exists():
                report = report_of(root, invocation.name)
                watch.finished(report)
    return LoopResult(
        run=invocation.name,
        executed=tuple(summary.executed),
        cached=tuple(summary.cached),
        seconds=seconds,
        report=report,
        tracking_uri=_tracking_uri(workspace) if config.tracker == "mlflow" else None,
        evaluations=_evaluations(summary),
        decisions=_decisions(summary),
        command=invocation.command(root),
        replays={node: made["replay"].json() for node, made in summary.outputs.items() if "replay" in made},
        policy=_final_policy(summary),
    )


def report_of(root: Path, run: str) -> Path:
    """Writes the report of a run, finished or not; returns its first HTML file."""
    from pipelines.report.overview import write_pages

    workspace = Workspace.open(root, create=False)
    return write_pages(workspace, run, workspace.run_dir(run) / "report")


def _executor(
    config: LoopConfig, invocation: Invocation, on_event: Callable[[Mapping[str, Any]], None], say: Say
) -> Executor:
    from pipelines.executors import EXECUTORS, ExecutorSettings

    if config.executor == "ray":
        for line in not_used(os.environ, OF_RAY, "a run starts its own Ray on this machine"):
            say(line)
    settings = ExecutorSettings(namespace=invocation.name, dashboard=config.dashboard, on_event=on_event)
    return EXECUTORS.get(config.executor)(settings)


def _tracker(workspace: Workspace, config: LoopConfig, invocation: Invocation, say: Say) -> Tracker:
    from pipelines.trackers import TRACKERS, TrackerSettings
    from recap.config import to_json

    if config.tracker == "mlflow":
        for line in not_used(os.environ, OF_MLFLOW, "MLflow shows this run by its own name, in experiment 'recap'"):
            say(line)
    return TRACKERS.get(config.tracker)(
        TrackerSettings(
            workspace=workspace.root,
            run_name=invocation.name,
            uri=_tracking_uri(workspace),
            params={"task": invocation.task, "preset": invocation.preset, "seed": invocation.seed},
            tags={"command": shlex.join(sys.argv), "config": json.dumps(to_json(config))},
            warn=say,
        )
    )


def _tracking_uri(workspace: Workspace) -> str:
    from pipelines.trackers import sqlite_uri

    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_uri(workspace.root / "mlflow.db")


def _final_policy(summary: RunSummary) -> Path:
    """The champion where a gate decided, else the policy chosen last."""
    made = [
        outputs["champion" if "decision" in outputs else "policy"].path
        for outputs in summary.outputs.values()
        if "selection" in outputs or "decision" in outputs
    ]
    return made[-1]


def _evaluations(summary: RunSummary) -> dict[str, dict[str, Any]]:
    from pipelines.summary import paired_summary

    found: dict[str, dict[str, Any]] = {}
    first: dict[str, list[Mapping[str, Any]]] = {}
    for node, outputs in summary.outputs.items():
        if "evaluation" not in outputs:
            continue
        evaluation = outputs["evaluation"].json()
        found[node] = evaluation["summary"] | outputs["timing"].json()["summary"]
        task = evaluation["task"]
        if task in first:
            found[node]["to_imitation"] = paired_summary(evaluation["attempts"], first[task])
        else:
            first[task] = evaluation["attempts"]
    return found


def _decisions(summary: RunSummary) -> dict[str, dict[str, Any]]:
    shown = ("verdict", "reason", "pairs", "difference")
    return {
        node: {name: value for name, value in outputs["decision"].json().items() if name in shown}
        for node, outputs in summary.outputs.items()
        if "decision" in outputs
    }
