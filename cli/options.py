"""Options that several commands share."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

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
Until = Annotated[str | None, typer.Option(help="HH:MM: end at the next checkpoint after it, exit code 7.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def with_run_options(**defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command all options of `recap run`, as `Invocation` declares them; it gets them as one `typed` mapping.

    Args:
        defaults: by field, where a command's differ from those of `run`.
    """
    from pipelines.invocation import Invocation

    return with_options(Invocation, **defaults)


def with_options(*declared: type[Any], **defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The same with the options that the fields of other classes are (pipelines.invocation.option)."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        options = [
            inspect.Parameter(
                item.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(item.name, item.default if item.default != () else None),
                annotation=Annotated[
                    item.metadata["kind"], typer.Option(item.metadata["flag"], help=item.metadata["help"])
                ],
            )
            for one in declared
            for item in fields(one)
            if "flag" in item.metadata
        ]
        names = {option.name for option in options}

        @wraps(command)
        def wrapped(**given: Any) -> None:
            command(
                typed={name: value for name, value in given.items() if name in names},
                **{name: value for name, value in given.items() if name not in names},
            )

        rest = [
            one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own.parameters.values() if one.name != "typed"
        ]
        signature: Any = wrapped
        signature.__signature__ = own.replace(parameters=[*options, *rest])
        signature.__annotations__ = {one.name: one.annotation for one in (*options, *rest)}
        return wrapped

    return decorate
