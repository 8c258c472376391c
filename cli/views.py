"""What each command prints: text for people, JSON for scripts. Computes nothing."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cli.hints import typed_here
from pipelines.invocation import Invocation
from recap.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.datasets.request import ImportRequest
    from pipelines.steps.evaluate.outputs import SuccessSummary, ThroughputSummary
    from pipelines.steps.open_loop_eval.outputs import OpenLoopEval
    from recap.explain import NodePlan

_MARK = {"done": "+", "cached": "=", "running": ">", "failed": "x", "killed": "x", "interrupted": "x", "pending": "."}


def run_and_show(
    root: Path, invocation: Invocation, *, as_json: bool, task_file: Path | None = None, until: str | None = None
) -> None:
    """Runs (to the time of day `until`), then prints the figures and what to do next. With JSON, progress on stderr."""
    from pipelines.run import run_loop
    from pipelines.schedule.clock import seconds_of

    end = None if until is None else seconds_of(until, option="--until")
    result = run_loop(root, invocation, lambda line: typer.echo(line, err=as_json), task_file=task_file, until=end)
    if as_json:
        _json(result)
        return
    typer.echo("")
    for node, found in result.evaluations.items():
        paired = found.to_imitation
        typer.echo(f"{node}  (on the robot)" if invocation.env else f"{node}  (simulated)")
        show_figures(found.success, found.throughput)
        if paired is not None:
            typer.echo(
                f"  minus imitation on the same {paired.starts} starts  {100 * paired.difference:+.1f} points"
                f"   95 % interval {100 * paired.low:+.1f} .. {100 * paired.high:+.1f}"
            )
    for node, open_loop in result.open_loop.items():
        _show_open_loop(node, open_loop)
    for statement in dict.fromkeys(one.statement for one in result.open_loop.values()):
        typer.echo(statement)
    for node, decision in result.decisions.items():
        typer.echo(f"{node}  {decision.verdict.upper()}: {decision.reason}")
    typer.echo(f"steps run {len(result.executed)}, cached {len(result.cached)}, in {_span(result.seconds)}")
    typer.echo(f"report  {result.report}")
    if result.open_loop:
        others = ", ".join(result.loaded_by)
        typer.echo(f"policy  {result.policy}{f'   ({others} loads this folder)' if others else ''}")
    if result.tracking_uri is not None:
        typer.echo(f"mlflow  {_browse(result.tracking_uri)}")
    typer.echo(f"again   {result.command}")


def show_figures(success: SuccessSummary, throughput: ThroughputSummary) -> None:
    """The two lines of how a policy did."""
    typer.echo(
        f"  success     {success.successes}/{success.attempts} = {success.success:.1%}"
        f"   95 % interval {success.success_low:.1%} .. {success.success_high:.1%}"
    )
    typer.echo(
        f"  throughput  {throughput.throughput_per_hour:.1f}/h"
        f"   95 % interval {throughput.throughput_low:.1f} .. {throughput.throughput_high:.1f}"
    )


def _show_open_loop(node: str, found: OpenLoopEval) -> None:
    typer.echo(f"{node}  the policy acted on {found.frames} recorded frames of {found.episodes} episodes")
    for name, group in found.groups.items():
        for unit, mean in group.mean.items():
            kept = mean.keep_state_error
            beside = "" if kept is None else f"   keeping the state: {kept:.4f}"
            frames = f"{name} ({group.frames})"
            typer.echo(f"  {frames:<16} mean error {mean.error:.4f} {unit}{beside}")
    typer.echo(f"  beyond the recorded range  {found.contract.outside_fraction:.1%} of the actions")


def show_status(root: Path, name: str | None, *, as_json: bool) -> None:
    """One run: state of every node, and how far the running one is."""
    from recap.champion import read_champion
    from recap.journal import read_journal
    from recap.provenance import run_status

    workspace = Workspace.open(root, create=False)
    run = Invocation.load(root, name).name
    status = run_status(workspace, run)
    if as_json:
        _json(status)
        return
    records, _ = read_journal(workspace.run_dir(run) / "journal.jsonl")
    last = {record["node"]: record for record in records if record["kind"] == "progress"}
    typer.echo(f"{status.run_name}  {status.state}  (updated {_ago(status.updated)} ago)")
    width = max([14, *(len(node.name) for node in status.nodes)])
    for node in status.nodes:
        far = ""
        if node.state in ("running", "killed", "interrupted", "failed") and node.name in last:
            at = last[node.name]
            far = f"  {at['done']}/{at['total']} {at['unit']}"
        seconds = f"  {_span(node.seconds)}" if node.seconds is not None else ""
        error = f"  {node.error.splitlines()[0]}" if node.error else ""
        typer.echo(f"  {_MARK.get(node.state, '?')} {node.name:<{width}} {node.state}{seconds}{far}{error}")
    champion = read_champion(workspace, run)
    if champion is not None:
        typer.echo(f"champion {champion.policy_id[:12]}  {champion.verdict} by {champion.node}")
    if status.state not in ("done", "running"):
        typer.echo("go on with:  " + typed_here(f"recap resume {run}"))


def show_runs(root: Path, *, as_json: bool) -> None:
    """All runs of a workspace, the latest first."""
    from recap.provenance import run_status

    workspace = Workspace.open(root, create=False)
    runs = sorted((run_status(workspace, name) for name in workspace.run_names()), key=lambda run: -run.updated)
    if as_json:
        typer.echo(json.dumps([_plain(run) for run in runs]))
        return
    if not runs:
        typer.echo("no runs yet; start one:  " + typed_here("recap run --task shirt_folding"))
    width = max([32, *(len(run.run_name) for run in runs)])
    for run in runs:
        done = sum(node.state in ("done", "cached") for node in run.nodes)
        typer.echo(f"{run.run_name:<{width}} {run.state:<12} {done}/{len(run.nodes)} steps   {_ago(run.updated)} ago")


def show_plan(root: Path, invocation: Invocation, *, as_json: bool) -> None:
    """What a run would reuse and what it would run, with the reason."""
    from pipelines.graph import build_graph
    from recap.explain import explain

    plans = explain(Workspace.open(root, create=False), build_graph(invocation.config()), invocation.name)
    if as_json:
        typer.echo(json.dumps([_plain(plan) for plan in plans]))
        return
    echo_plans(plans)


def echo_plans(plans: Sequence[NodePlan]) -> None:
    """A line per step."""
    width = max([14, *(len(plan.node) for plan in plans)])
    for plan in plans:
        typer.echo(f"{plan.state:<8} {plan.node:<{width}} {plan.why}")


def show_verification(root: Path, *, as_json: bool) -> None:
    """Everything that is wrong with step outputs and recorded experience; exit 5 if anything is."""
    from data.verify import verify
    from recap.store import Store

    workspace = Workspace.open(root, create=False)
    store = Store(workspace)
    outputs, episodes = store.verify(), list(verify(_store(root)))
    if as_json:
        typer.echo(json.dumps({"outputs": [*map(_plain, outputs)], "episodes": [*map(_plain, episodes)]}))
    else:
        for finding in outputs:
            typer.echo(f"{finding.entry}: {finding.file}: {finding.problem}")
        for broken in episodes:
            typer.echo(str(broken))
        typer.echo(
            f"{len(store.entries())} step outputs, {len(outputs)} findings; "
            f"{len(_store(root).ids())} episodes, {len(episodes)} findings"
        )
        if outputs:
            typer.echo(_next("recap resume   (sets damaged outputs aside and makes them again)"))
        if episodes:
            typer.echo(_next("recap data repair"))
    if outputs or episodes:
        raise typer.Exit(5)


def show_findings(root: Path, *, as_json: bool) -> None:
    """Everything that is wrong with the recorded experience; exit 5 if anything is."""
    from data.verify import verify

    store = _store(root)
    total = len(store.ids())
    findings = list(verify(store))
    if as_json:
        typer.echo(json.dumps({"episodes": total, "findings": [_plain(finding) for finding in findings]}))
    else:
        for finding in findings:
            typer.echo(str(finding))
        typer.echo(f"{total} episodes read in full, {len(findings)} findings")
        if findings:
            typer.echo(_next("recap data repair   (sets broken files aside, deletes nothing)"))
    if findings:
        raise typer.Exit(5)


def show_repair(root: Path, *, as_json: bool) -> None:
    """Mends what can be mended, under the workspace's lock."""
    from data.verify import repair

    workspace = Workspace.open(root, create=False)
    with workspace.lock("data repair"):
        store = _store(root)
        done = repair(store)
        store.rebuild_index()
    if as_json:
        typer.echo(json.dumps([_plain(item) for item in done]))
        return
    for item in done:
        typer.echo(f"{item.finding}\n  {item.action}" + (f"\n  lost: {item.lost}" if item.lost else ""))
    typer.echo(f"{len(done)} findings dealt with; index rebuilt")
    if any(item.lost for item in done):
        typer.echo(_next("recap resume   (records again what is missing)"))


