"""Jobs run in this process, one after the other: no Ray, no start-up, the reference for what a result must be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.executors.base import EXECUTORS, ExecutorSettings, signature_of
from recap.errors import ConfigError
from recap.protocols import Worker


@dataclass(frozen=True, slots=True)
class _Built:
    worker: Worker[Any, Any]
    signature: bytes | None


class LocalExecutor:
    """Implements recap.protocols.Executor in-process; one worker per role, kept while its signature stays the same."""

    name = "local"

    def __init__(self) -> None:
        self._built: dict[str, _Built] = {}

    def map(
        self,
        role: str,
        make_worker: Callable[..., Worker[Any, Any]],
        worker_args: tuple[Any, ...],
        jobs: Sequence[Any],
        on_result: Callable[[int, Any], None],
        *,
        num_workers: int,
    ) -> None:
        """Runs the jobs in order. `num_workers` makes no difference here: there is one process."""
        if not jobs:
            return
        worker = self._worker(role, make_worker, worker_args)
        for index, job in enumerate(jobs):
            on_result(index, worker.run(job))

    def call(self, role: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Calls it."""
        return function(*args)

    def together(self, role: str, function: Callable[..., Any], args: tuple[Any, ...], *, processes: int) -> Any:
        """Refused: there is one process."""
        raise ConfigError(
            f"{role}: runtime.processes = {processes} with the executor local, which has one",
            hint="recap run --executor ray",
        )

    def close(self) -> None:
        """Closes every worker; the executor may be used again."""
        while self._built:
            _, built = self._built.popitem()
            built.worker.close()

    def _worker(
        self, role: str, make_worker: Callable[..., Worker[Any, Any]], worker_args: tuple[Any, ...]
    ) -> Worker[Any, Any]:
        signature = signature_of(make_worker, worker_args)
        old = self._built.get(role)
        if old is not None and signature is not None and old.signature == signature:
            return old.worker
        if old is not None:
            del self._built[role]
            old.worker.close()
        worker = make_worker(*worker_args)
        self._built[role] = _Built(worker, signature)
        return worker


@EXECUTORS.register("local")
def make_local(settings: ExecutorSettings) -> LocalExecutor:
    """A LocalExecutor; it has nothing to set."""
    return LocalExecutor()
