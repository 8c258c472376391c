from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.policies import last_candidate, moved, train_synthetic
from tests.support.published import published_config

from policy.conditioning import POSITIVE
from policy.flow.config import LoraConfig
from policy.models.pi05.config import tiny_config
from policy.models.pi05.sizes import tiny


def _slow(kind: str) -> Any:
    return pytest.param(kind, marks=pytest.mark.slow)


@pytest.fixture(scope="session", params=["text", *map(_slow, ("embedding", "both", "published", "lora"))])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny pi05 bundle after four gradient steps with advantage conditions, in words or as an embedding.

    Or one that started from weights in the published layout, and has their tokenizer; all trained, or adapters.
    """
    folder = tmp_path_factory.mktemp("tiny")
    if request.param in ("published", "lora"):
        started, _ = published_config("pi05", folder / "start", steps=4)
        lora = LoraConfig(rank=2 if request.param == "lora" else 0)
        train_synthetic("pi05", replace(started, relative_actions=True, lora=lora), folder, condition=POSITIVE)
        return last_candidate(folder)
    config = tiny_config(relative_actions=True, network=replace(tiny(), condition=request.param))
    train_synthetic("pi05", config, folder, condition=POSITIVE)
    return last_candidate(folder) if request.param == "text" else moved(last_candidate(folder), folder / "moved")
