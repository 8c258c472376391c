"""`recap schedule ...`: nights of a run, started by the user's crontab or systemd timers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.night import split
from cli.options import DEFAULT_WORKSPACE, AsJson, with_its_tasks, with_options
from pipelines.invocation import Invocation
from pipelines.schedule.request import NightRequest

schedule_app = typer.Typer(help="Start a run every night.", no_args_is_help=True, rich_markup_mode=None)

OneWorkspace = Annotated[
    Path | None, typer.Option("--workspace", "-w", help="Only this workspace; by default all of them.")
]
Scheduled = Annotated[str, typer.Argument(help="Name of the run, as `recap schedule list` shows it.")]


@schedule_app.command()
@with_options(NightRequest, Invocation, unlabelled="skip")  # nobody is there at night to label
def add(
    typed: dict[str, Any],
    at: Annotated[str, typer.Option(help="Time of day, HH:MM, in the machine's local time.")],
    by: Annotated[str, typer.Option(help="What starts it: cron, or systemd (a timer of the user).")] = "cron",
    workspace: Annotated[
        Path,
        typer.Option(
            "--workspace", "-w", help="Folder that holds runs and experience; made if absent.", callback=with_its_tasks
        ),
    ] = DEFAULT_WORKSPACE,
    print_only: Annotated[bool, typer.Option("--print", help="Print the entry or units; install nothing.")] = False,
) -> None:
    """Start a run every night at a time. The same run again replaces its entry. Exit 2 if it was not installed."""
    from cli.hints import typed_here
    from pipelines.schedule.jobs import add_job

    asked, rest = split(typed)
    invocation = Invocation.of(workspace=workspace, **rest)
    made = add_job(workspace, asked, invocation, at, install=not print_only, by=by)
    typer.echo(made.entry, nl=False)
    if print_only:
        return
    if not made.installed:
        lacks = {"cron": "has no `crontab` program", "systemd": "is not run by systemd"}[by]
        typer.echo(
            f"error: not installed: this machine {lacks}\n"
            f"  next: put the lines above where {by} of another machine finds them, or install it and re-issue",
            err=True,
        )
        raise typer.Exit(2)
    window = f", and ends by {asked.until}" if asked.until else ""
    typer.echo(f"\n{made.job.name} starts every night at {at}{window}; it goes on where it was left")
    typer.echo(f"log      {made.job.log}")
    typer.echo("missed   a night that was missed or killed is made up for within an hour of the machine being back")
    typer.echo("overlap  a start that finds the workspace in use ends at once, and is tried again every hour")
    typer.echo("history  " + typed_here(f"recap schedule history {made.job.name}"))
    typer.echo("undo     " + typed_here(f"recap schedule remove {made.job.name}"))


@schedule_app.command("list")
def list_scheduled(workspace: OneWorkspace = None, as_json: AsJson = False) -> None:
    """List the scheduled runs: when each starts next, and how the last night ended."""
    import json
    from dataclasses import asdict
    from datetime import datetime

    _needs_one()
    from pipelines.schedule.clock import next_time
    from pipelines.schedule.history import History
    from pipelines.schedule.jobs import list_jobs

    shown = []
    for job in list_jobs(workspace):
        history = History(Path(job.workspace), job.name)
        nights = history.nights(at_work=history.at_work())
        following = next_time(job.at, datetime.now()).isoformat(timespec="minutes")
        shown.append({**asdict(job), "next": following, "last": asdict(nights[-1]) if nights else None})
    if as_json:
        typer.echo(json.dumps(shown))
        return
    if not shown:
        typer.echo("nothing is scheduled; schedule a run:  recap schedule add --at 02:00 --task shirt_folding")
    for one in shown:
        last = "last    no night yet" if one["last"] is None else f"last    {_when(one['last'])}"
        typer.echo(f"{one['at']}  {one['name']:<32} {one['workspace']}  ({one['by']})\n       {one['command']}")
        typer.echo(f"       next    {one['next']}\n       {last}\n       log     {one['log']}")


@schedule_app.command()
def history(
    name: Annotated[str | None, typer.Argument(help="Name of the run; by default every one that has nights.")] = None,
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="Folder that holds runs and experience.", callback=with_its_tasks)
    ] = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Show every night of a run: when, what it found, how it ended, where its report is."""
    import json
    from dataclasses import asdict

    from pipelines.schedule.history import open_history, runs_with_nights
    from recap.errors import UnknownName

    known = runs_with_nights(workspace)
    if name is not None and name not in known:
        raise UnknownName.among("run with nights", name, known, hint="recap schedule list")
    shown: list[dict[str, Any]] = []
    for run in known if name is None else [name]:
        opened = open_history(workspace, run)
        shown += [{"run": run, **asdict(one)} for one in opened.nights(at_work=opened.at_work())]
    if as_json:
        typer.echo(json.dumps(shown))
        return
    if not shown:
        typer.echo("no night yet")
    for one in shown:
        typer.echo(_when(one) + (f"\n    report  {one['report']}" if one["report"] else ""))


@schedule_app.command("run-now")
def run_now(name: Scheduled, workspace: OneWorkspace = None) -> None:
    """Start a night of a scheduled run here and now, as the schedule would."""
    import os

    _needs_one()
    from pipelines.schedule.jobs import find_job, program

    job = find_job(name, workspace)
    typer.echo(job.command)
    if job.directory:
        os.chdir(job.directory)
    argv = program(job.command)
    os.execv(argv[0], argv)


@schedule_app.command()
def remove(name: Scheduled, workspace: OneWorkspace = None) -> None:
    """Take a run off the schedule; what it has recorded stays."""
    _needs_one()
    from pipelines.schedule.jobs import remove_job

    job = remove_job(name, workspace)
    typer.echo(f"{job.name} at {job.at} in {job.workspace} is no longer scheduled")


def _when(one: dict[str, Any]) -> str:
    from datetime import datetime

    began = datetime.fromtimestamp(one["began"]).isoformat(sep=" ", timespec="minutes")
    return f"{began}  {one['line'] or one['state']}"


def _needs_one() -> None:
    from pipelines.schedule.crontab import has_crontab
    from pipelines.schedule.timers import timer_jobs
    from recap.errors import ConfigError

    if not has_crontab() and not timer_jobs():
        raise ConfigError("this machine has no `crontab` program and no timer of recap, so nothing is scheduled here")
