"""`recap night`: what a schedule starts, and what can be typed as well."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any

import typer

from cli.options import DEFAULT_WORKSPACE, Workspace, with_options
from pipelines.invocation import Invocation
from pipelines.schedule.request import NightRequest


def split(typed: dict[str, Any]) -> tuple[NightRequest, dict[str, Any]]:
    """What is asked of the night, and the options of the run."""
    own = {item.name for item in fields(NightRequest)}
    night = NightRequest.of(**{name: value for name, value in typed.items() if name in own})
    return night, {name: value for name, value in typed.items() if name not in own}


@with_options(NightRequest, Invocation, unlabelled="skip")  # nobody is there at night to label
def night(
    typed: dict[str, Any],
    at: Annotated[
        str | None, typer.Option(help="HH:MM nights begin at: do nothing if none is due. By default begin now.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Go on with the last night, take in new episodes, train on them, write the morning report."""
    from pipelines.schedule.clock import check_time
    from pipelines.schedule.night import run_night

    if at is not None:
        check_time(at)
    asked, rest = split(typed)
    invocation = Invocation.of(workspace=workspace, **rest)
    done = run_night(workspace, asked, invocation, typer.echo, at=at)
    if at is None and done is not None and done.state == "too few":
        typer.echo(f"too few for a training: --min-new-episodes {asked.min_new_episodes}")
