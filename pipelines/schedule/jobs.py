"""Scheduled nights: what a job looks like, added, listed, started and removed, with cron or with systemd.

Owns paths and names of a job; text and program of the crontab are `entries` and `crontab`, units `timers`.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from pipelines.invocation import Invocation
from pipelines.schedule.clock import check_time
from pipelines.schedule.crontab import has_crontab, install_crontab, read_crontab
from pipelines.schedule.entries import Job, entry_text, job_named, jobs_in, with_entry, without_entry
from pipelines.schedule.history import History
from pipelines.schedule.request import NightRequest
from pipelines.schedule.timers import has_systemd, install_timer, remove_timer, timer_jobs, unit_texts
from recap.errors import ConfigError
from recap.workspace import Workspace

BY = ("cron", "systemd")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheduled:
    """A job and its entry."""

    job: Job
    entry: str
    """Lines for a crontab, or the units."""
    installed: bool


def add_job(
    root: Path, asked: NightRequest, invocation: Invocation, at: str, *, install: bool, by: str = "cron"
) -> Scheduled:
    """Schedules the nights of a run. The same run again replaces its entry.

    The workspace is made if absent, for log and history; settings are checked now, and not at night.

    Args:
        root: workspace directory.
        asked: of every night.
        invocation: the run.
        at: "HH:MM", local time of the machine.
        install: put it where it is started from, if that is there; else it is only described.
        by: cron or systemd.

    Raises:
        ConfigError: a wrong time or setting, or a path that no entry can hold.
        CrontabError, TimerError: the crontab cannot be read or written, or systemctl refused.
    """
    check_time(at)
    if by not in BY:
        raise ConfigError(f"--by {by!r}: expected one of {', '.join(BY)}")
    workspace = root.absolute()
    asked.run_of(workspace, invocation).config()
    log = workspace / "logs" / f"schedule-{invocation.name}.log"
    job = Job(
        name=invocation.name,
        at=at,
        workspace=str(workspace),
        log=str(log),
        command=asked.command(workspace, invocation),
        directory=str(Path.cwd()),
        by=by,
    )
    argv = program(asked.command(workspace, invocation, at=at))
    if by == "cron":
        entry = entry_text(job, argv=argv, directory=Path.cwd())
    else:
        entry = "".join(f"# {name}\n{text}\n" for name, text in unit_texts(job, argv).items())
    Workspace.open(workspace)
    log.parent.mkdir(exist_ok=True)
    installs = install and (has_crontab() if by == "cron" else has_systemd())
    if installs:
        if by == "systemd":
            install_timer(job, argv)
        else:
            before = read_crontab()
            after = with_entry(before, job, entry)
            if after != before:
                install_crontab(after)
        # The same run by the other scheduler would start every night twice.
        for other in list_jobs(workspace):
            if other.name == job.name and other.by != by:
                _unschedule(other)
        History(workspace, invocation.name).scheduled()
    return Scheduled(job=job, entry=entry, installed=installs)


def program(command: str) -> list[str]:
    """Program and arguments of a command of recap, for this interpreter."""
    # -P: a directory that holds a cli/ or recap/ of its own must not stand in for this one. Not resolved: the
    # interpreter of a virtual environment is a link, and knows its packages by where the link lies.
    return [str(Path(sys.executable).absolute()), "-P", "-m", "cli", *shlex.split(command)[1:]]


def list_jobs(root: Path | None) -> list[Job]:
    """The scheduled runs of a workspace, or of all; those of cron first, in the order of the crontab."""
    wanted = None if root is None else str(root.absolute())
    jobs = [*(jobs_in(read_crontab()) if has_crontab() else []), *timer_jobs()]
    return [job for job in jobs if wanted in (None, job.workspace)]


def find_job(name: str, root: Path | None) -> Job:
    """The scheduled run of that name.

    Raises:
        UnknownName: no such job.
        ConfigError: more than one workspace has it and none was named.
    """
    return job_named(list_jobs(root), name)


def remove_job(name: str, root: Path | None) -> Job:
    """Unschedules a run; its workspace, history and log stay.

    Raises:
        UnknownName: no such job.
        ConfigError: more than one workspace has it and none was named.
    """
    job = find_job(name, root)
    for one in list_jobs(Path(job.workspace)):
        if one.name == name:
            _unschedule(one)
    return job


def _unschedule(job: Job) -> None:
    if job.by == "systemd":
        remove_timer(job)
    else:
        left, _ = without_entry(read_crontab(), job.name, job.workspace)
        install_crontab(left)
