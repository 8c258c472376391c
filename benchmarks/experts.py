"""How good the scripted experts are, on validation starts: without flaws, with them, and taking over in the middle.

    python benchmarks/experts.py [TASK ...] [--episodes 100] [--renderer ray]

No picture is drawn while counting; what pictures cost is timed apart, on a few demonstrations. An attempt taken over
was first played by somebody else: by the flawed expert up to a random step, or by random targets and grips within the
workspace. All steps count towards the limit. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data.rollout import record_demo
from data.sim import arms
from data.sim.flaws import CLEAN, MODES, PERFECT, FlawConfig
from data.sim.seeds import stream
from data.tasks import TASKS, Expert, SimTask, flaws_of
from recap.protocols import SimulatedEnv
from recap.specs import Split, start_seeds
from recap.types import FloatArray, Outcome

FIRST, LATEST_SHARE, RANDOM_SHARE = 5, 0.4, 0.25
"""First step of a take-over, and the latest as a share of the step limit: for a demonstration, for random moves."""
WORKSPACE = ((-0.25, -0.25, 0.01), (0.25, 0.18, 0.15))
"""Corners of where random targets lie, m."""


@dataclass(frozen=True, kw_only=True)
class Count:
    """Attempts of one kind."""

    attempts: int
    successes: int
    steps: float
    """Mean length of the successful ones, control steps."""
    longest: int


def play(robot: SimulatedEnv, expert: Expert, steps: int = 100_000) -> int:
    """Lets the expert act for at most `steps`; returns how many it took."""
    for step in range(steps):
        if robot.finished or expert.done:
            return step
        robot.step(expert.act())
    return steps


def count(outcomes: list[tuple[Outcome, int]]) -> Count:
    lengths = [steps for outcome, steps in outcomes if outcome is Outcome.SUCCESS]
    return Count(
        attempts=len(outcomes),
        successes=len(lengths),
        steps=round(float(np.mean(lengths)), 1) if lengths else 0.0,
        longest=max(lengths, default=0),
    )


def demonstrations(task: SimTask, robot: SimulatedEnv, seeds: list[int], flaws: FlawConfig) -> dict[str, Count]:
    """Attempts of the expert by the mode that each drew."""
    outcomes: dict[str, list[tuple[Outcome, int]]] = {}
    for seed in seeds:
        robot.reset(seed)
        steps = play(robot, task.make_expert(robot, seed, flaws))
        outcomes.setdefault(flaws_of(task, flaws, seed).mode, []).append((robot.truth().outcome, steps))
    return {mode: count(outcomes[mode]) for mode in MODES if mode in outcomes}


def random_actions(rng: np.random.Generator) -> Iterator[FloatArray]:
    """New random targets and grips every 5 steps."""
    while True:
        parts: list[float] = []
        for side in (0, 1):
            x, y, z = rng.uniform(*WORKSPACE)
            parts += [*arms.inverse(side, arms.Pose(x=x, y=y, z=z)), float(rng.random() < 0.5)]
        for _ in range(5):
            yield np.array(parts, dtype=np.float32)


def only(mode: str) -> FlawConfig:
    """Every episode flawed, and in that way."""
    return FlawConfig(flawed_share=1.0, **{f"{name}_weight": float(name == mode) for name in MODES[1:]})


def takeovers(task: SimTask, robot: SimulatedEnv, seeds: list[int]) -> dict[str, Count]:
    """Attempts that the take-over expert ends, by who began them. What is over before the take-over is left out."""
    found: dict[str, Count] = {}
    for kind in (*MODES, "random"):
        outcomes: list[tuple[Outcome, int]] = []
        for seed in seeds:
            rng = stream("benchmark", seed)
            share = RANDOM_SHARE if kind == "random" else LATEST_SHARE
            until = int(rng.integers(FIRST, int(share * task.spec.max_steps)))
            robot.reset(seed)
            if kind == "random":
                for action, _ in zip(random_actions(rng), range(until), strict=False):
                    if not robot.finished:
                        robot.step(action)
            else:
                play(robot, task.make_expert(robot, seed, CLEAN if kind == "clean" else only(kind)), until)
            if robot.finished:
                continue
            play(robot, task.make_takeover(robot, seed))
            truth = robot.truth()
            outcomes.append((truth.outcome, len(truth.progress)))
        found[kind] = count(outcomes)
    return found


def cost(task: SimTask, seeds: list[int], renderer: str) -> dict[str, float]:
    """CPU seconds per clean demonstration: physics and expert alone, and what three 64 x 64 pictures a step add."""
    robot = task.make_env(renderer)
    began = time.process_time()
    for seed in seeds:
        robot.reset(seed)
        play(robot, task.make_expert(robot, seed, CLEAN))
    bare = time.process_time() - began
    began = time.process_time()
    for seed in seeds:
        record_demo(task, robot, seed, CLEAN)
    drawn = time.process_time() - began
    robot.close()
    return {"physics_s": round(bare / len(seeds), 3), "pictures_s": round((drawn - bare) / len(seeds), 3)}


def measure(name: str, episodes: int, renderer: str) -> dict[str, Any]:
    task = TASKS.simulated(name)
    robot = task.make_env("ray", 16)
    seeds = start_seeds(Split.VALIDATION, episodes)
    found: dict[str, Any] = {}

    def note(what: str, counts: dict[str, Count]) -> None:
        found[what] = {kind: asdict(row) for kind, row in counts.items()}
        for kind, row in counts.items():
            line = f"{name:26s} {what:16s} {kind:10s} {row.successes:4d} of {row.attempts:4d}  {row.steps:6.1f} steps"
            print(line, flush=True)

    note("perfect", demonstrations(task, robot, seeds, PERFECT))
    note("clean", demonstrations(task, robot, seeds, CLEAN))
    note("half flawed", demonstrations(task, robot, seeds, FlawConfig(flawed_share=0.5)))
    note("take-over from", takeovers(task, robot, seeds[: max(episodes // 2, 1)]))
    robot.close()
    return {**found, **cost(task, seeds[:5], renderer)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=[])
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--renderer", default="ray")
    chosen = parser.parse_args()
    names = chosen.tasks or TASKS.names()
    print(json.dumps({name: measure(name, chosen.episodes, chosen.renderer) for name in names}))


if __name__ == "__main__":
    main()
