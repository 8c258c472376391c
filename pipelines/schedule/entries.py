"""Entries of recap in the text of a crontab: written, found and removed without touching any other line.

An entry is three lines, and the first says in JSON what it is:

    # >>> recap schedule {"at": "02:00", "command": "recap night ...", "log": ..., "name": ..., "workspace": ...}
    0 * * * * (cd DIRECTORY && ... night --at 02:00 ...) >> LOG 2>&1
    # <<< recap schedule

It is started every hour at the minute of its time, and a start that is not due says nothing: a night that was missed
(machine off or asleep, killed, workspace in use) is made up for within an hour. Pure text; it must not know how a
crontab is read or installed.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.schedule.clock import check_time
from recap.errors import ConfigError, UnknownName

_BEGIN = "# >>> recap schedule "
_END = "# <<< recap schedule"


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A run that starts every day."""

    name: str
    """Of the run; with the workspace, of the job."""
    at: str
    """"HH:MM", the machine's local time."""
    workspace: str
    """Absolute."""
    log: str
    """File that every start appends to; absolute."""
    command: str
    """What a person would type."""
    directory: str = ""
    """Where it would be typed: relative paths in settings are meant from there. Entries of an older recap lack it."""
    by: str = "cron"
    """cron or systemd."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    job: Job
    first: int
    """Lines [first, first + 3)."""


def entry_text(job: Job, *, argv: list[str], directory: Path) -> str:
    """The three lines of a job, each ended.

    Args:
        job: what it is.
        argv: program and arguments, absolute where they are paths.
        directory: absolute; relative paths in the arguments are meant from there.

    Raises:
        ConfigError: not a time of day, or a control character, which a line of a crontab cannot hold.
    """
    minutes = check_time(job.at).split(":")[1]
    line = f"(cd {shlex.quote(str(directory))} && {shlex.join(argv)}) >> {shlex.quote(job.log)} 2>&1"
    check_texts("a crontab entry", (line, *asdict(job).values()))
    return f"{_BEGIN}{json.dumps(asdict(job), sort_keys=True)}\n{int(minutes)} * * * * {_cron(line)}\n{_END}\n"


def check_texts(holder: str, texts: Iterable[str]) -> None:
    """ConfigError for a text that a line cannot hold; `holder`: whose line, in words."""
    for text in texts:
        if any(ord(character) < 32 or ord(character) == 127 for character in text):
            raise ConfigError(f"{holder} cannot hold a line break or control character, got {text!r}")


def job_named(jobs: Sequence[Job], name: str) -> Job:
    """The job of that name.

    Raises:
        UnknownName: no such job.
        ConfigError: more than one workspace has it.
    """
    named = [job for job in jobs if job.name == name]
    if not named:
        raise UnknownName.among("scheduled run", name, [job.name for job in jobs], hint="recap schedule list")
    places = list(dict.fromkeys(job.workspace for job in named))
    if len(places) > 1:
        raise ConfigError(
            f"'{name}' is scheduled in {', '.join(places)}",
            hint=f"recap schedule list   (then the same command again with --workspace {shlex.quote(places[0])})",
        )
    return named[0]


def jobs_in(crontab: str) -> list[Job]:
    """The jobs of recap in a crontab, in its order.

    Raises:
        ConfigError: an entry was changed by hand so that its end is not known.
    """
    return [block.job for block in _blocks(_lines(crontab))]


def with_entry(crontab: str, job: Job, entry: str) -> str:
    """The crontab with the entry of a job: in the place of the one of that name and workspace, or at the end."""
    lines = _lines(crontab)
    same = [block for block in _blocks(lines) if (block.job.name, block.job.workspace) == (job.name, job.workspace)]
    if same:
        head, tail = lines[: same[0].first], lines[same[0].first + 3 :]
        return "".join([*head, entry, *tail])
    ended = crontab if not crontab or crontab.endswith("\n") else crontab + "\n"
    return ended + entry


def without_entry(crontab: str, name: str, workspace: str | None) -> tuple[str, Job]:
    """The crontab without the job of that name, and that job.

    Args:
        crontab: the text.
        name: of the run.
        workspace: absolute; None: whichever, if only one workspace has that name.

    Raises:
        UnknownName: no such job.
        ConfigError: more than one workspace has it.
    """
    lines = _lines(crontab)
    blocks = [block for block in _blocks(lines) if workspace in (None, block.job.workspace)]
    job = job_named([block.job for block in blocks], name)
    first = next(block.first for block in blocks if block.job == job)
    return "".join(lines[:first] + lines[first + 3 :]), job


def _lines(crontab: str) -> list[str]:
    """Each with its end. Cron knows one kind of line end; str.splitlines knows ten, and all may stand in a path."""
    return [line for line in re.split(r"(?<=\n)", crontab) if line]


def _cron(command: str) -> str:
    r"""A shell command as cron takes it: a bare % would end it.

    Cron drops the backslash of \%, unless another one stands before it; backslashes are in single quotes here, which
    can be closed and opened again between the two.
    """
    return command.replace("\\%", "\\''%").replace("%", "\\%")


def _blocks(lines: list[str]) -> list[_Block]:
    blocks = []
    for number, line in enumerate(lines):
        if not line.startswith(_BEGIN):
            continue
        try:
            job = Job(**json.loads(line.removeprefix(_BEGIN)))
        except (ValueError, TypeError) as error:
            raise _damaged(number) from error
        # Three lines or nothing: what else stands between the marks is not ours to remove.
        if len(lines) < number + 3 or lines[number + 2].rstrip("\n") != _END or lines[number + 1].startswith("#"):
            raise _damaged(number)
        blocks.append(_Block(job=job, first=number))
    return blocks


def _damaged(number: int) -> ConfigError:
    return ConfigError(
        f"line {number + 1} of the crontab begins an entry of recap that was changed by hand: expected the mark, one "
        f"command line and '{_END}'",
        hint="crontab -e   (remove that entry), then issue this command again",
    )
