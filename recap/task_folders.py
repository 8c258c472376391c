"""Where task files lie: the `tasks` folder of a workspace, found again by every process that is started from here.

Owns the environment variable. Must not know what is in a file.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

ENVIRONMENT = "RECAP_TASKS"
"""Folders of task files, or single ones, written as PATH is; a colon or backslash of a name has a backslash before."""
SUFFIXES = (".yaml", ".yml", ".json")
"""What a task file's name may end with."""


def offered() -> tuple[Path, ...]:
    """The folders, or files, that are searched, in order."""
    written = re.findall(r"(?:\\[\\:]|[^:])+", os.environ.get(ENVIRONMENT, ""))
    return tuple(Path(re.sub(r"\\([\\:])", r"\1", folder)) for folder in written)


def offer(workspace: str | Path) -> Path:
    """Has the task files of a workspace searched first, here and in processes started later; returns their folder."""
    return _first(Path(workspace).absolute() / "tasks")


def offer_file(file: Path) -> None:
    """The same for one task file that lies elsewhere: of its folder nothing else is found."""
    _first(file.absolute())


def _first(place: Path) -> Path:
    places = [place, *(other for other in offered() if other != place)]
    os.environ[ENVIRONMENT] = ":".join(re.sub(r"([\\:])", r"\\\1", str(one)) for one in places)
    return place
