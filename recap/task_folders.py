"""Where task files lie: the `tasks` folder of a workspace, found again by every process that is started from here.

Owns the environment variable. Must not know what is in a file.
"""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "RECAP_TASKS"
"""Folders of task files, written as PATH is."""
SUFFIXES = (".yaml", ".yml", ".json")
"""What a task file's name may end with."""


def offered() -> tuple[Path, ...]:
    """The folders that are searched, in order."""
    return tuple(Path(folder) for folder in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if folder)


def offer(workspace: str | Path) -> Path:
    """Has the task files of a workspace searched first, here and in processes started later; returns their folder."""
    folder = Path(workspace).absolute() / "tasks"
    rest = [str(other) for other in offered() if other != folder]
    os.environ[ENVIRONMENT] = os.pathsep.join([str(folder), *rest])
    return folder
