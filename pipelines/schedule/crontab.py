"""The user's crontab, read and replaced through the `crontab` program.

It must not know what the entries say.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from recap.errors import RecapError

_TIMEOUT_S = 30.0


class CrontabError(RecapError):
    """The `crontab` program refused; nothing was changed unless the message says so."""


def has_crontab() -> bool:
    """Whether this machine has the `crontab` program."""
    return shutil.which("crontab") is not None


def read_crontab() -> str:
    """The user's crontab; empty if there is none. Bytes that are not UTF-8 come back as they were.

    Raises:
        CrontabError: it cannot be read.
    """
    done = _run("-l", None)
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode == 0:
        return done.stdout.decode(errors="surrogateescape")
    if "no crontab for" in said.lower():
        return ""
    raise CrontabError(f"crontab -l failed with exit code {done.returncode}: {said or 'it said nothing'}")


def install_crontab(text: str) -> None:
    """Replaces the user's crontab and reads it back.

    Raises:
        CrontabError: it was refused, or is not what was given.
    """
    done = _run("-", text.encode(errors="surrogateescape"))
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise CrontabError(f"crontab refused the new table, exit code {done.returncode}: {said or 'it said nothing'}")
    if not read_crontab().endswith(text):
        raise CrontabError("the crontab is not what was installed", hint="crontab -l   (look at it)")


def _run(argument: str, content: bytes | None) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["crontab", argument],
            input=content if content is not None else b"",
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            # "no crontab for NAME" is only said so in this language.
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CrontabError(f"crontab {argument} could not be run: {error}") from error
