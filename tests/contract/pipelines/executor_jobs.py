"""Workers and functions for the executor tests; imported by name in the worker processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from recap.errors import ConfigError


class Squarer:
    """Squares; keeps count; misbehaves on request."""

    def __init__(self, offset: int, diary: str = "") -> None:
        self._offset = offset
        self._diary = diary
        self._jobs = 0
        self._note("made")

    def run(self, job: Any) -> dict[str, Any]:
        self._jobs += 1
        if isinstance(job, tuple):
            return self._misbehave(*job)
        rng = np.random.default_rng(job)
        return {
            "job": job,
            "value": job * job + self._offset,
            "noise": rng.normal(size=4).astype(np.float32),
            "pid": os.getpid(),
            "nth": self._jobs,
            "threads": os.environ.get("OMP_NUM_THREADS"),
        }

    def _misbehave(self, kind: str, marker: str) -> dict[str, Any]:
        if kind == "config-error":
            raise ConfigError("episodes: got -1, expected at least 1", hint="recap run --set collect.episodes=1")
        if kind == "value-error":
            raise ValueError("seven")
        if kind == "unpicklable":
            raise Unpicklable(lambda: 0)
        if kind == "sleep":
            time.sleep(float(marker))
            return {"job": kind, "value": 0}
        if kind == "die-once" and not Path(marker).exists():
            Path(marker).write_text("died")
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "die":
            sys.stderr.write("the gripper caught fire\n")
            sys.stderr.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"job": kind, "value": -1, "pid": os.getpid()}

    def close(self) -> None:
        self._note("closed")

    def _note(self, what: str) -> None:
        if self._diary:
            with Path(self._diary).open("a") as file:
                file.write(f"{what} {self._offset}\n")


class Unpicklable(Exception):
    def __init__(self, thing: Any) -> None:
        super().__init__("holds a lambda")
        self.thing = thing

    def __reduce__(self) -> Any:
        raise TypeError("no")


class Stillborn:
    """A worker whose constructor kills its process."""

    def __init__(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def make_squarer(*args: Any) -> Squarer:
    return Squarer(*args)


def make_stillborn() -> Any:
    return Stillborn()


def make_refusing() -> Any:
    raise ConfigError("no such camera 'cam_low'")


def train(steps: int, folder: str) -> dict[str, Any]:
    """Resumable 'training': dies half way, the first time it is run."""
    state = Path(folder) / "state.txt"
    done = int(state.read_text()) if state.exists() else 0
    for step in range(done, steps):
        state.write_text(str(step + 1))
        if step == steps // 2 and done == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return {"steps": steps, "resumed_from": done, "pid": os.getpid()}


def pid() -> int:
    return os.getpid()


def where(names: tuple[str, ...]) -> dict[str, str]:
    import importlib

    return {name: str(importlib.import_module(name).__file__) for name in names}
