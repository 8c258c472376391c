"""Does RECAP help, and is it the labels? Every arm over several training seeds, on the same TEST starts.

    python benchmarks/recap_seeds.py run   --workspace W --seeds 0,1,2 --arms viva,oracle,random
    python benchmarks/recap_seeds.py table --workspace W [--workspace W2 ...]
    python benchmarks/recap_seeds.py values --workspace W [--workspace W2 ...]

`run` issues `recap run` for each seed and arm, one after another (finished ones are cached; a workspace has one writer,
so use two workspaces for two cores). `table` prints a Markdown table for people and, as its last line, one JSON object;
`values` the same of the value model's held-out figures beside its controls, mean and range over seeds.

Arms differ in their labels alone: demonstrations, base weights, imitation, rollouts, corrections, gradient steps and
the choice on validation starts are shared within a seed. One iteration, without the gate; imitation is iteration 0.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from pipelines.report.collect import gather
from recap.stats import paired_difference
from recap.workspace import Workspace

TASK = "shirt_folding"
ARMS = ("viva", "oracle", "random", "clock")
_CONTROL = ("--set", "judge.bounds.enforce=false", "--values", "none")
_SETTINGS = {
    "viva": (),
    "oracle": ("--value", "oracle", *_CONTROL),
    "clock": ("--value", "clock", *_CONTROL),
    # Drawn at the task's share within each source; `--arms random` beside ViVa keeps ViVa's shares.
    "random": ("--labels", "random"),
}
"""What each arm adds to the command line."""


def run_name(arm: str, seed: int) -> str:
    """As `recap run` names a run that is told nothing else; controls carry their arm."""
    own = TASK if seed == 0 else f"{TASK}-seed{seed}"
    return own if arm == "viva" else f"{own}-{arm}"


def of_run(name: str) -> tuple[str, int] | None:
    """(arm, seed) of a run name; None if it is none of ours."""
    match = re.fullmatch(rf"{TASK}(?:-seed(\d+))?(?:-({'|'.join(ARMS[1:])}))?", name)
    return None if match is None else (match[2] or "viva", int(match[1] or 0))


def run(workspace: Path, seeds: list[int], arms: list[str], more: list[str]) -> None:
    for seed in seeds:
        for arm in arms:
            own = _SETTINGS[arm]
            command = [
                *(sys.executable, "-m", "cli", "run", "--task", TASK, "--seed", str(seed)),
                *("--name", run_name(arm, seed), "--workspace", str(workspace)),
                *("--executor", "local", "--tracker", "none", "--set", "gated=false", *own, *more),
            ]
            subprocess.run(command, check=True)


def outcomes(workspace: Path, name: str) -> list[dict[int, bool]]:
    """Per iteration: {TEST start: success}."""
    data = gather(Workspace.open(workspace, create=False), name)
    return [
        {trial.start_seed: trial.counts_as_success for trial in iteration.evaluation.trials}
        for iteration in data.iterations
        if iteration.evaluation is not None
    ]


def table(workspaces: list[Path]) -> None:
    found: dict[str, dict[int, np.ndarray]] = {}
    for workspace in workspaces:
        for name in Workspace.open(workspace, create=False).run_names():
            ours = of_run(name)
            if ours is None:
                continue
            arm, seed = ours
            played = outcomes(workspace, name)
            if len(played) < 2:
                continue
            starts = sorted(played[0])
            for label, one in (("imitation", played[0]), (arm, played[-1])):
                found.setdefault(label, {})[seed] = np.array([one[start] for start in starts], dtype=float)
    seeds = sorted(found["imitation"])
    print(
        "| arm | "
        + " | ".join(f"seed {seed}" for seed in seeds)
        + " | mean | minus imitation, points (95 %) | seeds up |"
    )
    print("|---" * (len(seeds) + 4) + "|")
    figures: dict[str, float] = {}
    for arm, rows in found.items():
        cells = [f"{100 * rows[seed].mean():.1f} %" if seed in rows else "-" for seed in seeds]
        both = [seed for seed in seeds if seed in rows]
        own = np.stack([rows[seed] for seed in both])
        base = np.stack([found["imitation"][seed] for seed in both])
        estimate = paired_difference(own, base, seed=0)
        up = int(np.sum(own.mean(axis=1) > base.mean(axis=1)))
        difference = f"{100 * estimate.value:+.1f} ({100 * estimate.low:+.1f} .. {100 * estimate.high:+.1f})"
        print(
            f"| {arm} | {' | '.join(cells)} | {100 * own.mean():.1f} % | "
            + (" | |" if arm == "imitation" else f"{difference} | {up} of {len(both)} |")
        )
        figures[f"{arm}_success"] = float(own.mean())
        if arm != "imitation":
            figures |= {
                f"{arm}_minus_imitation": estimate.value,
                f"{arm}_low": estimate.low,
                f"{arm}_high": estimate.high,
                f"{arm}_seeds_up": up,
                f"{arm}_seeds": len(both),
            }
    print(json.dumps(figures))


def values(workspaces: list[Path]) -> None:
    """Held-out figures of ViVa's runs: {model: {figure: one number per seed}}."""
    found: dict[str, dict[str, list[float]]] = {}
    seeds: list[int] = []
    for workspace in workspaces:
        opened = Workspace.open(workspace, create=False)
        for name in opened.run_names():
            ours = of_run(name)
            judged = gather(opened, name).iterations[-1].value if ours and ours[0] == "viva" else None
            if ours is None or judged is None:
                continue
            seeds.append(ours[1])
            for model, figures in judged.figures.items():
                for figure, cell in figures.items():
                    number = cell.value
                    if number is not None:
                        found.setdefault(model, {}).setdefault(figure, []).append(float(number))
    print(f"seeds {sorted(seeds)}: mean (lowest .. highest)\n")
    print("| figure | " + " | ".join(found) + " |")
    print("|---" * (len(found) + 1) + "|")
    summary: dict[str, float] = {}
    for figure in found["viva"]:
        cells = []
        for model in found:
            numbers = found[model].get(figure, [])
            cells.append(f"{np.mean(numbers):.3f} ({min(numbers):.3f} .. {max(numbers):.3f})" if numbers else "-")
            if numbers:
                summary[f"{model}_{figure}"] = float(np.mean(numbers))
        print(f"| {figure} | {' | '.join(cells)} |")
    print(json.dumps({"seeds": len(seeds), **summary}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "table", "values"))
    parser.add_argument("--workspace", action="append", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--arms", default="viva,oracle,random")
    arguments, more = parser.parse_known_args()
    if arguments.what == "table":
        table(arguments.workspace)
    elif arguments.what == "values":
        values(arguments.workspace)
    else:
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
        run(arguments.workspace[0], seeds, arguments.arms.split(","), more)


if __name__ == "__main__":
    main()
