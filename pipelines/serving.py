"""What `recap serve` serves: the champion of a run, or any bundle, found, loaded and checked before it listens."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.policies.found import FoundPolicy, check_fits
from recap.errors import ArtifactCorrupt, ConfigError, UnknownName
from recap.training.config import RuntimeConfig

if TYPE_CHECKING:
    from data.tasks import TaskDefinition
    from policy.serving.contract import ServedTask
    from policy.serving.server import ServingConfig
    from recap.protocols import Policy, ServedPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingSummary:
    """What a server did until it was stopped."""

    answered: int
    errors: int


def tasks_served(found: FoundPolicy, task: str | None) -> tuple[TaskDefinition, ...]:
    """The tasks that a policy is meant for: those of its run, or the one named; none where nobody says.

    Raises:
        UnknownName: no such task, or not one of the run's.
        ConfigError: the policy is not one for it.
    """
    from data.tasks import TASKS

    run = found.invocation
    if run is not None and task is not None and task not in run.task:
        raise UnknownName.among(f"task of run '{run.name}'", task, run.task)
    names = (task,) if task is not None else run.task if run is not None else ()
    tasks = tuple(TASKS.get(name) for name in names)
    for one in tasks:
        check_fits(found, one)
    return tasks


def load(
    found: FoundPolicy, tasks: Sequence[TaskDefinition], runtime: RuntimeConfig
) -> tuple[ServedPolicy, list[ServedTask]]:
    """The policy, ready to be asked, and the tasks that it is meant for.

    Raises:
        ArtifactCorrupt: the bundle is torn, or not the champion that was named.
        ConfigError: it does not say what it sees, and no task does.
    """
    from policy.models import load_policy
    from policy.serving.contract import ServedTask
    from recap.training.runtime import Runtime

    loaded = load_policy(found.path, runtime=Runtime.of(runtime))
    if found.policy_id and loaded.policy_id != found.policy_id:
        raise ArtifactCorrupt(
            f"{found.name}: {found.path} is policy {loaded.policy_id[:16]}, expected {found.policy_id[:16]}",
            hint="recap verify",
        )
    policy = _served(loaded, found, tasks)
    if not tasks:
        return policy, [ServedTask(id=None, prompt=prompt, rate_hz=None) for prompt in policy.facts.prompts]
    specs = [task.spec for task in tasks]
    return policy, [ServedTask(id=spec.id, prompt=spec.prompt, rate_hz=spec.rate_hz) for spec in specs]


def _served(loaded: Policy, found: FoundPolicy, tasks: Sequence[TaskDefinition]) -> ServedPolicy:
    from policy.serving.alone import OneByOne
    from recap.protocols import ServedPolicy

    if isinstance(loaded, ServedPolicy):
        return loaded
    if not tasks:
        raise ConfigError(
            f"{found.name}: its family does not say what the policy sees; a task does",
            hint=f"recap serve {found.path} --task NAME",
        )
    return OneByOne(loaded, tasks[0].robot, tuple(task.spec.prompt for task in tasks))


def serve(
    found: FoundPolicy,
    tasks: Sequence[TaskDefinition],
    config: ServingConfig,
    *,
    token: str,
    runtime: RuntimeConfig,
    ready: Callable[[str], None],
) -> ServingSummary:
    """Loads and serves until SIGINT or SIGTERM; `ready` is called with "host:port" once it listens."""
    from policy.serving.server import PolicyServer

    policy, served = load(found, tasks, runtime)
    server = PolicyServer(policy, served, config, token=token)

    async def until_stopped() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await server.run(stop, ready)

    asyncio.run(until_stopped())
    answered, errors = server.totals()
    return ServingSummary(answered=answered, errors=errors)
