"""The user's systemd timers: units of recap written, found and removed; other units are never touched.

    ~/.config/systemd/user/recap-<run>-<digest of the workspace>.{service,timer}

The service's first line says in JSON what it is, as an entry of the crontab does.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

from pipelines.schedule.clock import check_time
from pipelines.schedule.entries import Job, check_texts
from recap.errors import ConfigError, RecapError
from recap.files import write_atomic
from recap.hashing import sha256_hex

_BEGIN = "# recap schedule "
_TIMEOUT_S = 30.0


class TimerError(RecapError):
    """`systemctl --user` refused."""


def has_systemd() -> bool:
    """Whether systemd runs this machine, so that a user may have timers."""
    return shutil.which("systemctl") is not None and Path("/run/systemd/system").is_dir()


def units_folder() -> Path:
    """Where the user's units are."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def unit_name(job: Job) -> str:
    """Of a job's service and timer, without their endings."""
    return f"recap-{job.name}-{sha256_hex(job.workspace.encode())[:8]}"


def unit_texts(job: Job, argv: list[str]) -> dict[str, str]:
    """{file name: text} of the units of a job.

    Args:
        job: what it is.
        argv: program and arguments, absolute where they are paths.

    Raises:
        ConfigError: not a time of day, or a line break, which a unit cannot hold.
    """
    check_texts("a systemd unit", (*argv, *asdict(job).values()))
    minutes = check_time(job.at).split(":")[1]
    name = unit_name(job)
    service = (
        f"{_BEGIN}{json.dumps(asdict(job), sort_keys=True)}\n"
        f"[Unit]\nDescription=Night of {job.name} (recap)\n\n"
        f"[Service]\nType=oneshot\nWorkingDirectory={job.directory.replace('%', '%%')}\n"
        f"ExecStart={' '.join(map(_quoted, argv))}\n"
        f"StandardOutput=append:{job.log.replace('%', '%%')}\nStandardError=append:{job.log.replace('%', '%%')}\n"
    )
    timer = (
        f"[Unit]\nDescription=Night of {job.name} (recap)\n\n"
        # Every hour, and at once after a time that the machine was off or asleep: what is not due does nothing.
        f"[Timer]\nOnCalendar=*-*-* *:{minutes}:00\nPersistent=true\nUnit={name}.service\n\n"
        "[Install]\nWantedBy=timers.target\n"
    )
    return {f"{name}.service": service, f"{name}.timer": timer}


def install_timer(job: Job, argv: list[str]) -> None:
    """Writes the units of a job and starts its timer.

    Raises:
        TimerError: systemctl refused; the units are as they were written.
    """
    for file, text in unit_texts(job, argv).items():
        write_atomic(units_folder() / file, text.encode())
    _systemctl("daemon-reload")
    _systemctl("enable", "--now", f"{unit_name(job)}.timer")


def timer_jobs() -> list[Job]:
    """The jobs of recap among the user's units, by name of their files.

    Raises:
        ConfigError: one was changed by hand so that what it is is not known.
    """
    found = []
    for path in sorted(units_folder().glob("recap-*.service")):
        first = path.read_text().partition("\n")[0]
        try:
            found.append(Job(**json.loads(first.removeprefix(_BEGIN))))
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{path} does not begin with what recap wrote there: expected '{_BEGIN}...'", hint=f"rm {path}"
            ) from error
    return found


def remove_timer(job: Job) -> None:
    """Stops the timer of a job and removes its units.

    Raises:
        TimerError: systemctl refused.
    """
    _systemctl("disable", "--now", f"{unit_name(job)}.timer")
    for ending in ("timer", "service"):
        (units_folder() / f"{unit_name(job)}.{ending}").unlink(missing_ok=True)
    _systemctl("daemon-reload")


def _quoted(word: str) -> str:
    """A word of ExecStart: systemd knows C escapes within double quotes, % and $ stand for other things."""
    inner = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{inner}"'


def _systemctl(*arguments: str) -> None:
    command = ["systemctl", "--user", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TimerError(f"{' '.join(command)} could not be run: {error}") from error
    if done.returncode != 0:
        said = done.stderr.strip() or "it said nothing"
        raise TimerError(f"{' '.join(command)} failed with exit code {done.returncode}: {said}")
