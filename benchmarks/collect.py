"""What recording costs on top of simulating and drawing, and what a second collector brings.

    python benchmarks/collect.py [--task shirt_folding] [--episodes 12] [--rounds 3]

one_vs_bare: frames per second of one collector (scripted expert, every episode committed with fsync) over those of the
bare loop: the same robot, expert and images, nothing recorded. Both in this process, in turns, medians over rounds.
two_vs_one: episodes per second of two Ray collectors over one, after a warm-up, each on the same starts.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LP_NUM_THREADS", "1")


def bare(task: Any, robot: Any, seeds: list[int], flaws: Any) -> int:
    """Frames simulated and drawn; nothing is kept."""
    frames = 0
    for seed in seeds:
        robot.reset(seed)
        expert = task.make_expert(robot, seed, flaws)
        while not robot.finished and not expert.done:
            robot.observe()
            robot.step(expert.act())
            frames += 1
    return frames


def recorded(collector: Any, seeds: list[int]) -> int:
    """Frames recorded and committed."""
    return sum(collector.run(seed)["steps"] for seed in seeds)


def one_collector(name: str, renderer: str, episodes: int, rounds: int) -> tuple[float, float, float]:
    """(recorded frames/s, bare frames/s, their ratio round by round)."""
    from data.sim.flaws import FlawConfig
    from data.tasks import TASKS
    from pipelines.steps.record.worker import Collector

    task, flaws = TASKS.simulated(name), FlawConfig()
    robot = task.make_env(renderer=renderer)
    rates: dict[str, list[float]] = {"bare": [], "recorded": []}
    with tempfile.TemporaryDirectory() as folder:
        collector = Collector(name, renderer, 64, flaws, folder)
        bare(task, robot, [0], flaws)
        recorded(collector, [0])
        for round_ in range(rounds):
            # New starts in every round: equal content would be stored once and cost nothing again.
            seeds = list(range(1 + round_ * episodes, 1 + (round_ + 1) * episodes))
            for kind in ("bare", "recorded") if round_ % 2 else ("recorded", "bare"):
                began = time.perf_counter()
                frames = bare(task, robot, seeds, flaws) if kind == "bare" else recorded(collector, seeds)
                rates[kind].append(frames / (time.perf_counter() - began))
        collector.close()
    robot.close()
    ratio = statistics.median(a / b for a, b in zip(rates["recorded"], rates["bare"], strict=True))
    return statistics.median(rates["recorded"]), statistics.median(rates["bare"]), ratio


def two_collectors(name: str, renderer: str, episodes: int, rounds: int) -> tuple[float, float, float]:
    """(episodes/s of two, of one, their ratio), on Ray."""
    from data.sim.flaws import FlawConfig
    from pipelines.executors import EXECUTORS
    from pipelines.executors.base import ExecutorSettings
    from pipelines.steps.record.worker import Collector

    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        executor = EXECUTORS.get("ray")(ExecutorSettings(dashboard=False))
        try:
            arguments = (name, renderer, 64, FlawConfig(), str(Path(folder) / "episodes"))
            place = 10_000

            def go(count: int, workers: int) -> float:
                nonlocal place
                seeds = list(range(place, place + count))
                place += count
                began = time.perf_counter()
                executor.map("collector", Collector, arguments, seeds, _ignore, num_workers=workers)
                return count / (time.perf_counter() - began)

            go(2, 2)
            for round_ in range(rounds):
                for workers in (1, 2) if round_ % 2 else (2, 1):
                    rates[workers].append(go(2 * episodes, workers))
        finally:
            executor.close()
    ratio = statistics.median(b / a for a, b in zip(rates[1], rates[2], strict=True))
    return statistics.median(rates[2]), statistics.median(rates[1]), ratio


def _ignore(index: int, row: Any) -> None:
    """Rows are not wanted here."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="shirt_folding")
    parser.add_argument("--episodes", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    from data.sim.backend import choose_renderer

    renderer = choose_renderer("auto")
    own, plain, one = one_collector(arguments.task, renderer, arguments.episodes, arguments.rounds)
    two_rate, one_rate, two = two_collectors(arguments.task, renderer, arguments.episodes, arguments.rounds)
    print(f"{arguments.task}, 3 cameras at 64 pixels, renderer {renderer}; {arguments.rounds} rounds\n")
    print("| | frames/s | |")
    print("|---|---|---|")
    print(f"| bare loop | {plain:.0f} | |")
    print(f"| one collector, fsync | {own:.0f} | {one:.2f} of bare |")
    print("\n| | episodes/min | |")
    print("|---|---|---|")
    print(f"| one Ray collector | {60 * one_rate:.0f} | |")
    print(f"| two | {60 * two_rate:.0f} | {two:.2f} times one |")
    print(
        json.dumps(
            {
                "one_vs_bare": one,
                "two_vs_one": two,
                "bare_frames_per_s": plain,
                "episodes_per_min_two": 60 * two_rate,
                "task": arguments.task,
                "renderer": renderer,
            }
        )
    )


if __name__ == "__main__":
    main()