def show_episode(root: Path, episode: str, *, strip: Path | None, as_json: bool) -> None:
    """Facts of one episode, and a film strip if asked."""
    from data.describe import show

    store = _store(root)
    report = show(store, episode, _labels(root))
    if strip is not None:
        from pipelines.report.filmstrip import film_strip, save_png

        frames = store.load(report.row.id).frames
        save_png(film_strip(frames[sorted(frames)[0]], count=12, scale=2), strip)
    if as_json:
        _json(report)
        return
    row = report.row
    typer.echo(f"{row.id}")
    typer.echo(f"  task {row.task}, robot {row.robot}, {row.source.value}, policy {row.policy_id or '-'}")
    typer.echo(
        f"  {row.length} steps at {row.rate_hz:g} Hz = {report.duration_s:.1f} s, human {report.human_steps} steps"
    )
    if row.instruction is not None:
        typer.echo(f"  told {row.instruction!r}")
    typer.echo(f"  cameras {', '.join(row.cameras)}, renderer {row.renderer or '-'}, {row.bytes / 1e6:.2f} MB")
    if report.changed_steps:
        typer.echo(f"  the robot sent something else than it was asked in {report.changed_steps} steps")
    if report.stale_steps:
        typer.echo(f"  on an earlier reading: steps {', '.join(map(str, report.stale_steps))}")
    outcome = report.outcome.value if report.outcome else "no truth recorded"
    progress = report.final_progress
    typer.echo(f"  outcome {outcome}" + (f", progress {progress:.2f}" if progress is not None else ""))
    if report.label is not None:
        note = f" ({report.label.note})" if report.label.note else ""
        typer.echo(f"  label {report.label.outcome.value}{note}")
    for event in report.events:
        typer.echo(f"  step {event.t:>4} {'+-'[event.kind < 0] if event.kind else ' '} {event.name}")
    if strip is not None:
        typer.echo(f"  strip {strip}")


