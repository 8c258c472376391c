from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.executors import EXECUTORS, ExecutorSettings


@pytest.fixture(scope="session")
def ray_executor() -> Iterator[Any]:
    """One private cluster for the whole test process: starting Ray costs seconds."""
    events: list[Any] = []
    executor: Any = EXECUTORS.get("ray")(ExecutorSettings(namespace="tests", num_cpus=2, on_event=events.append))
    executor.start()
    executor.events = events
    yield executor
    executor.close()


@pytest.fixture
def local_executor() -> Iterator[Any]:
    executor = EXECUTORS.get("local")(ExecutorSettings())
    yield executor
    executor.close()


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.xdist_group("ray"))])
def executor(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"{request.param}_executor")
