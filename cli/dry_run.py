"""`recap run --dry-run`: the plan of a run and what it would cost, without doing any of it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cli.doctor import echo_finding
from recap.texts import size_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.cost import Cost
    from pipelines.invocation import Invocation


def show_dry_run(root: Path, invocation: Invocation, *, as_json: bool) -> None:
    """Steps, trainings with their memory, disk and time, and what this machine lacks. Changes nothing."""
    from cli.views import echo_plans
    from pipelines.cost import costs, disk_bytes
    from pipelines.doctor import examine
    from pipelines.graph import build_graph
    from recap.explain import explain
    from recap.workspace import Workspace

    config = invocation.config()
    graph = build_graph(config)
    with tempfile.TemporaryDirectory(prefix="recap-dry-run-") as empty:
        # Where nothing is yet, nothing is made: the plan is that of an empty workspace.
        there = root if (root / "workspace.json").exists() else Path(empty)
        plans = explain(Workspace.open(there, create=there != root), graph, invocation.name)
    found = costs(config, graph, plans)
    findings = examine(config, root, probe=False, disk=sum(disk_bytes(found)))
    if as_json:
        rows = [{**asdict(one), "operations": one.operations} for one in found]
        everything = {
            "steps": [asdict(plan) for plan in plans],
            "trainings": rows,
            "findings": [asdict(one) for one in findings],
        }
        typer.echo(json.dumps(everything))
        return
    echo_plans(plans)
    typer.echo("")
    _echo_costs(found)
    for one in findings:
        echo_finding(one)
    typer.echo("nothing was run or changed; the same without --dry-run does it")


def _echo_costs(found: Sequence[Cost]) -> None:
    from pipelines.cost import REACHED, disk_bytes

    if not found:
        typer.echo("no training would be run")
        return
    width = max(len(one.node) for one in found)
    for one in found:
        if one.needs is None:
            typer.echo(f"train {one.node:<{width}} {one.family}: not known")
            continue
        times = f"{one.trainings} x " if one.trainings > 1 else ""
        memory = size_text(one.needs.total) + (" of each process" if one.processes > 1 else "")
        typer.echo(
            f"train {one.node:<{width}} {one.family}, {times}{one.steps:,} steps, {one.needs.parameters:,} parameters: "
            f"memory {memory}, disk {size_text(one.bundle_bytes)} "
            f"and {size_text(one.checkpoint_bytes)} while it trains{f', {hours}' if (hours := _hours([one])) else ''}"
        )
    kept, most = disk_bytes(found)
    typer.echo(f"disk  {size_text(kept)} of weights for good, up to {size_text(most)} of checkpoints while they train")
    if hours := _hours(found):
        typer.echo(
            f"time  {hours} in all trainings, at {REACHED:.0%} of a card's bfloat16 products "
            "(measured there by: recap doctor)"
        )


def _hours(found: Sequence[Cost]) -> str:
    """Of some trainings on cards of each kind; nothing of less than a minute."""
    from pipelines.cost import CARDS

    hours = {card: sum(one.hours(card) for one in found) for card in CARDS}
    if max(hours.values()) < 1 / 60:
        return ""
    told = (f"{60 * count:.0f} min" if count < 1 else f"{count:.0f} h" for count in hours.values())
    count = found[0].processes
    cards = (f"one {card}" if count == 1 else f"{count} {card}" for card in hours)
    return ", ".join(f"{text} on {which}" for text, which in zip(told, cards, strict=True))
