"""Trainings of several processes for test_several_processes.py; imported by name in the worker processes."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from torch import distributed, ones

from recap.errors import ConfigError
from recap.protocols import Journal
from recap.training.config import FitConfig
from recap.training.runtime import Runtime

STEPS, EVERY = 8, 3


def train(folder: Path, dies_at: int, journal: Journal, runtime: Runtime) -> dict[str, Any]:
    """Trains a tiny pi0.5 in `folder`; rank 1 is killed at a step, once. Returns its figures and first step."""
    from tests.support.policies import train_synthetic

    from policy.models.pi05.config import tiny_config

    marker = folder / "died"
    os.environ.pop("RECAP_FAULT", None)
    if dies_at and runtime.rank == 1 and not marker.exists():
        folder.mkdir(exist_ok=True)
        marker.touch()
        os.environ["RECAP_FAULT"] = f"train.step:{dies_at}:kill"
    config = replace(tiny_config(fit=FitConfig(steps=STEPS, checkpoint_every=EVERY, log_every=1)), candidates=1)
    seen = Steps(journal)
    figures = train_synthetic("pi05", config, folder, journal=seen, runtime=runtime)  # type: ignore[arg-type]
    return {**figures, "first": seen.first, "rank": runtime.rank, "world_size": runtime.world_size}


class Steps:
    """A journal that remembers the first step it was told of."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.first = 0

    def progress(self, done: int, total: int, unit: str) -> None:
        self.first = self.first or done
        self._journal.progress(done, total, unit)

    def metrics(self, values: Any, *, step: int) -> None:
        self._journal.metrics(values, step=step)


def refuse(rank: int, kind: str, journal: Journal, runtime: Runtime) -> None:
    """One rank refuses its settings or has no room on its disk, the others wait for it."""
    if runtime.rank == rank:
        raise ConfigError("no such camera") if kind == "settings" else OSError("no space left")
    runtime.barrier()
    time.sleep(600)


def listening(journal: Journal, runtime: Runtime) -> list[str]:
    """Addresses that the processes listen on while they are joined, of all of them."""
    runtime.add(ones(1))
    own = {one.laddr.ip for one in psutil.Process().net_connections("inet") if one.status == psutil.CONN_LISTEN}
    found: list[Any] = [None] * runtime.world_size
    distributed.all_gather_object(found, sorted(own))
    return [ip for each in found for ip in each]
