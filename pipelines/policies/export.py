"""A policy as a folder for LeRobot's own tools: `recap export`."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.policies.found import find_policy, trained_for
from pipelines.policies.observations import observations_for
from recap.errors import ConfigError
from recap.files import TMP_PREFIX, publish_dir, remove_tree
from recap.workspace import process_alive

if TYPE_CHECKING:
    from policy.models import Exported


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyExport:
    """What an export wrote."""

    to: str
    policy: str
    """Which policy it is, in words."""
    type: str
    """LeRobot's policy type."""
    note: str
    """Why it is not a type that LeRobot has itself; "" if it is, or there is none."""
    difference: float
    """Largest difference of an action, LeRobot's in a fresh process against recap's own."""
    tried_on: str
    """What they acted on."""
    commands: tuple[str, ...]
    """LeRobot's commands for it; what stands in capitals is for the person to fill in."""
    seconds: float


def export_policy(root: Path, asked: str | None, to: Path, say: Callable[[str], None]) -> PolicyExport:
    """Writes a policy to the new folder `to`, once LeRobot has loaded it and acts as recap does.

    Args:
        root: workspace directory: of the run, and of the episodes that it is tried on.
        asked: run or folder (`find_policy`).
        to: folder to make.
        say: prints one line for a person.

    Raises:
        ConfigError: `to` exists, no such policy, or one of a family that LeRobot does not know.
        RecapError: LeRobot does not load it, or acts otherwise; nothing is left behind.
    """
    from policy.models import family_of_bundle

    began = time.monotonic()
    to = to.absolute()
    if to.exists() or to.is_symlink():
        raise ConfigError(f"{to} exists: an export makes a new folder", hint="give --to another name, or remove it")
    found = find_policy(root, asked)
    family = family_of_bundle(found.path)
    trained = trained_for(found.path)
    if family.export is None or trained is None:
        raise ConfigError(
            f"policy {found.name} is of family {family.name}, which LeRobot has no class for",
            hint=f"recap evaluate {shlex.quote(asked or str(found.path))}   (plays it)",
        )
    observations, tried_on = observations_for(root, trained)
    say(f"exporting {found.name}; then LeRobot loads it in a process of its own and acts on {tried_on}")
    to.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(to)
    partial = to.with_name(f"{TMP_PREFIX}{to.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        made = family.export(found.path, partial, to, observations)
        publish_dir(partial, to)
    finally:
        remove_tree(partial)
    return PolicyExport(
        to=str(to),
        policy=found.name,
        type=made.type,
        note=made.note,
        difference=made.difference,
        tried_on=tried_on,
        commands=_commands(to, made, observations[0].prompt),
        seconds=time.monotonic() - began,
    )


def _remove_leftovers(to: Path) -> None:
    """Of exports of that name whose process was killed."""
    for left in to.parent.glob(f"{TMP_PREFIX}{escape(to.name)}.*.*"):
        pid = left.name.split(".")[-2]
        if pid.isdecimal() and not process_alive(int(pid)):
            remove_tree(left)


def _commands(to: Path, made: Exported, prompt: str) -> tuple[str, ...]:
    place = shlex.quote(str(to))
    # LeRobot's own server knows a fixed list of types.
    server = "lerobot_policy_recap" if made.type.startswith("recap_") else "lerobot.async_inference"
    # LeRobot's evaluation adds the state of now to actions that were planned relative to an earlier one.
    every = "--policy.n_action_steps=1 " if made.relative else ""
    return (
        f"lerobot-eval --policy.path={place} --policy.device=cpu {every}--env.type=ENV "
        "--eval.n_episodes=10 --eval.batch_size=1",
        f"python -m {server}.policy_server --host=127.0.0.1 --port=8080",
        f"python -m lerobot.async_inference.robot_client --server_address=127.0.0.1:8080 --robot.type=ROBOT "
        f"--policy_type={made.type} --pretrained_name_or_path={place} --policy_device=cpu "
        f"--actions_per_chunk={made.execute} --task={shlex.quote(prompt)}",
    )
