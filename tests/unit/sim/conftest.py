from collections.abc import Iterator

import pytest

from data.tasks import TASKS
from data.tasks.shirt_folding import ShirtBench, ShirtFolding


@pytest.fixture(scope="module")
def task() -> ShirtFolding:
    found = TASKS.get("shirt_folding")
    assert isinstance(found, ShirtFolding)
    return found


@pytest.fixture(scope="module")
def robot(task: ShirtFolding) -> Iterator[ShirtBench]:
    """One robot per module: resets must leave nothing behind, so sharing it is part of the test."""
    bench = task.make_robot("ray")
    yield bench
    bench.close()
