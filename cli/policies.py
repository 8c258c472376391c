"""`recap export` and `recap evaluate`: policies outside of a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.options import DEFAULT_WORKSPACE, AsJson, Workspace, with_options
from pipelines.policies.request import EvaluationRequest

_POLICY = "Run (its champion), bundle or exported folder; by default the latest run."


def export(
    to: Annotated[Path, typer.Option(help="Folder to make.")],
    policy: Annotated[str | None, typer.Argument(metavar="[RUN|BUNDLE]", help=_POLICY)] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Write a policy as a folder that LeRobot loads, after LeRobot has acted from it as recap does."""
    from pipelines.policies.export import export_policy

    made = export_policy(workspace, policy, to, lambda line: typer.echo(line, err=as_json))
    if as_json:
        typer.echo(json.dumps(asdict(made)))
        return
    typer.echo(f"{made.to}  {made.policy}, LeRobot policy type {made.type}{f' ({made.note})' if made.note else ''}")
    typer.echo(f"  tried   on {made.tried_on}: actions differ by at most {made.difference:.1e}")
    typer.echo("  run it  (ENV, ROBOT: LeRobot's names of yours, and their options)")
    for command in made.commands:
        typer.echo(f"    {command}")


@with_options(EvaluationRequest)
def evaluate(
    typed: dict[str, Any],
    policy: Annotated[str | None, typer.Argument(help=_POLICY)] = None,
    against: Annotated[str | None, typer.Argument(help="Another policy, on the same starts.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Have a policy attempt a simulated task: success and throughput with intervals. Re-issue it to go on."""
    from cli.views import show_figures
    from pipelines.policies.evaluate import evaluate_policies

    asked = EvaluationRequest.of(policy=policy, against=against, **typed)
    found = evaluate_policies(workspace, asked, lambda line: typer.echo(line, err=as_json))
    if as_json:
        typer.echo(json.dumps(asdict(found)))
        return
    typer.echo("")
    typer.echo(f"{found.task}, {found.starts} starts  (simulated)")
    for one in (found.policy, found.against):
        if one is not None:
            typer.echo(f"{one.policy}  {one.policy_id[:12]}")
            show_figures(one.success, one.throughput)
    success, throughput = found.success_difference, found.throughput_difference
    if success is not None and throughput is not None:
        typer.echo(f"first minus second on the same {success.starts} starts")
        typer.echo(
            f"  success     {100 * success.difference:+.1f} points"
            f"   95 % interval {100 * success.low:+.1f} .. {100 * success.high:+.1f}"
        )
        typer.echo(
            f"  throughput  {throughput.difference:+.1f}/h"
            f"   95 % interval {throughput.low:+.1f} .. {throughput.high:+.1f}"
        )
    typer.echo(f"steps run {len(found.executed)}, cached {len(found.cached)}, in {found.seconds:.1f} s")
    typer.echo(f"again   {found.command}")
