"""What `recap serve` serves: the champion of a run, or any bundle, found, loaded and checked before it listens."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recap.errors import ArtifactCorrupt, ConfigError, UnknownName
from recap.training.config import RuntimeConfig

if TYPE_CHECKING:
    from data.tasks import TaskDefinition
    from policy.serving.contract import ServedTask
    from policy.serving.server import ServingConfig
    from recap.protocols import Policy, ServedPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A bundle, and what is known of it beside its content."""

    bundle: Path
    what: str
    """In words."""
    tasks: tuple[str, ...]
    """Ids of the tasks it is meant for; none where nobody says."""
    policy_id: str = ""
    """Of the champion; "" for a bundle that is named by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingSummary:
    """What a server did until it was stopped."""

    answered: int
    errors: int


def find(workspace: Path, target: str | None, task: str | None) -> Found:
    """The bundle folder `target`, or else the champion of the run of that name (None: of the latest run).

    Raises:
        UnknownName: neither a bundle nor a run, or a task that is not one of the run's.
        ConfigError: the run has no champion yet.
        ArtifactCorrupt: the champion is gone or torn.
    """
    from pipelines.invocation import Invocation
    from recap.champion import champion_artifact, read_champion
    from recap.workspace import Workspace

    if target is not None and (Path(target) / "recap.json").is_file():
        return Found(bundle=Path(target), what=f"bundle {target}", tasks=() if task is None else (task,))
    if target is not None and Path(target).name != target:
        raise ConfigError(
            f"{target}: no policy bundle: there is no {Path(target) / 'recap.json'}",
            hint="recap serve RUN   (the champion of a run)",
        )
    invocation = Invocation.load(workspace, target)
    if task is not None and task not in invocation.task:
        raise UnknownName.among(f"task of run '{invocation.name}'", task, invocation.task)
    opened = Workspace.open(workspace, create=False)
    champion = read_champion(opened, invocation.name)
    if champion is None:
        raise ConfigError(
            f"run '{invocation.name}' has no champion yet: no policy of it was chosen",
            hint=f"recap status {invocation.name}",
        )
    return Found(
        bundle=champion_artifact(opened, champion).path,
        what=f"champion of run '{invocation.name}' ({champion.node})",
        tasks=invocation.task if task is None else (task,),
        policy_id=champion.policy_id,
    )


def load(found: Found, runtime: RuntimeConfig) -> tuple[ServedPolicy, list[ServedTask]]:
    """The policy, ready to be asked, and the tasks that it is meant for.

    Raises:
        ArtifactCorrupt: the bundle is torn, or not the champion that was named.
        ConfigError: the tasks are not of the robot that it was trained for, or it does not say what it sees.
    """
    from data.tasks import TASKS
    from policy.models import load_policy
    from policy.serving.contract import ServedTask
    from recap.training.runtime import Runtime

    tasks = [TASKS.get(name) for name in found.tasks]
    loaded = load_policy(found.bundle, runtime=Runtime.of(runtime))
    if found.policy_id and loaded.policy_id != found.policy_id:
        raise ArtifactCorrupt(
            f"{found.what}: {found.bundle} is policy {loaded.policy_id[:16]}, expected {found.policy_id[:16]}",
            hint="recap verify",
        )
    policy = _served(loaded, found, tasks)
    for task in tasks:
        _check_task(policy, task, found)
    if not tasks:
        return policy, [ServedTask(id=None, prompt=prompt, rate_hz=None) for prompt in policy.facts.prompts]
    specs = [task.spec for task in tasks]
    return policy, [ServedTask(id=spec.id, prompt=spec.prompt, rate_hz=spec.rate_hz) for spec in specs]


def _served(loaded: Policy, found: Found, tasks: list[TaskDefinition]) -> ServedPolicy:
    from policy.serving.alone import OneByOne
    from recap.protocols import ServedPolicy

    if isinstance(loaded, ServedPolicy):
        return loaded
    if not tasks:
        raise ConfigError(
            f"{found.what}: its family does not say what the policy sees; a task does",
            hint=f"recap serve {found.bundle} --task NAME",
        )
    return OneByOne(loaded, tasks[0].robot, tuple(task.spec.prompt for task in tasks))


def _check_task(policy: ServedPolicy, task: TaskDefinition, found: Found) -> None:
    """Refuses a task of another robot, or one that the policy has never heard of."""
    facts, robot = policy.facts, task.robot
    unseen = [camera for camera in facts.cameras if camera not in robot.camera_names]
    if (facts.state_names, facts.action_names) != (robot.state_names, robot.action_names) or unseen:
        raise ConfigError(
            f"{found.what} is of another robot than task '{task.spec.id}': "
            f"{len(facts.state_names)} numbers of state, {len(facts.action_names)} of action, "
            f"cameras {', '.join(facts.cameras)}; expected {len(robot.state_names)}, {len(robot.action_names)}, "
            f"{', '.join(robot.camera_names)}, by the same names"
        )
    if task.spec.prompt not in facts.prompts:
        raise ConfigError(
            f"{found.what} was not trained on task '{task.spec.id}' ({task.spec.prompt!r}), but on "
            f"{'; '.join(map(repr, facts.prompts))}"
        )


def serve(
    found: Found, config: ServingConfig, *, token: str, runtime: RuntimeConfig, ready: Callable[[str], None]
) -> ServingSummary:
    """Loads and serves until SIGINT or SIGTERM; `ready` is called with "host:port" once it listens."""
    from policy.serving.server import PolicyServer

    policy, tasks = load(found, runtime)
    server = PolicyServer(policy, tasks, config, token=token)

    async def until_stopped() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await server.run(stop, ready)

    asyncio.run(until_stopped())
    answered, errors = server.totals()
    return ServingSummary(answered=answered, errors=errors)
