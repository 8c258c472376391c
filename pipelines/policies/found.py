"""What a person means by a policy: the champion of a run, a bundle or an exported folder; whether it fits a task."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.invocation import Invocation
from recap.errors import ConfigError, RecapError
from recap.specs import Split, start_seeds
from recap.workspace import Workspace

if TYPE_CHECKING:
    from data.tasks import SimTask, TaskDefinition
    from policy.models import TrainedFor

BUNDLE_FILE = "recap.json"
_FAR = 3.0
"""Ranges beyond the 1 % and 99 % quantiles."""
_STILL = 1e-6
"""A number of the state with a smaller range says nothing of units."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundPolicy:
    """A policy that was asked for."""

    path: Path
    """Its bundle."""
    name: str
    """In words: "champion of run R (1/gate)", or where the folder lies."""
    invocation: Invocation | None
    """Of the run whose champion it is."""
    policy_id: str = ""
    """Of the champion; "" for a bundle that is named by itself."""


def find_policy(root: Path, asked: str | None) -> FoundPolicy:
    """The policy of a folder (one with recap.json), or the champion of the run of that name; None: the latest run.

    Raises:
        ConfigError: a folder without recap.json, a folder and a run of that name, no workspace, or a run that has no
            policy yet.
        UnknownName: no run of that name.
        ArtifactCorrupt: the champion is not what was committed.
    """
    from recap.champion import champion_artifact, read_champion

    folder = None if asked is None else Path(asked)
    # A name without a slash may be a run's, whatever folder of that name lies here.
    named = asked is not None and "/" not in asked and _is_run(root, asked)
    if folder is not None and (folder / BUNDLE_FILE).is_file():
        if named:
            raise ConfigError(
                f"policy {asked}: there is a run of that name and a folder",
                hint=f"./{asked} for the folder, or move it",
            )
        return FoundPolicy(path=folder.absolute(), name=str(folder), invocation=None)
    if folder is not None and not named and (folder.is_dir() or len(folder.parts) != 1):
        problem = f"holds no {BUNDLE_FILE}" if folder.is_dir() else "is not there"
        raise ConfigError(
            f"policy {folder}: the folder {problem}", hint="name a bundle, an exported folder, or a run: recap list"
        )
    invocation = Invocation.load(root, asked)
    workspace = Workspace.open(root, create=False)
    champion = read_champion(workspace, invocation.name)
    if champion is None:
        raise ConfigError(f"run '{invocation.name}' has no policy yet", hint=f"recap resume {invocation.name}")
    return FoundPolicy(
        path=champion_artifact(workspace, champion).path,
        name=f"champion of run {invocation.name} ({champion.node})",
        invocation=invocation,
        policy_id=champion.policy_id,
    )


def _is_run(root: Path, name: str) -> bool:
    try:
        Invocation.load(root, name)
    except RecapError:
        return False
    return True


def trained_for(path: Path) -> TrainedFor | None:
    """What the bundle says of the robot and the instructions it was trained on; None: it does not say.

    Raises:
        ArtifactCorrupt: not a bundle.
        UnknownName: of a family that is not installed.
    """
    from policy.models import family_of_bundle

    asks = family_of_bundle(path).trained_for
    return None if asks is None else asks(path)


def check_fits(policy: FoundPolicy, task: TaskDefinition) -> None:
    """Raises ConfigError, naming everything, for a policy of another robot, other cameras or another instruction."""
    trained = trained_for(policy.path)
    if trained is None:
        return
    robot, spec, wrong = task.robot, task.spec, list[str]()
    for what, own, asked in (
        ("state", trained.state_names, robot.state_names),
        ("action", trained.action_names, robot.action_names),
    ):
        if own != asked:
            wrong.append(f"its {what} is {_listed(own)}, the robot {robot.id} has {_listed(asked)}")
    if absent := [name for name in trained.cameras if name not in robot.camera_names]:
        wrong.append(f"it looks through {', '.join(absent)}, the robot {robot.id} has {_listed(robot.camera_names)}")
    if not wrong and spec.prompt not in trained.prompts:
        wrong.append(f"it was trained on {' and '.join(map(repr, trained.prompts))}, the task says {spec.prompt!r}")
    if wrong:
        raise ConfigError(
            f"policy {policy.name} is not one for task {spec.id}: {'; '.join(wrong)}",
            hint="name the task that it was trained on: --task NAME",
        )


def check_statistics(policy: FoundPolicy, task: SimTask, *, renderer: str, image_size: int) -> None:
    """Raises ConfigError if the robot stands far from all that the policy's statistics know: other units, another rig.

    Of the numbers of the state that move, more than half are `_FAR` ranges away at the first start.
    """
    import numpy as np

    trained = trained_for(policy.path)
    if trained is None:
        return
    env = task.make_env(renderer=renderer, image_size=image_size)
    try:
        env.reset(start_seeds(Split.VALIDATION, 1)[0])
        state = env.observe(draw=False).state
    finally:
        env.close()
    low, high = trained.state_range
    moving = np.flatnonzero(high - low > _STILL)
    away = np.maximum(low - state, state - high)[moving] / (high - low)[moving]
    far = moving[away > _FAR]
    if 2 * len(far) > len(moving):
        shown = "; ".join(
            f"{trained.state_names[i]} {state[i]:.3g}, known {low[i]:.3g} .. {high[i]:.3g}" for i in far[:3]
        )
        raise ConfigError(
            f"policy {policy.name}: its statistics do not fit task {task.spec.id}: at its start {len(far)} of "
            f"{len(moving)} numbers of the state are far outside ({shown})",
            hint="evaluate it on the task and in the units that it was trained on: --task NAME",
        )


def _listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:4])
    return f"{len(names)} numbers or views ({shown}{', ...' if len(names) > 4 else ''})"
