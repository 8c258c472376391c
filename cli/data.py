"""`recap data ...`: look at the recorded experience of a workspace, check it, mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.datasets import export_dataset, import_dataset
from cli.options import DEFAULT_WORKSPACE, AsJson, Workspace
from cli.record import record

data_app = typer.Typer(
    help="Look at recorded experience, check it, mend it; take it in and hand it out.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
data_app.command()(record)
data_app.command("import")(import_dataset)
data_app.command("export")(export_dataset)


@data_app.command()
def verify(workspace: Workspace = DEFAULT_WORKSPACE, as_json: AsJson = False) -> None:
    """Read every episode in full and name each one that is not what was recorded. Exit 5 if there is any."""
    from cli.views import show_findings

    show_findings(workspace, as_json=as_json)


@data_app.command()
def repair(workspace: Workspace = DEFAULT_WORKSPACE, as_json: AsJson = False) -> None:
    """Move broken files to quarantine, rebuild the index, and say what was lost."""
    from cli.views import show_repair

    show_repair(workspace, as_json=as_json)


@data_app.command()
def show(
    episode: Annotated[str, typer.Argument(help="Episode id, or its first characters.")],
    strip: Annotated[Path | None, typer.Option(help="Also write a film strip to this PNG file.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Show one episode: who acted, how long, how it ended."""
    from cli.views import show_episode

    show_episode(workspace, episode, strip=strip, as_json=as_json)


@data_app.command()
def stats(workspace: Workspace = DEFAULT_WORKSPACE, as_json: AsJson = False) -> None:
    """Count episodes, frames and bytes per task, source and outcome."""
    from cli.views import show_stats

    show_stats(workspace, as_json=as_json)
