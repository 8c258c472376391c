"""`recap gc`: say what nobody needs any more; remove it when told to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DEFAULT_WORKSPACE, noted
from recap.texts import size_text


def gc(
    keep: Annotated[
        int, typer.Option(min=0, help="Iterations per run whose replaced results stay, and packed caches that stay.")
    ] = 2,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove what is listed; without it nothing changes.")
    ] = False,
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="Folder that holds runs and experience.", callback=noted)
    ] = DEFAULT_WORKSPACE,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """List what no run, champion or kept iteration refers to, with sizes. Episodes are never touched."""
    import json
    from dataclasses import asdict

    from recap.gc import KINDS, find_garbage, remove_garbage
    from recap.workspace import Workspace

    opened = Workspace.open(workspace, create=False)
    found = (remove_garbage if delete else find_garbage)(opened, keep=keep)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    for item in found.items:
        typer.echo(f"{size_text(item.bytes):>10}  {item.kind:<10}  {item.path}  ({item.why})")
    if found.items:
        typer.echo("")
    for kind in KINDS:
        listed = [item for item in found.items if item.kind == kind]
        if listed or found.kept[kind]:
            total = size_text(sum(item.bytes for item in listed))
            verb = "removed" if delete else "can go"
            typer.echo(f"{kind:<10}  {found.kept[kind]:>5} kept  {len(listed):>5} {verb}  {total:>10}")
    for note in found.notes:
        typer.echo(f"note: {note}")
    if not found.items:
        typer.echo(f"nothing to remove in {opened.root}")
    elif delete:
        typer.echo(f"removed {len(found.items)} things, {size_text(found.frees)} of disk given back")
    else:
        typer.echo(f"{len(found.items)} things, {size_text(found.frees)} of disk; nothing was changed")
        from cli.hints import typed_here

        typer.echo("remove them:  " + typed_here("recap gc --delete" + (f" --keep {keep}" if keep != 2 else "")))
