"""What tests of imports share."""

import pytest

from pipelines.datasets.importing import import_dataset
from pipelines.datasets.request import ImportRequest


@pytest.fixture(autouse=True)
def _no_task_folders(monkeypatch):
    monkeypatch.setenv("RECAP_TASKS", "")


@pytest.fixture
def take(tmp_path):
    """Takes a dataset folder into the workspace `w` as task cubes, without loss."""

    def take(root, **asked):
        request = ImportRequest(**{"dataset": root, "task": "cubes", "jpeg_quality": None, **asked})
        return import_dataset(tmp_path / "w", request, lambda line: None)

    return take
