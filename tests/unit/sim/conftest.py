from collections.abc import Iterator

import pytest

from data.sim.bench_task import BenchTask, TaskBench
from data.sim.garment import GarmentScenario
from data.tasks import TASKS


@pytest.fixture(scope="module")
def task() -> BenchTask[GarmentScenario]:
    found = TASKS.get("shirt_folding")
    assert isinstance(found, BenchTask)
    return found


@pytest.fixture(scope="module")
def robot(task: BenchTask[GarmentScenario]) -> Iterator[TaskBench[GarmentScenario]]:
    """One robot per module: resets must leave nothing behind, so sharing it is part of the test."""
    bench = task.make_robot("ray")
    yield bench
    bench.close()
