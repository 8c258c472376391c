"""A task file of someone's taken into a workspace, where every later command finds it."""

from __future__ import annotations

from pathlib import Path

from recap.errors import ConfigError
from recap.workspace import Workspace


def take_task_file(root: Path, file: Path, *, task: str) -> Path:
    """Keeps `file` as the description of `task` in the workspace at `root`, made if absent; where it lies there.

    Raises:
        ConfigError: it is no task file, of another task, or the workspace describes the task otherwise.
    """
    from data.durable import replace_durably
    from data.task_file import find_task_file, read_task_file
    from recap.task_folders import offer

    found = read_task_file(file)
    if found.spec.id != task:
        raise ConfigError(f"--task-file {file} describes '{found.spec.id}', expected '{task}' as --task says")
    workspace = Workspace.open(root)
    folder = offer(workspace.root)
    there = find_task_file(folder, task)
    if there is None:
        there = folder / f"{task}{file.suffix}"
        replace_durably(there, file.read_bytes())
    elif there.absolute() != file.absolute() and read_task_file(there).describe() != found.describe():
        raise ConfigError(
            f"--task-file {file}: the workspace describes '{task}' otherwise ({there})",
            hint=f"edit {there}, or remove it and issue this again",
        )
    return there
