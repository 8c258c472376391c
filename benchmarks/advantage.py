"""What labels cost: returns, advantages, threshold and labels of one million frames in 10,000 episodes.

    python benchmarks/advantage.py [--frames 1000000] [--episodes 10000] [--rounds 5]

Numpy only, one process. Medians of several rounds; seconds_per_million is their sum per million frames.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time

import numpy as np

from value_model.advantage import advantages, label, positive_threshold
from value_model.returns import ReturnConfig, returns

LOOKAHEAD = 50
SHARE = 0.4


def make_offsets(rng: np.random.Generator, frames: int, episodes: int) -> np.ndarray:
    """Episodes of random lengths, `frames` in all."""
    cuts = np.sort(rng.choice(np.arange(1, frames), size=episodes - 1, replace=False))
    return np.concatenate([[0], cuts, [frames]]).astype(np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    offsets = make_offsets(rng, arguments.frames, arguments.episodes)
    success = rng.random(arguments.episodes) < 0.5
    max_steps = np.full(arguments.episodes, int(np.diff(offsets).max()), dtype=np.int64)
    values = rng.uniform(-1, 0, arguments.frames).astype(np.float32)
    basis = np.repeat(rng.random(arguments.episodes) < 0.5, np.diff(offsets))
    forced = rng.random(arguments.frames) < 0.05
    config = ReturnConfig()
    rounds = []
    for _ in range(arguments.rounds):
        marks = [time.perf_counter()]
        returns(offsets, success, max_steps, config)
        marks.append(time.perf_counter())
        advantage = advantages(values, offsets, success, max_steps, LOOKAHEAD, config)
        marks.append(time.perf_counter())
        threshold = positive_threshold(advantage[basis], SHARE)
        marks.append(time.perf_counter())
        positive = label(advantage, threshold, forced)
        marks.append(time.perf_counter())
        parts = [(after - before) * 1e6 / arguments.frames for before, after in itertools.pairwise(marks)]
        rounds.append([*parts, sum(parts)])
        assert abs(np.mean(positive[basis & ~forced]) - SHARE) < 0.02
    names = ["returns", "advantages", "threshold", "labels", "seconds_per_million"]
    print(f"{'figure':22}{'median':>10}{'min':>10}{'max':>10}")
    medians = {}
    for name, column in zip(names, zip(*rounds, strict=True), strict=True):
        medians[name] = statistics.median(column)
        print(f"{name:22}{medians[name]:10.4f}{min(column):10.4f}{max(column):10.4f}")
    print(json.dumps({"seconds_per_million": round(medians["seconds_per_million"], 4)}))


if __name__ == "__main__":
    main()
