"""A training on one process of the executor, or on several at once: `runtime.processes`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from recap.training.runtime import Runtime, joined

if TYPE_CHECKING:
    from recap.protocols import Executor, Journal, Place
    from recap.training.config import RuntimeConfig

_WAIT_S = 24 * 3600.0
"""For each other: one may pack a data set or write a bundle meanwhile. A death is the executor's to see."""


def trained(
    executor: Executor,
    role: str,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    journal: Journal,
    settings: RuntimeConfig,
) -> Any:
    """What `function(*args, journal, runtime)` returns, of several processes that of rank 0, who alone has a journal.

    Args:
        executor: whose workers do it.
        role: of the workers.
        function: trains on whatever runtime it is given; every rank calls it, and rank 0 writes what is left behind.
        args: of the function.
        journal: told how it goes.
        settings: how many processes, and where they compute.

    Raises:
        ConfigError: several processes, and the executor has one.
        WorkerDied: they died several times; every time they went on from their last checkpoint.
    """
    if settings.processes == 1:
        return executor.call(role, function, (*args, journal, Runtime.of(settings)))
    return executor.together(role, _rank, (function, args, journal, settings), processes=settings.processes)


def _rank(
    function: Callable[..., Any], args: tuple[Any, ...], journal: Journal, settings: RuntimeConfig, place: Place
) -> Any:
    runtime = Runtime.of(settings, place)
    with joined(runtime, place.address, timeout_s=_WAIT_S):
        return function(*args, journal if place.rank == 0 else _Silent(), runtime)


class _Silent:
    """Implements Journal for ranks whose figures are those of rank 0."""

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tells nobody."""

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Tells nobody."""
