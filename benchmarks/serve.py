"""Serving several robots: requests per second and latency, and what sharing a forward pass is worth.

    python benchmarks/serve.py [--requests 500] [--rounds 3]

The server runs in a process of its own with the product's small network (three 64x64 cameras, 12 actions, 5 Euler
steps), on one torch thread as everywhere; the robots are threads of this process, which speak as openpi-client does and
ask again as soon as they have their answer. Two servers are asked in turn, one that gathers up to 8 requests and one
that takes one at a time: batched_vs_single is the ratio of their requests per second at 4 clients, median of rounds;
batched_vs_single_cpu is that of requests per second of the server's processor time, for judging on a busy machine.
Every answer is compared with the policy's own: wrong_or_lost counts those that differ by more than 1e-5 or do not
come, of the 4 clients' requests (2,000 by default). p95_ms: latency of a request as its robot sees it, by clients.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import numpy as np
from tests.support.policies import TASK, make_observation
from tests.support.serving import OTHER, Robot, fields_of, running, untrained

from policy.models.pi05.network import Pi05Network
from policy.models.pi05.sizes import small

CLIENTS = (1, 2, 4, 8)
QUESTIONS = 4


def policy() -> Any:
    return untrained(Pi05Network, small())


def serve(max_batch: int) -> None:
    """Says where it listens, and stays until its input ends."""
    with running(policy(), max_batch=max_batch) as (_, address):
        print(address, flush=True)
        sys.stdin.read()


def cpu_seconds(pid: int) -> float:
    """Processor time of a live process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Fleet:
    """Robots with their questions and the right answers."""

    def __init__(self, robots: int) -> None:
        own, self.questions, self.expected = policy(), [], []
        for robot in range(robots):
            prompt = OTHER if robot % 2 else TASK
            seen = [replace(make_observation(QUESTIONS * robot + row), prompt=prompt) for row in range(QUESTIONS)]
            self.questions.append([fields_of(one, noise_seed=row) for row, one in enumerate(seen)])
            self.expected.append([own.act(one, noise_seed=row) for row, one in enumerate(seen)])

    def ask(self, address: str, robots: int, requests: int) -> tuple[float, list[float], int]:
        """(requests per second, their latencies in ms, how many were wrong or lost)."""
        latencies: list[float] = []
        right = [0] * robots
        gate = threading.Barrier(robots + 1, timeout=300)

        def one(robot: int) -> None:
            with Robot(address) as client:
                client.infer(self.questions[robot][0])
                gate.wait()
                for number in range(requests):
                    row = number % QUESTIONS
                    began = time.perf_counter()
                    actions = client.infer(self.questions[robot][row])["actions"]
                    latencies.append((time.perf_counter() - began) * 1e3)
                    right[robot] += bool(np.abs(actions - self.expected[robot][row]).max() <= 1e-5)

        threads = [threading.Thread(target=one, args=(robot,)) for robot in range(robots)]
        for thread in threads:
            thread.start()
        gate.wait()
        began = time.perf_counter()
        for thread in threads:
            thread.join()
        return len(latencies) / (time.perf_counter() - began), latencies, robots * requests - sum(right)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=500, help="per client at 4 clients; fewer at other numbers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    again, pipe = [sys.executable, str(Path(__file__))], subprocess.PIPE
    started = [subprocess.Popen([*again, "--serve", str(size)], stdin=pipe, stdout=pipe, text=True) for size in (8, 1)]
    try:
        fleet = Fleet(max(CLIENTS))
        batched, single = (process.stdout.readline().strip() for process in started if process.stdout is not None)
        rates: dict[tuple[str, int], list[float]] = {}
        spent: dict[tuple[str, int], list[float]] = {}
        late: dict[tuple[str, int], list[float]] = {}
        wrong = asked = 0
        for _ in range(arguments.rounds):
            for robots in CLIENTS:
                each = -(-arguments.requests // arguments.rounds) if robots == 4 else arguments.requests // 25
                for name, address, process in (("batched", batched, started[0]), ("single", single, started[1])):
                    count = each if name == "batched" else arguments.requests // 25
                    before = cpu_seconds(process.pid)
                    rate, latencies, missed = fleet.ask(address, robots, count)
                    # The first question of each robot is not among the latencies.
                    asks = len(latencies) + robots
                    spent.setdefault((name, robots), []).append((cpu_seconds(process.pid) - before) / asks * 1e3)
                    rates.setdefault((name, robots), []).append(rate)
                    late.setdefault((name, robots), []).extend(latencies)
                    if (name, robots) == ("batched", 4):
                        wrong, asked = wrong + missed, asked + robots * count
                    elif missed:
                        raise AssertionError(f"{missed} wrong answers of {name} to {robots} clients")
    finally:
        for process in started:
            process.communicate("")
    p95 = {key: statistics.quantiles(values, n=20)[-1] for key, values in late.items()}
    print(f"{'clients':>8}{'batched/s':>12}{'single/s':>12}{'ratio':>8}", end="")
    print(f"{'p95 ms':>10}{'p95 single':>12}{'cpu ms':>9}{'cpu single':>12}")
    ratios = {}
    for robots in CLIENTS:
        pairs = list(zip(rates["batched", robots], rates["single", robots], strict=True))
        ratios[robots] = statistics.median(ours / alone for ours, alone in pairs)
        ours, alone = (statistics.median(side) for side in zip(*pairs, strict=True))
        print(
            f"{robots:>8}{ours:>12.1f}{alone:>12.1f}{ratios[robots]:>8.2f}"
            f"{p95['batched', robots]:>10.1f}{p95['single', robots]:>12.1f}"
            f"{statistics.median(spent['batched', robots]):>9.1f}{statistics.median(spent['single', robots]):>12.1f}"
        )
    figures = {
        "batched_vs_single": round(ratios[4], 3),
        "batched_vs_single_cpu": round(
            statistics.median(spent["single", 4]) / statistics.median(spent["batched", 4]), 3
        ),
        **{f"p95_ms_{robots}": round(p95["batched", robots], 2) for robots in CLIENTS},
        **{f"requests_per_s_{robots}": round(statistics.median(rates["batched", robots]), 1) for robots in CLIENTS},
        "wrong_or_lost": wrong,
        "requests": asked,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
