"""Scheduled runs: what a job of a run looks like, added, listed and removed.

Owns paths and names of a job; text and program of the crontab are `entries` and `crontab`.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from pipelines.invocation import Invocation
from pipelines.schedule.crontab import has_crontab, install_crontab, read_crontab
from pipelines.schedule.entries import Job, check_time, entry_text, jobs_in, with_entry, without_entry
from recap.workspace import Workspace


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheduled:
    """A job and its entry."""

    job: Job
    entry: str
    """Lines for a crontab."""
    installed: bool


def add_job(root: Path, invocation: Invocation, at: str, *, install: bool) -> Scheduled:
    """Schedules a run every day. The same run again replaces its entry.

    The workspace is made if absent, for the log; settings are checked now, and not at night.

    Args:
        root: workspace directory.
        invocation: the run.
        at: "HH:MM", local time of the machine.
        install: put it in the crontab, where there is one; else it is only described.

    Raises:
        ConfigError: a wrong time or setting, or a path that no crontab can hold.
        CrontabError: the crontab cannot be read or written.
    """
    check_time(at)
    invocation.config()
    workspace = root.absolute()
    log = workspace / "logs" / f"schedule-{invocation.name}.log"
    command = invocation.command(workspace)
    job = Job(name=invocation.name, at=at, workspace=str(workspace), log=str(log), command=command)
    # -P: a directory that holds a cli/ or recap/ of its own must not stand in for this one. Not resolved: the
    # interpreter of a virtual environment is a link, and knows its packages by where the link lies.
    argv = [str(Path(sys.executable).absolute()), "-P", "-m", "cli", *shlex.split(command)[1:]]
    entry = entry_text(job, argv=argv, directory=Path.cwd())
    Workspace.open(workspace)
    log.parent.mkdir(exist_ok=True)
    installs = install and has_crontab()
    if installs:
        before = read_crontab()
        after = with_entry(before, job, entry)
        if after != before:
            install_crontab(after)
    return Scheduled(job=job, entry=entry, installed=installs)


def list_jobs(root: Path | None) -> list[Job]:
    """The scheduled runs of a workspace, or of all; in the order of the crontab."""
    wanted = None if root is None else str(root.absolute())
    return [job for job in jobs_in(read_crontab()) if wanted in (None, job.workspace)]


def remove_job(name: str, root: Path | None) -> Job:
    """Unschedules a run; its workspace and log stay.

    Raises:
        UnknownName: no such job.
        ConfigError: more than one workspace has it and none was named.
    """
    left, job = without_entry(read_crontab(), name, None if root is None else str(root.absolute()))
    install_crontab(left)
    return job
