"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_WORKSPACE = Path("runs")
_chosen = [DEFAULT_WORKSPACE]


def chosen_workspace() -> Path:
    """The workspace that this process was called with, as it was typed."""
    return _chosen[0]


def noted(workspace: Path) -> Path:
    """Has what is printed from now on name this workspace."""
    _chosen[0] = workspace
    return workspace


def with_its_tasks(workspace: Path) -> Path:
    """Before any command looks a task up: those described in the workspace's own files are known."""
    from recap.task_folders import offer

    offer(workspace)
    return noted(workspace)


Workspace = Annotated[
    Path,
    typer.Option("--workspace", "-w", help="Folder that holds runs and experience.", callback=with_its_tasks),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
