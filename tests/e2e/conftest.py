from __future__ import annotations

from pathlib import Path

import pytest
from runs import micro


@pytest.fixture(scope="session")
def finished_micro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with one finished micro run, never interrupted. Whoever changes it copies it first.

    Tests that use it are of the xdist group "e2e-micro", so that it is made once.
    """
    workspace = tmp_path_factory.mktemp("reference") / "w"
    done = micro(workspace)
    assert done.returncode == 0, done.stderr
    assert "success" in done.stdout
    assert "again   recap run --task shirt_folding --preset micro" in done.stdout
    return workspace
