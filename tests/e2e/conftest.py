from __future__ import annotations

import sys
from pathlib import Path

import pytest
from runs import micro

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins"))


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
