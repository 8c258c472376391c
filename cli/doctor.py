"""`recap doctor`: what stands between this machine and a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import DEFAULT_WORKSPACE, AsJson, Workspace, with_run_options

if TYPE_CHECKING:
    from pipelines.doctor import Finding

SHOWN = 20
"""Lines of one name that are printed; the others are counted, and all in the JSON."""


@with_run_options()
def doctor(
    typed: dict[str, Any],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Folder of weights to compare, by headers alone, with what --policy expects."),
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Say what a run with these options would find here: packages, renderer, device, memory, speed. Changes nothing."""
    import json
    from collections import Counter
    from dataclasses import asdict

    from pipelines.doctor import examine
    from pipelines.invocation import Invocation

    config = Invocation.of(workspace=workspace, **typed).config()
    found = examine(config, workspace, checkpoint=checkpoint)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found]))
    else:
        told: Counter[str] = Counter()
        for one in found:
            told[one.name] += 1
            if told[one.name] <= SHOWN:
                echo_finding(one)
        for name, count in told.items():
            if count > SHOWN:
                typer.echo(f"      {name:<11} and {count - SHOWN} more (--json has all)")
    if any(one.state == "bad" for one in found):
        raise typer.Exit(2)


def echo_finding(one: Finding) -> None:
    """A line, with what to do about it."""
    from cli.hints import typed_here

    fix = f"   -> {typed_here(one.fix)}" if one.fix else ""
    typer.echo(f"{one.state:<5} {one.name:<11} {one.text}{fix}")
