"""What the executors share: their settings, their registry, and the error for a worker that keeps dying."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from recap.errors import RecapError
from recap.protocols import Executor
from recap.registry import Registry

ATTEMPTS_PER_JOB = 3
"""A job is given to this many workers in turn before its error is the user's to read."""


class WorkerDied(RecapError):
    """The processes that were given a job died, `ATTEMPTS_PER_JOB` times in a row."""


def _ignore(event: Mapping[str, Any]) -> None:
    """For callers that do not listen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutorSettings:
    """How an executor is set up. None of it changes a result."""

    namespace: str = "recap"
    """Ray namespace of the actors; the run's name, so that two runs on one cluster do not meet."""
    address: str | None = None
    """Ray cluster to attach to ("auto", "ray://host:10001", "host:6379"); None: start a private one on this machine."""
    dashboard: bool = False
    """Start the Ray dashboard with a private cluster (about 1 s); an attached cluster has its own."""
    num_cpus: int | None = None
    """CPUs that a private cluster offers; None: those this process may use."""
    role_resources: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Ray options per role, e.g. {"trainer": {"num_gpus": 1}}; private clusters reserve no CPU for an actor."""
    on_event: Callable[[Mapping[str, Any]], None] = _ignore
    """Told {"kind": "executor_started" | "worker_died", ...}, in the calling process."""


EXECUTORS: Registry[Callable[[ExecutorSettings], Executor]] = Registry("executor", packages=("pipelines.executors",))


def signature_of(make_worker: Callable[..., Any], worker_args: tuple[Any, ...]) -> bytes | None:
    """Bytes that are equal when a worker built before can serve again; None if it cannot be told."""
    try:
        return pickle.dumps((make_worker, worker_args))
    except (pickle.PicklingError, AttributeError, TypeError):  # a closure: built anew each time, which is always right
        return None


def describe(job: object) -> str:
    """A job in at most 80 characters, for a message."""
    text = repr(job)
    return text if len(text) <= 80 else text[:77] + "..."
