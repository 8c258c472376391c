"""`recap annotate`: a person judges episodes on a local page, or hands over outcomes that another system knows."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import DEFAULT_WORKSPACE, Workspace


def annotate(
    name: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Run that waits for labels; by default the latest that does.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    port: Annotated[int, typer.Option(help="Port of the page on 127.0.0.1; 0 takes any that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    limit: Annotated[int | None, typer.Option(help="Judge at most so many episodes now.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every episode without a person's label, whether a run waits for it or not.")
    ] = False,
    outcomes: Annotated[
        Path | None, typer.Option("--from", help="Import outcomes from this CSV or JSON file; no page.")
    ] = None,
    only_list: Annotated[bool, typer.Option("--list", help="Only list the episodes that wait.")] = False,
    by: Annotated[
        str | None, typer.Option(help="Who judges; kept beside the labels. By default the login name.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Judge episodes, one key each, on a local page; or import outcomes. Every answer is on disk at once."""
    from pipelines.annotation_server.queue import find_queue, label_book
    from recap import workspace as workspaces
    from recap.errors import ConfigError

    opened = workspaces.Workspace.open(workspace, create=False)
    person = by or workspaces.user_name()
    if outcomes is not None:
        if only_list or everything or limit is not None or name is not None:
            raise ConfigError(
                "--from goes alone: a file names its own episodes", hint="recap annotate --from FILE --workspace W"
            )
        _import(opened, outcomes, by=person, as_json=as_json)
        return
    queue = find_queue(opened, name, everything=everything, limit=limit)
    if only_list:
        _list(opened, queue, as_json=as_json)
        return
    if not queue.episodes:
        _result(
            {"labelled": 0, "skipped": 0, "left": 0, "next_command": queue.next_command},
            f"{_whose(queue)} waits for no label\nnext: {queue.next_command}",
            as_json=as_json,
        )
        return
    from data.episodes import EpisodeStore
    from pipelines.annotation_server.serve import sit

    def announce(url: str) -> None:
        # stderr, so that the one JSON object stays alone on stdout.
        typer.echo(f"{len(queue.episodes)} episodes wait. Open (Ctrl-C ends; answers are saved):\n  {url}", err=True)
        if browser and _graphical():
            import webbrowser

            webbrowser.open(url)

    summary = sit(EpisodeStore(opened.episodes), label_book(opened), queue, by=person, port=port, announce=announce)
    _result(
        {field: getattr(summary, field) for field in summary.__slots__},
        f"{summary.labelled} labelled ({summary.success} success, {summary.failure} failure, {summary.aborted} aborted)"
        f", {summary.skipped} skipped, {summary.left} not reached\nnext: {summary.next_command}",
        as_json=as_json,
    )


def _import(workspace: Any, path: Path, *, by: str, as_json: bool) -> None:
    from data.annotation import read_outcomes_file
    from data.episodes import EpisodeStore
    from pipelines.annotation_server.queue import label_book

    found = read_outcomes_file(path, EpisodeStore(workspace.episodes).ids())
    book = label_book(workspace)
    before, judged = book.annotations("imported"), book.annotations("human")
    fresh = [annotation for episode_id, annotation in found.items() if before.get(episode_id) != annotation]
    if fresh:
        book.record_all(fresh, by=by, origin="imported")
    hidden = sum(1 for i, one in found.items() if i in judged and judged[i].outcome is not one.outcome)
    text = f"{len(found)} outcomes in {path}: {len(fresh)} imported, {len(found) - len(fresh)} known already"
    if hidden:
        text += f"\n{hidden} disagree with what a person said, which holds"
    _result(
        {"rows": len(found), "imported": len(fresh), "known": len(found) - len(fresh), "disagree": hidden},
        text,
        as_json=as_json,
    )


def _list(workspace: Any, queue: Any, *, as_json: bool) -> None:
    from data.episodes import EpisodeStore

    if as_json:
        typer.echo(json.dumps({"run": queue.run, "node": queue.node, "episodes": list(queue.episodes)}))
        return
    for row in EpisodeStore(workspace.episodes).rows(queue.episodes):
        typer.echo(f"{row.id}  {row.task:<20} {row.source.value:<10} {row.length:>5} steps")
    typer.echo(f"{len(queue.episodes)} episodes wait ({_whose(queue)})")


def _whose(queue: Any) -> str:
    return f"run '{queue.run}'" if queue.run is not None else "the workspace"


def _graphical() -> bool:
    # Without a display, webbrowser would start a text browser in this very terminal.
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _result(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    typer.echo(json.dumps(value) if as_json else text)
