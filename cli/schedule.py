"""`recap schedule ...`: start a run every day, through the user's crontab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import DEFAULT_WORKSPACE, AsJson, with_its_tasks, with_run_options

schedule_app = typer.Typer(help="Start a run every day.", no_args_is_help=True, rich_markup_mode=None)

OneWorkspace = Annotated[
    Path | None, typer.Option("--workspace", "-w", help="Only this workspace; by default all of them.")
]


@schedule_app.command()
@with_run_options(unlabelled="skip")  # nobody is there at night to label
def add(
    typed: dict[str, Any],
    at: Annotated[str, typer.Option(help="Time of day, HH:MM, in the machine's local time.")],
    workspace: Annotated[
        Path,
        typer.Option(
            "--workspace", "-w", help="Folder that holds runs and experience; made if absent.", callback=with_its_tasks
        ),
    ] = DEFAULT_WORKSPACE,
    print_only: Annotated[bool, typer.Option("--print", help="Print the crontab entry; install nothing.")] = False,
) -> None:
    """Start a run every day at a time. The same run again replaces its entry. Exit 2 if it was not installed."""
    from cli.hints import typed_here
    from pipelines.invocation import Invocation
    from pipelines.schedule.jobs import add_job

    invocation = Invocation.of(workspace=workspace, **typed)
    made = add_job(workspace, invocation, at, install=not print_only)
    typer.echo(made.entry, nl=False)
    if print_only:
        return
    if not made.installed:
        typer.echo(
            "error: not installed: this machine has no `crontab` program\n"
            "  next: put the lines above into the crontab of a machine that has one, or install cron and re-issue",
            err=True,
        )
        raise typer.Exit(2)
    typer.echo(f"\n{made.job.name} starts every day at {at}; it goes on where it was left, and what is done stays done")
    typer.echo(f"log      {made.job.log}")
    typer.echo("overlap  a start that finds the workspace in use ends at once with exit code 4, and the log says so")
    typer.echo("undo     " + typed_here(f"recap schedule remove {made.job.name}"))


@schedule_app.command("list")
def list_scheduled(workspace: OneWorkspace = None, as_json: AsJson = False) -> None:
    """List the scheduled runs."""
    import json
    from dataclasses import asdict

    _needs_crontab()
    from pipelines.schedule.jobs import list_jobs

    jobs = list_jobs(workspace)
    if as_json:
        typer.echo(json.dumps([asdict(job) for job in jobs]))
        return
    if not jobs:
        typer.echo("nothing is scheduled; schedule a run:  recap schedule add --at 02:00 --task shirt_folding")
    for job in jobs:
        typer.echo(f"{job.at}  {job.name:<32} {job.workspace}\n       {job.command}\n       log {job.log}")


@schedule_app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Name of the run, as `recap schedule list` shows it.")],
    workspace: OneWorkspace = None,
) -> None:
    """Take a run off the schedule; what it has recorded stays."""
    _needs_crontab()
    from pipelines.schedule.jobs import remove_job

    job = remove_job(name, workspace)
    typer.echo(f"{job.name} at {job.at} in {job.workspace} is no longer scheduled")


def _needs_crontab() -> None:
    from pipelines.schedule.crontab import has_crontab
    from recap.errors import ConfigError

    if not has_crontab():
        raise ConfigError("this machine has no `crontab` program, so nothing is scheduled here")
