"""What the step engine costs: per executed step, per cached step, and to resume after kill -9.

    python benchmarks/engine.py [--rounds 5] [--steps 50]

A trivial step returns a few bytes of JSON. ms_per_step leaves out the time inside fsync, which is the disk's and is
reported as fsync_ms_per_step. resume_s is the wall clock of a new process that finishes a five-step chain of which the
fourth was killed, interpreter start and imports included. Medians of several rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from recap.graph import Graph, OutputRef
from recap.provenance import run_status
from recap.registry import Registry
from recap.runner import Runner
from recap.step import JsonOutput, StepSpec, step
from recap.workspace import Workspace

BENCH_STEPS: Registry[StepSpec] = Registry("bench_step")


@step(name="first", version=1, outputs=("x",), registry=BENCH_STEPS)
def first(ctx: Any, config: None, inputs: Mapping[str, Any]) -> Mapping[str, JsonOutput]:
    return {"x": JsonOutput(0)}


@step(name="next", version=1, inputs=("x",), outputs=("x",), registry=BENCH_STEPS)
def following(ctx: Any, config: None, inputs: Mapping[str, Any]) -> Mapping[str, JsonOutput]:
    return {"x": JsonOutput(inputs["x"].json() + 1)}


def chain(count: int) -> Graph:
    graph = Graph(steps=BENCH_STEPS)
    last: OutputRef = graph.add("0", "first", None)["x"]
    for index in range(1, count):
        last = graph.add(str(index), "next", None, x=last)["x"]
    return graph


def no_executor() -> Any:
    raise AssertionError("a trivial step asks for no executor")


def time_round(folder: Path, steps: int) -> dict[str, float]:
    """One cold and one cached run of a chain, in milliseconds per step."""
    workspace = Workspace.open(folder)
    real, synced = os.fsync, 0.0

    def timed(handle: int) -> None:
        nonlocal synced
        begin = time.perf_counter()
        real(handle)
        synced += time.perf_counter() - begin

    with mock.patch.object(os, "fsync", timed):
        begin = time.perf_counter()
        done = Runner(workspace, no_executor).run(chain(steps), "bench")
        cold = time.perf_counter() - begin
    begin = time.perf_counter()
    again = Runner(workspace, no_executor).run(chain(steps), "bench")
    cached = time.perf_counter() - begin
    begin = time.perf_counter()
    run_status(workspace, "bench")
    status = time.perf_counter() - begin
    assert (len(done.executed), len(again.cached)) == (steps, steps)
    return {
        "ms_per_step": (cold - synced) / steps * 1e3,
        "fsync_ms_per_step": synced / steps * 1e3,
        "ms_per_cached_step": cached / steps * 1e3,
        "status_ms": status * 1e3,
    }


def time_resume(folder: Path) -> dict[str, float]:
    """Seconds of new processes: cold, resumed after kill -9 of the fourth step, and with nothing changed."""

    def process(*, fault: str | None = None) -> float:
        env = dict(os.environ) if fault is None else {**os.environ, "RECAP_FAULT": fault}
        begin = time.perf_counter()
        done = subprocess.run([sys.executable, __file__, "--chain", str(folder)], env=env, check=False)
        assert done.returncode == (0 if fault is None else -9), done.returncode
        return time.perf_counter() - begin

    cold = process()
    shutil.rmtree(folder)
    process(fault="runner.before_step:4:kill")
    return {"cold_s": cold, "resume_s": process(), "unchanged_s": process()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--chain", type=Path, help="run the five-step chain in this workspace and end (used by itself)")
    arguments = parser.parse_args()
    if arguments.chain is not None:
        Runner(Workspace.open(arguments.chain), no_executor).run(chain(5), "bench")
        return
    rounds = []
    with tempfile.TemporaryDirectory() as root:
        for index in range(arguments.rounds):
            figures = time_round(Path(root) / f"steps{index}", arguments.steps)
            rounds.append({**figures, **time_resume(Path(root) / f"resume{index}")})
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    bare = time.perf_counter() - begin
    medians = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]} | {"interpreter_s": bare}
    print(f"{'figure':22}{'median':>10}{'min':>10}{'max':>10}")
    for name, value in medians.items():
        spread = [one.get(name, value) for one in rounds]
        print(f"{name:22}{value:10.3f}{min(spread):10.3f}{max(spread):10.3f}")
    print(json.dumps({name: round(value, 4) for name, value in medians.items()}))


if __name__ == "__main__":
    main()
