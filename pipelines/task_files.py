"""A task file of someone's: known to the command that names it, then taken into the workspace for later ones."""

from __future__ import annotations

from pathlib import Path

from recap.errors import ConfigError
from recap.files import write_atomic
from recap.workspace import Workspace


def name_task_file(root: Path, file: Path, *, task: str) -> None:
    """Has `file` describe `task` in this process. Writes nothing.

    Raises:
        ConfigError: it is no task file, of another task, or the workspace at `root` describes the task otherwise.
    """
    from data.task_file import find_task_file, read_task_file
    from recap.task_folders import offer, offer_file

    found = read_task_file(file)
    if found.spec.id != task:
        raise ConfigError(f"--task-file {file} describes '{found.spec.id}', expected '{task}' as --task says")
    there = find_task_file(offer(root), task)
    if there is None:
        offer_file(file)
    elif there.absolute() != file.absolute() and read_task_file(there).describe() != found.describe():
        raise ConfigError(
            f"--task-file {file}: the workspace describes '{task}' otherwise ({there})",
            hint=f"edit {there}, or remove it and issue this again",
        )


def keep_task_file(root: Path, file: Path) -> Path:
    """Keeps a named file in the workspace at `root`, made if absent; where its task is described there."""
    from data.task_file import find_task_file
    from recap.task_folders import offer

    folder = offer(Workspace.open(root).root)
    there = find_task_file(folder, file.stem)
    if there is None:
        there = folder / file.name
        write_atomic(there, file.read_bytes())
    return there
