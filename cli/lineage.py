"""`recap lineage`: where a policy comes from, and what came of an episode. `recap rollback`: the champion before it."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.options import DEFAULT_WORKSPACE, AsJson, Workspace


def lineage(
    what: Annotated[
        str | None, typer.Argument(help="A run (its champion), or the first digits of a policy, output or episode.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Show what a policy was made of (episodes, labels, value models, settings, commit), and what was made of it."""
    import json
    import time
    from collections.abc import Sequence
    from dataclasses import asdict

    from pipelines.lineage import Line, lineage_of

    found = lineage_of(workspace, what)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return

    def show(title: str, lines: Sequence[Line]) -> None:
        if not lines:
            return
        typer.echo(f"\n{title}")
        width = max(len(line.made.node or line.made.step) for line in lines)
        for line in lines:
            made = line.made
            when = time.strftime("%Y-%m-%d %H:%M", time.localtime(made.ended)) if made.ended else "-"
            inputs = ", ".join(f"{name} {value[:12]}" for name, value in made.inputs.items())
            outputs = ", ".join(f"{name} {value[:12]}" for name, value in made.outputs.items())
            count = "" if line.episodes is None else f"  {line.episodes} episodes"
            commit = made.commit[:12] + ("+" if made.commit.endswith("+") else "")
            typer.echo(f"  {made.node or made.step:<{width}}  {when}  {commit or '-'}{count}  -> {outputs}")
            if inputs:
                typer.echo(f"  {'':<{width}}  from {inputs}")

    typer.echo(f"{found.asked}  {found.identity}")
    show("made of, nearest first", found.made_of)
    show("made from it, oldest first", found.made_from)
    for problem in found.unreadable:
        typer.echo(f"not read: {problem}")
    typer.echo("\nsettings of each: --json")


def rollback(
    run: Annotated[str | None, typer.Argument(help="Name of the run; by default the last one started.")] = None,
    to: Annotated[str, typer.Option(help="First digits of an earlier champion; by default the one before.")] = "",
    why: Annotated[str, typer.Option(help="Kept with the champion.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Make an earlier champion of a run its champion again."""
    import json
    from dataclasses import asdict

    from cli.hints import typed_here
    from pipelines.rollback import roll_back_run

    champion = roll_back_run(workspace, run, to=to, why=why, say=lambda line: typer.echo(line, err=as_json))
    if as_json:
        typer.echo(json.dumps(asdict(champion)))
        return
    typer.echo(f"champion of {champion.run}  {champion.policy_id[:12]}  ({champion.node}), {champion.reason}")
    typer.echo(
        "what asks for the run's champion acts with it from now on; iterations that this run has left still go on"
    )
    typer.echo("from the policy of its own gates. Take it back:  " + typed_here(f"recap rollback {champion.run}"))
