from collections.abc import Iterator

import pytest

from data.sim.bimanual_task import BimanualTask, TaskEnv
from data.sim.garment import GarmentScenario
from data.tasks import TASKS


@pytest.fixture(scope="module")
def task() -> BimanualTask[GarmentScenario]:
    found = TASKS.get("shirt_folding")
    assert isinstance(found, BimanualTask)
    return found


@pytest.fixture(scope="module")
def robot(task: BimanualTask[GarmentScenario]) -> Iterator[TaskEnv[GarmentScenario]]:
    """One robot per module: resets must leave nothing behind, so sharing it is part of the test."""
    bench = task.make_env("ray")
    yield bench
    bench.close()
