"""`recap study ...`: many runs that answer one question, and the tables of their committed results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import DEFAULT_WORKSPACE, AsJson, Workspace

if TYPE_CHECKING:
    from pipelines.study.frozen import Study

study_app = typer.Typer(
    help="Ask one question of many runs; one small file per answer, and tables that anyone can make again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="Name of the study, e.g. headline or micro.")]
Results = Annotated[Path, typer.Option("--results", help="Folder that holds a folder per study.")]
DEFAULT_RESULTS = Path("results/study")


@study_app.command()
def run(
    name: Name,
    task: Annotated[list[str] | None, typer.Option(help="Only this task. Repeatable, as are the next three.")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="Only this training seed.")] = None,
    arm: Annotated[list[str] | None, typer.Option(help="Only this arm.")] = None,
    variant: Annotated[list[str] | None, typer.Option(help="Only this variant.")] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0, help="Begin no further cell after that long.")] = None,
    executor: Annotated[str, typer.Option(help="local or ray.")] = "local",
    results: Results = DEFAULT_RESULTS,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Run the cells that are missing. Can be stopped at any time and issued again.

    A workspace has one writer: side by side run different tasks or seeds, each in a workspace of its own.
    """
    from pipelines.study.run import Asked, run_study

    asked = Asked(
        tasks=tuple(task or ()),
        seeds=tuple(seed or ()),
        arms=tuple(arm or ()),
        variants=tuple(variant or ()),
        max_minutes=max_minutes,
        executor=executor,
    )
    done = run_study(workspace, name, results, asked, lambda line: typer.echo(line, err=as_json))
    if as_json:
        _json(done)
        return
    typer.echo(f"cells written {len(done.written)}, there already {done.skipped}, no time for {done.left}")
    where = "" if results == DEFAULT_RESULTS else f" --results {results}"
    typer.echo(f"tables  recap study tables {name}{where}")


@study_app.command()
def tables(
    name: Name,
    write: Annotated[Path | None, typer.Option(help="Put them into this page as well, between its marks.")] = None,
    results: Results = DEFAULT_RESULTS,
) -> None:
    """Make every table again, from the results alone: no workspace, nothing is trained or simulated."""
    from pipelines.study.cells import read_cells
    from pipelines.study.tables import tables_of
    from pipelines.study.write import write_tables

    study = _frozen(name, results)
    text = tables_of(study, read_cells(study))
    typer.echo(text, nl=False)
    if write is not None:
        write_tables(write, name, text)


@study_app.command("list")
def list_cells(name: Name, results: Results = DEFAULT_RESULTS, as_json: AsJson = False) -> None:
    """List which cells are there and which are missing, with the minutes to expect of those."""
    from pipelines.study.cells import read_cells
    from pipelines.study.frozen import Study
    from pipelines.study.plan import plan_of

    study = Study.planned(name, results)
    plans = plan_of(study, read_cells(study))
    if as_json:
        _json(plans)
        return
    for plan in plans:
        took = "" if plan.minutes is None or not plan.missing else f"  about {plan.minutes:.0f} min"
        missing = f"missing {', '.join(map(str, plan.missing))}" if plan.missing else "complete"
        far = f"{len(plan.done)} of {len(plan.done) + len(plan.missing)}"
        typer.echo(f"{f'{plan.variant}  {plan.task}':<50} {plan.arm:<12} {far}  {missing}{took}")
    left = [plan for plan in plans if plan.missing]
    unknown = sum(len(plan.missing) for plan in left if plan.minutes is None)
    known = sum(plan.minutes for plan in left if plan.minutes is not None)
    cells = sum(len(plan.missing) for plan in left)
    of_unknown = f", and {unknown} of arms that no finished cell tells of" if unknown else ""
    typer.echo(f"missing {cells} cells: about {known:.0f} min{of_unknown}, beside steps that cells share")


def _frozen(name: str, results: Path) -> Study:
    from pipelines.study.frozen import Study
    from recap.errors import ConfigError

    study = Study.frozen(name, results)
    if study is None:
        raise ConfigError(f"no cell of study '{name}' in {results}", hint=f"recap study run {name} --results {results}")
    return study


def _json(value: Any) -> None:
    import json
    from dataclasses import asdict

    typer.echo(json.dumps([asdict(one) for one in value] if isinstance(value, list) else asdict(value)))
