"""`recap data record`: a person records with a real robot, by teleoperation or by correcting a policy."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import DEFAULT_WORKSPACE, Workspace

if TYPE_CHECKING:
    from data.robots.recording import RecordingSetup
    from data.robots.session import RecordingSummary


def record(
    task: Annotated[str, typer.Option(help="What is attempted; names the prompt, the rate and the robot's channels.")],
    robot_config: Annotated[Path, typer.Option(help="LeRobot's configuration of the robot, YAML or JSON.")],
    teleop_config: Annotated[
        Path | None, typer.Option(help="LeRobot's configuration of the teleoperator, YAML or JSON.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="Policy bundle that acts; without it a person demonstrates.")
    ] = None,
    episodes: Annotated[int, typer.Option(help="Attempts to record that end as success or failure.")] = 10,
    seed: Annotated[int, typer.Option(help="Seed of the policy's inference noise.")] = 0,
    by: Annotated[
        str | None, typer.Option(help="Who judges; kept beside the labels. By default the login name.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Record attempts on a LeRobot robot; keys start, take over, judge, discard and undo. Each is on disk at once."""
    from data.annotation import LabelBook
    from data.episodes import EpisodeStore
    from data.robots.device import connected
    from data.robots.keyboard import TerminalKeys
    from data.robots.session import Count, RecordingSession
    from data.robots.signals import StopSignals
    from recap.errors import ConfigError
    from recap.types import Source
    from recap.workspace import Workspace as Opened
    from recap.workspace import user_name

    if episodes < 1:
        raise ConfigError(f"--episodes {episodes}: expected at least 1")
    # Before seconds of imports, and before anything moves.
    keyboard = TerminalKeys()
    setup = _setup(task, robot_config, teleop_config, policy, seed)
    opened = Opened.open(workspace)
    devices = [part.device for part in (setup.robot, setup.teleoperator) if part is not None]
    stop, store = StopSignals(), EpisodeStore(opened.episodes)

    def say(text: str) -> None:
        # stderr, so that the one JSON object stays alone on stdout.
        typer.echo(text, err=True)

    session = RecordingSession(
        setup,
        store,
        LabelBook(opened.root / "labels"),
        Count(episodes, setup.policy),
        by=by or user_name(),
        keys=keyboard,
        stop=stop,
        say=say,
    )
    try:
        # Connecting may ask for a calibration, line by line: the terminal changes its mode after it.
        with stop, connected(*devices, say=say, stop=stop), keyboard:
            session.run()
    finally:
        summary = session.summary()
        demos_here = any(row.source is Source.DEMO and row.task == task for row in store.rows())
        _show(summary, _next(summary, opened, task, episodes, demos_here=demos_here), as_json=as_json)
    if summary.interrupted:
        raise KeyboardInterrupt


def _setup(
    task_id: str, robot_config: Path, teleop_config: Path | None, policy: Path | None, seed: int
) -> RecordingSetup:
    from data.robots.env_file import RobotFiles
    from data.robots.recording import RecordingSetup
    from data.tasks import TASKS
    from policy.client import LocalClient
    from policy.models import load_policy

    task = TASKS.get(task_id)
    robot, leader = RobotFiles(robot=robot_config, teleoperator=teleop_config).make(task)
    acting = None if policy is None else LocalClient(load_policy(policy))
    return RecordingSetup(task=task, robot=robot, teleoperator=leader, policy=acting, noise_seed=seed)


def _next(summary: RecordingSummary, opened: Any, task: str, wanted: int, *, demos_here: bool) -> str:
    """What to type now: label what has no label, record what is missing, or learn from it."""
    from recap.workspace import workspace_option

    here = workspace_option(opened.root)
    if summary.unlabelled:
        return shlex.join(["recap", "annotate", "--all", *here])
    if summary.judged < wanted:
        # The same command, for what is missing.
        words = [word for word in sys.argv[1:] if not word.startswith("--episodes=")]
        if "--episodes" in words:
            at = words.index("--episodes")
            del words[at : at + 2]
        return shlex.join(["recap", *words, "--episodes", str(wanted - summary.judged)])
    learn = ["recap", "run", "--task", task, "--collect", "none", "--demos"]
    learn.append(str(opened.root) if demos_here else "DIRECTORY_OF_DEMOS")
    corrected = any(one.source != "demo" for one in summary.kept)
    learn += ["--rollouts", str(opened.root)] if corrected else ["--iterations", "0"]
    return shlex.join([*learn, "--set", "imported.others=skip", *here])


def _show(summary: RecordingSummary, next_command: str, *, as_json: bool) -> None:
    counts: dict[str, int] = {}
    for one in summary.kept:
        if one.episode_id:
            name = f"{one.source}/{one.outcome.value if one.outcome is not None else 'unlabelled'}"
            counts[name] = counts.get(name, 0) + 1
    pace = summary.pace
    stored = [one for one in summary.kept if one.episode_id]
    value: dict[str, Any] = {
        "episodes": counts,
        "discarded": len(summary.kept) - len(stored),
        "steps": pace.steps,
        "human_steps": sum(one.human_steps for one in summary.kept),
        "stale_steps": sum(len(one.stale_steps) for one in summary.kept),
        "changed_steps": sum(one.changed_steps for one in summary.kept),
        "reports_what_it_sent": summary.reports,
        "late_steps": pace.late,
        "worst_late_s": pace.worst_s,
        "inference_late_s": summary.inference_s,
        "rate_hz": pace.rate_hz,
        "ids": [one.episode_id for one in stored],
        "interrupted": summary.interrupted,
        "next_command": next_command,
    }
    if as_json:
        typer.echo(json.dumps(value))
        return
    for name, count in sorted(counts.items()):
        typer.echo(f"{count} {name}")
    share = 100 * pace.late / pace.steps if pace.steps else 0.0
    typer.echo(
        f"{len(stored)} episodes stored, {value['discarded']} attempts discarded or empty; {pace.steps} steps, "
        f"{value['human_steps']} by a person, {pace.rate_hz:.1f} Hz; {pace.late} late ({share:.1f} %), "
        f"worst {pace.worst_s * 1000:.0f} ms; {value['stale_steps']} on an earlier reading; "
        f"{value['changed_steps']} sent otherwise than asked"
    )
    typer.echo(f"next: {next_command}")
