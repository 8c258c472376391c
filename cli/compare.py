"""`recap compare`: value models side by side on the same episodes and folds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from cli.options import DEFAULT_WORKSPACE, AsJson, Workspace, with_options
from pipelines.compare.request import Comparison


@with_options(Comparison)
def compare(
    typed: dict[str, Any],
    run: Annotated[
        str | None, typer.Argument(help="Run whose experience it is; by default the latest. Not with --demos.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Compare value models on the same episodes and folds: figures, curves, one page. Re-issue it to go on."""
    from pipelines.compare.run import run_comparison

    asked = Comparison.of(run=run, **typed)
    result = run_comparison(workspace, asked, lambda line: typer.echo(line, err=as_json))
    if as_json:
        typer.echo(json.dumps({name: _plain(value) for name, value in asdict(result).items()}))
        return
    typer.echo(f"steps run {len(result.executed)}, cached {len(result.cached)}, in {result.seconds:.1f} s")
    typer.echo(f"page    {result.page}")
    typer.echo(f"table   {result.table}   (and compare.csv beside it)")
    typer.echo(f"again   {result.command}")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value if isinstance(value, (int, float)) else str(value)
