"""`recap robot`: an operator makes the attempts that a run waits for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import DEFAULT_WORKSPACE, Workspace
from recap.errors import ConfigError

if TYPE_CHECKING:
    from data.robots.keyboard import TerminalKeys
    from pipelines.operating import Missing
    from pipelines.operator import Request
    from recap import workspace as workspaces


def robot(
    name: Annotated[
        str | None, typer.Argument(metavar="RUN", help="Run that waits for attempts; by default the latest that does.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Who judges; kept beside the labels. By default the login name.")
    ] = None,
    dry: Annotated[
        bool, typer.Option("--dry", help="Play the next attempt without sending anything, and keep nothing.")
    ] = False,
    replay_error: Annotated[
        float,
        typer.Option(help="Most that a policy may differ from recorded actions: share of the limits' range."),
    ] = 0.25,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Make the attempts that a run on a robot waits for. Each is on disk at once; issue it again for the rest."""
    from data.robots.keyboard import TerminalKeys as Keyboard
    from pipelines.operating import read_request
    from recap import workspace as workspaces

    # Before seconds of imports, and before anything moves.
    keyboard = Keyboard()
    opened = workspaces.Workspace.open(workspace, create=False)
    request = read_request(opened, name)
    with opened.lock(f"robot {request.run}"):
        attempts, interrupted = _session(
            opened, request, keyboard, by or workspaces.user_name(), dry=dry, replay_error=replay_error
        )
    done, wanted = attempts.progress(())
    _show(request, done, wanted, opened.root, as_json=as_json)
    if interrupted:
        raise KeyboardInterrupt


def _session(
    opened: workspaces.Workspace, request: Request, keyboard: TerminalKeys, by: str, *, dry: bool, replay_error: float
) -> tuple[Missing, str]:
    """Plays until all attempts are there or the operator ends it; them, and the signal that ended it, or ""."""
    from data.annotation import LabelBook
    from data.episodes import EpisodeStore
    from data.robots.buttons import with_buttons
    from data.robots.device import connected
    from data.robots.dry import DryRobot
    from data.robots.env_file import read_env_file
    from data.robots.recording import RecordingSetup, play
    from data.robots.session import RecordingSession
    from data.robots.signals import StopSignals
    from data.tasks import TASKS
    from pipelines.invocation import Invocation
    from pipelines.operating import Missing, policies_of, replayed
    from pipelines.operator import Attempts

    invocation = Invocation.load(opened.root, request.run)
    if invocation.env is None:
        raise ConfigError(f"run '{request.run}' has no --env", hint=f"recap resume {request.run}")
    task = TASKS.get(request.task)
    around: Any = (lambda device: DryRobot(device, _say)) if dry else (lambda device: device)
    files = read_env_file(Path(invocation.env))
    if files.identity != request.named:
        raise ConfigError(
            f"--env {invocation.env} names {json.dumps(files.identity)}, "
            f"and run '{request.run}' waits for attempts of {json.dumps(request.named)}",
            hint=f"recap resume {request.run}",
        )
    arms, teleoperator = files.make(task, around=around)
    clients = policies_of(opened, request, invocation.config().runtime)
    for found in replayed(opened, clients, task, arms.setup, most=replay_error):
        _say(
            f"replayed {found.frames} recorded frames: actions {found.error:.1%} of the limits' range from what was "
            f"done, {found.outside:.0%} beyond a limit"
        )
    attempts = Missing(Attempts(opened, request), lambda slot: clients.get(slot.policy))
    if recovered := attempts.recover(by=by):
        _say(f"the verdict of {recovered[:12]}, which a kill had left out, was written")
    stop = StopSignals()
    setup = RecordingSetup(task=task, robot=arms, teleoperator=teleoperator, policy=None, noise_seed=request.noise_seed)
    session = RecordingSession(
        setup,
        EpisodeStore(opened.episodes),
        LabelBook(opened.root / "labels"),
        attempts,
        by=by,
        keys=keyboard,
        stop=stop,
        say=_say,
    )
    devices = [part.device for part in (arms, teleoperator) if part is not None]
    # Connecting may ask for a calibration, line by line: the terminal changes its mode after it.
    with stop, connected(*devices, say=_say, stop=stop), keyboard:
        if not dry:
            session.run()
        elif (turn := attempts.next(())) is not None:
            keys = with_buttons(keyboard, setup)
            played = play(replace(setup, policy=turn.policy), turn.number, keys=keys, stop=stop, say=_say)
            _say(f"dry: {played.pace.steps} steps, nothing sent, nothing kept. {played.verdict.note}".rstrip())
    return attempts, stop.asked


def _say(text: str) -> None:
    # stderr, so that the one JSON object stays alone on stdout.
    typer.echo(text, err=True)


def _show(request: Request, done: int, wanted: int, root: Path, *, as_json: bool) -> None:
    import shlex

    from recap.workspace import workspace_option

    command = shlex.join(["recap", "resume" if done >= wanted else "robot", request.run, *workspace_option(root)])
    value = {"run": request.run, "node": request.node, "done": done, "wanted": wanted}
    if as_json:
        typer.echo(json.dumps({**value, "next_command": command}))
        return
    typer.echo(f"{request.node}: {done} of {wanted} attempts are there\nnext: {command}")
