"""`recap serve`: a policy for robots, behind the protocol of openpi."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.options import DEFAULT_WORKSPACE, AsJson, Workspace


def serve(
    target: Annotated[
        str | None,
        typer.Argument(metavar="RUN|BUNDLE", help="Run whose champion is served (by default the latest), or a bundle."),
    ] = None,
    task: Annotated[str | None, typer.Option(help="What is attempted: its prompt and rate; one of the run's.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Beyond this machine only with a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes any that is free.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File of the token that clients must send; or the variable RECAP_SERVE_TOKEN."),
    ] = None,
    max_batch: Annotated[int, typer.Option(help="Requests per forward pass at most.")] = 8,
    max_wait_ms: Annotated[float, typer.Option(help="How long a request waits for others to share its pass.")] = 5.0,
    seed: Annotated[int, typer.Option(help="Seed of the noise of requests that name none.")] = 0,
    device: Annotated[str, typer.Option(help="Torch device of the policy: cpu, cuda, cuda:1, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help="Number format of its products: float32 or bfloat16.")] = "float32",
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Serve a policy to robots that run openpi-client, until Ctrl-C. Several robots share a forward pass."""
    import json
    from dataclasses import asdict

    from pipelines import serving
    from pipelines.policies.found import find_policy
    from policy.serving.access import check_exposure, read_token
    from policy.serving.server import ServingConfig
    from recap.training.config import RuntimeConfig

    token = read_token(token_file)
    check_exposure(host, token)
    config = ServingConfig(host=host, port=port, max_batch=max_batch, max_wait_ms=max_wait_ms, seed=seed)
    found = find_policy(workspace, target)
    tasks = serving.tasks_served(found, task)
    settings = RuntimeConfig(device=device, dtype=dtype)

    def ready(address: str) -> None:
        # stderr, so that the one JSON object stays alone on stdout.
        typer.echo(f"{found.name} at ws://{address}   (http://{address}/metrics, /healthz; Ctrl-C ends)", err=True)

    summary = serving.serve(found, tasks, config, token=token, runtime=settings, ready=ready)
    typer.echo(
        json.dumps(asdict(summary)) if as_json else f"{summary.answered} requests answered, {summary.errors} errors"
    )
