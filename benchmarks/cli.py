"""How long a person waits for the command line to say something.

    python benchmarks/cli.py [--rounds 7]

help_s: `recap --help`; status_s: `recap status` of a finished micro run. Whole processes, medians;
cpu_* is the processor time of the same, for judging on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

RECAP = [sys.executable, "-c", "from cli.main import main; main()"]


def timed(arguments: list[str], rounds: int) -> tuple[float, float]:
    """(wall seconds, processor seconds) of one call, medians."""
    wall, cpu = [], []
    for _ in range(rounds):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([*RECAP, *arguments], check=True, capture_output=True)
        wall.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(wall), statistics.median(cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OMP_NUM_THREADS"] = "1"
        run = ["run", "--task", "shirt_folding", "--preset", "micro", "--workspace", folder]
        subprocess.run([*RECAP, *run], check=True, capture_output=True)
        figures = {}
        for name, arguments in (("help", ["--help"]), ("status", ["status", "--workspace", folder])):
            figures[f"{name}_s"], figures[f"cpu_{name}_s"] = timed(arguments, rounds)
    print("| command | wall, s | processor, s |")
    print("|---|---|---|")
    for name in ("help", "status"):
        print(f"| recap {name} | {figures[f'{name}_s']:.2f} | {figures[f'cpu_{name}_s']:.2f} |")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
