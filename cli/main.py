"""The command line. Owns flags, exit codes and what is printed; every command's work is in `pipelines`.

Only typer is imported at the top, so that `--help` answers at once.

Exit codes: 0 done, 1 a step failed, 2 bad setting, usage or machine, 3 waiting for labels, 4 workspace locked, 5 stored
data corrupt, 6 waiting for attempts on a robot, 7 ended at its --until, 130 interrupted.
"""

from __future__ import annotations

import errno
import io
import locale
import os
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.annotate import annotate
from cli.compare import compare
from cli.data import data_app
from cli.doctor import doctor
from cli.gc import gc
from cli.lineage import lineage, rollback
from cli.night import night
from cli.on_robot import robot
from cli.options import DEFAULT_WORKSPACE, AsJson, Until, Workspace, with_run_options
from cli.policies import evaluate, export
from cli.schedule import schedule_app
from cli.serve import serve
from cli.study import study_app

app = typer.Typer(
    name="recap",
    help="Improve robot policies from their own experience. Every command can be killed and re-issued.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would cost half of the 0.3 s
)
app.add_typer(data_app, name="data")
app.add_typer(schedule_app, name="schedule")
app.add_typer(study_app, name="study")
app.command()(gc)
app.command()(annotate)
app.command()(compare)
app.command()(doctor)
app.command()(lineage)
app.command()(rollback)
app.command()(night)
app.command()(serve)
app.command()(export)
app.command()(evaluate)
app.command()(robot)

_INTERRUPTED = 130


@app.command()
@with_run_options()
def run(
    typed: dict[str, Any],
    task_file: Annotated[
        Path | None, typer.Option(help="Description of a task without a simulator; kept in the workspace.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print plan, memory, disk and time, and do nothing.")
    ] = False,
    until: Until = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Run the loop on a task. Re-issue the same command to go on after any interruption."""
    from cli.views import run_and_show
    from pipelines.invocation import Invocation

    if dry_run:
        from cli.dry_run import show_dry_run
        from recap.errors import ConfigError

        if task_file is not None:
            raise ConfigError("--dry-run with --task-file, which is kept in the workspace", hint="recap run --dry-run")
        show_dry_run(workspace, Invocation.of(workspace=workspace, **typed), as_json=as_json)
        return
    if task_file is not None:
        from pipelines.task_files import name_task_file

        name_task_file(workspace, task_file, task=typed["task"])
    invocation = Invocation.of(workspace=workspace, **typed)
    run_and_show(workspace, invocation, as_json=as_json, task_file=task_file, until=until)


@app.command()
def resume(
    name: Annotated[str | None, typer.Argument(help="Run to go on with; by default the latest.")] = None,
    until: Until = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Go on with a run, with the settings it was started with."""
    from cli.views import run_and_show
    from pipelines.invocation import Invocation

    run_and_show(workspace, Invocation.load(workspace, name), as_json=as_json, until=until)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Run to show; by default the latest.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Show which steps of a run are done, running or to come. Works while the run is live."""
    from cli.views import show_status

    show_status(workspace, name, as_json=as_json)


@app.command("list")
def list_runs(
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """List the runs of a workspace."""
    from cli.views import show_runs

    show_runs(workspace, as_json=as_json)


@app.command()
@with_run_options()
def explain(typed: dict[str, Any], workspace: Workspace = DEFAULT_WORKSPACE, as_json: AsJson = False) -> None:
    """Say which steps a run (with no option the latest) would reuse, which it would run, and why. Changes nothing."""
    from cli.views import show_plan
    from pipelines.invocation import Invocation

    name = typed["name"]
    usual = {item.name: item.default for item in fields(Invocation)}
    if all(value == usual[option] or not value for option, value in typed.items() if option != "name"):
        invocation = Invocation.load(workspace, name)
    else:
        invocation = Invocation.of(workspace=workspace, **typed)
    show_plan(workspace, invocation, as_json=as_json)


@app.command()
def verify(
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: AsJson = False,
) -> None:
    """Read every step output and every episode in full. Exit 5 if anything is not what was committed."""
    from cli.views import show_verification

    show_verification(workspace, as_json=as_json)


@app.command()
def report(
    name: Annotated[str | None, typer.Argument(help="Run to report on; by default the latest.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
) -> None:
    """Write the HTML report of a run (finished or not) and print its path."""
    from pipelines.invocation import Invocation
    from pipelines.run import report_of

    typer.echo(report_of(workspace, Invocation.load(workspace, name).name))


def main() -> None:
    """Entry point of the `recap` command."""
    from pipelines.roots import check_roots
    from recap.errors import ConfigError, RecapError

    _speak_utf8()
    # As in Ray's actors, and before any of them is imported: linear algebra on more threads sums in another order, and
    # the same run on another executor would have other digests. `fit.threads` raises torch's own.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        check_roots()
        # Outside its standalone mode, click returns the code of a typer.Exit instead of raising it.
        code = app(standalone_mode=False)
    except RecapError as error:
        from cli.hints import typed_here

        typer.echo(f"error: {RecapError(error.message, hint=typed_here(error.hint))}", err=True)
        # A step that stopped on a known error keeps the exit code of that error.
        cause = error.__cause__
        raise SystemExit(cause.exit_code if isinstance(cause, RecapError) else error.exit_code) from None
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        typer.echo(f"error: {error.strerror}: {error.filename}", err=True)
        raise SystemExit(ConfigError.exit_code) from None
    except Exception as error:
        # typer's own usage errors know how to show themselves; anything else is a bug and keeps its traceback.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        raise SystemExit(getattr(error, "exit_code", 2)) from None
    # typer turns Ctrl-C within a command into this code and says nothing.
    if code == _INTERRUPTED:
        typer.echo(f"\ninterrupted; nothing finished is lost. To go on:\n  {_again()}", err=True)
    raise SystemExit(code)


def _speak_utf8() -> None:
    """Lets no text end a command: files are UTF-8 whatever the locale, and what a stream cannot say is spelled out."""
    if locale.getencoding().lower() != "utf-8" and not sys.flags.utf8_mode and os.environ.get("PYTHONUTF8") != "1":
        # Libraries, and the processes that they start, open files in the encoding of the locale. It is fixed at start.
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _again() -> str:
    import shlex

    return shlex.join(["recap", *sys.argv[1:]])