def show_stats(root: Path, *, as_json: bool) -> None:
    """Counts per task, source and outcome."""
    from data.describe import stats

    figures = stats(_store(root), labels=_labels(root))
    if as_json:
        _json(figures)
        return
    typer.echo(f"{figures.episodes} episodes, {figures.frames} frames, {figures.bytes / 1e6:.1f} MB")
    for group in figures.groups:
        outcome = group.outcome.value if group.outcome else "?"
        typer.echo(
            f"  {group.task:<18} {group.source.value:<10} {outcome:<8} {group.episodes:>5} episodes "
            f"{group.frames:>7} frames   steps {group.lengths[0]}..{group.lengths[2]}..{group.lengths[4]}"
        )
    if figures.quarantined:
        typer.echo(f"  {figures.quarantined} files in quarantine")


def show_import(root: Path, request: ImportRequest, *, as_json: bool) -> None:
    """Imports, then says what came of it and what to do next. Progress goes to stderr."""
    from pipelines.datasets.importing import import_dataset

    result = import_dataset(root, request, lambda line: typer.echo(line, err=True))
    if as_json:
        _json(result)
        return
    typer.echo(
        f"{result.imported} episodes imported, {result.known} were here already, {len(result.left_out)} left out; "
        f"{result.frames} frames in {_span(result.seconds)}"
    )
    for problem in result.left_out.values():
        typer.echo(f"  left out: {problem}")
    if result.unused:
        typer.echo(f"  not taken: {', '.join(result.unused)}")
    if result.told_otherwise:
        typer.echo(f"  not taken: {result.told_otherwise} episodes that were told something else")
    for name in result.unnamed:
        typer.echo(f"  {name}: its names do not fit its numbers, which are called by column and place")
    for part, names in result.renamed.items():
        typer.echo(f"  the {part} has other names than in the task, as many: {', '.join(names)}")
    typer.echo("told " + ", ".join(f"{wording!r} {count}" for wording, count in result.wordings.items()))
    if result.mixed:
        typer.echo(
            f"  {len(result.mixed)} episodes were told several things and have the wording of most of their frames: "
            f"{result.mixed[:8]}"
        )
    for wording, count in result.reworded.items():
        typer.echo(f"  {count} of them were here already and keep what they were told then, not {wording!r}")
    typer.echo("outcomes " + ", ".join(f"{name} {count}" for name, count in result.outcomes.items()))
    if result.other_outcomes:
        typer.echo(f"  {result.other_outcomes} rows of the file are of episodes that were not taken")
    if result.too_long:
        typer.echo(
            f"{len(result.too_long)} episodes are longer than max_steps of task '{result.task}': {result.too_long[:8]}"
        )
    if result.task_file is not None:
        typer.echo(f"task '{result.task}' is new; its description was drafted, look it over:\n  {result.task_file}")
    if result.outcomes.get("none"):
        typer.echo(_next("recap annotate --all   (or --from FILE: how each attempt ended)"))
    typer.echo(_next("recap data verify"))


