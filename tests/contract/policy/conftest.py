from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.policies import last_candidate, train_synthetic

from policy.conditioning import POSITIVE
from policy.models.pi05.config import tiny_config


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pi05 bundle after four gradient steps, conditioned on advantage conditions."""
    folder = tmp_path_factory.mktemp("tiny")
    train_synthetic("pi05", tiny_config(relative_actions=True), folder, condition=POSITIVE)
    return last_candidate(folder)