def show_export(root: Path, to: Path, *, run: str | None, task: str | None, videos: bool, as_json: bool) -> None:
    """Exports, then says what was written. Progress goes to stderr."""
    from pipelines.datasets.export import export_dataset

    result = export_dataset(root, to, lambda line: typer.echo(line, err=True), run=run, task=task, videos=videos)
    if as_json:
        _json(result)
        return
    typer.echo(f"{result.episodes} episodes, {result.frames} frames of task '{result.task}' in {_span(result.seconds)}")
    if result.left_out:
        typer.echo(f"  {result.left_out} episodes of the run are left out: without a label, or of another task")
    if result.unmarked:
        typer.echo(
            f"  {result.unmarked} episodes have steps that were changed or read late: the dataset does not say which, "
            "and taken in again they are other episodes"
        )
    typer.echo(f"columns {', '.join(result.columns)}")
    typer.echo(f"LeRobotDataset v3.0  {result.to}")


def _next(hint: str) -> str:
    return f"next: {typed_here(hint)}"


def _browse(uri: str) -> str:
    """How to look at what MLflow holds: a server has a page, a database needs one."""
    if uri.startswith(("http:", "https:")):
        return uri
    return shlex.join(["mlflow", "ui", "--backend-store-uri", uri])


def _store(root: Path) -> Any:
    from data.episodes import EpisodeStore

    return EpisodeStore(Workspace.open(root, create=False).episodes)


def _labels(root: Path) -> Any:
    """{episode id: what people and imports say of it}."""
    from data.annotation import LabelBook

    return LabelBook(root / "labels").annotations()


def _json(value: Any) -> None:
    typer.echo(json.dumps(_plain(value)))


def _plain(value: Any) -> Any:
    """A dataclass tree as JSON values."""
    return json.loads(
        json.dumps(asdict(value) if is_dataclass(value) and not isinstance(value, type) else value, default=str)
    )


def _span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _ago(then: float) -> str:
    return _span(max(time.time() - then, 0.0))
