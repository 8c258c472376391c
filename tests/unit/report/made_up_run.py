"""A made-up run for the report's tests: three iterations, four films, every section filled."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np

from pipelines.report.filmstrip import evenly_spaced
from pipelines.report.model import (
    Command,
    DataFacts,
    Evaluation,
    Iteration,
    Node,
    NodeState,
    Provenance,
    ReportData,
    Training,
    Trial,
)
from pipelines.report.pictures import Film, FilmRow, Mark
from pipelines.steps.record.outputs import RecordedAttempt
from recap.graph import NodeName
from recap.stats import Estimate
from recap.types import FrameArray, Outcome, Source


def wilson(successes: int, attempts: int) -> tuple[float, float]:
    z, share = 1.959964, successes / attempts
    centre, spread = (
        share + z * z / (2 * attempts),
        z * math.sqrt(share * (1 - share) / attempts + (z / (2 * attempts)) ** 2),
    )
    return (centre - spread) / (1 + z * z / attempts), (centre + spread) / (1 + z * z / attempts)


@cache
def moving_disc(length: int, side: int, hue: int) -> FrameArray:
    """[T, side, side, 3]: a cloth-coloured square and a gripper-like disc that crosses it."""
    ys, xs = np.mgrid[0:side, 0:side] / side
    frames = np.empty((length, side, side, 3), np.uint8)
    for t in range(length):
        x, y = 0.15 + 0.7 * t / max(length - 1, 1), 0.5 + 0.3 * math.sin(6 * t / max(length, 1))
        table = np.stack([120 + 40 * ys, 105 + 40 * ys, 90 + 30 * ys], -1)
        cloth = (abs(xs - 0.5) < 0.28 - 0.12 * t / max(length, 1)) & (abs(ys - 0.5) < 0.24)
        table[cloth] = (60 + hue, 110, 200 - hue)
        table[(xs - x) ** 2 + (ys - y) ** 2 < 0.008] = (30, 30, 34)
        frames[t] = table.astype(np.uint8)
    frames.flags.writeable = False
    return frames


def film(slug: str, title: str, source: Source, outcome: Outcome, length: int, marks: tuple[Mark, ...]) -> Film:
    del source
    steps = evenly_spaced(length, 12)
    hue = 90 if outcome is Outcome.FAILURE else 0
    return Film(
        slug=slug,
        title=title,
        episode_id=f"{length:02x}" * 32,
        start_seed=30_000_000 + length,
        outcome=outcome,
        length=length,
        rate_hz=10.0,
        steps=tuple(steps),
        rows=(
            FilmRow(camera="cam_high", frames=moving_disc(length, 64, hue)[steps]),
            FilmRow(camera="cam_left_wrist", frames=moving_disc(length, 64, 40)[steps]),
        ),
        marks=marks,
    )


def evaluation(successes: int, attempts: int) -> Evaluation:
    trials = tuple(
        Trial(
            start_seed=30_000_000 + i,
            outcome=Outcome.SUCCESS if (i * 7) % attempts < successes else Outcome.FAILURE,
            steps=120 + (i * 37) % 80 if (i * 7) % attempts < successes else 240,
            inference_s=0.01 * i,
            human_steps=0,
        )
        for i in range(attempts)
    )
    low, high = wilson(successes, attempts)
    hours = sum((t.steps if t.counts_as_success else 240) / 10 + 2 for t in trials) / 3600
    rate = successes / hours
    return Evaluation(
        split="test",
        policy_id="5f1c9e0a77" * 6,
        attempts=attempts,
        successes=successes,
        success=Estimate(value=successes / attempts, low=low, high=high),
        throughput=Estimate(value=rate, low=rate * 0.62, high=rate * 1.33),
        mean_steps=sum(t.steps for t in trials) / attempts,
        trials=trials,
    )


def training(steps: int, seed: int) -> Training:
    rng = np.random.default_rng(seed)
    loss = tuple(
        (s, float((1.4 * math.exp(-s / 260) + 0.06 + 0.04 / (seed + 1)) * math.exp(rng.normal(0, 0.12))))
        for s in range(1, steps + 1, 2)
    )
    return Training(steps=steps, seconds=steps * 0.12, frames=9_412, episodes=60, parameters=3_481_234, loss=loss)


def recordings(count: int, source: Source) -> tuple[RecordedAttempt, ...]:
    flaws = ("", "", "biased_grasp", "", "hesitation", "skipped_stage")
    return tuple(
        RecordedAttempt(
            start_seed=i,
            episode_id=f"{i:064x}",
            outcome=Outcome.FAILURE if flaws[i % 6] == "skipped_stage" or i % 11 == 5 else Outcome.SUCCESS,
            steps=140 + (i * 13) % 60,
            source=source,
            human_steps=0,
            flaw=flaws[i % 6] if source is Source.DEMO else "",
        )
        for i in range(count)
    )


def complete_run(**changes: Any) -> ReportData:
    iterations = (
        Iteration(
            index=0, recordings=recordings(60, Source.DEMO), training=training(1200, 0), evaluation=evaluation(9, 40)
        ),
        Iteration(
            index=1,
            recordings=recordings(30, Source.ROLLOUT),
            training=training(1200, 1),
            evaluation=evaluation(19, 40),
        ),
        Iteration(
            index=2,
            recordings=recordings(30, Source.ROLLOUT),
            training=training(1200, 2),
            evaluation=evaluation(28, 40),
        ),
    )
    nodes = tuple(
        Node(
            name=NodeName(i, step),
            step=step,
            state=NodeState.CACHED if i == 0 and step == "record" else NodeState.DONE,
            seconds=None if i == 0 and step == "record" else seconds,
            attempts=2 if step == "policy" and i == 1 else 1,
            key=f"{i}{step}".encode().hex() * 4,
        )
        for i in range(3)
        for step, seconds in (("record", 64.0), ("policy", 148.2 + 9 * i), ("evaluate", 31.7))
    )
    films = (
        film(
            "demo-success",
            "Demonstration",
            Source.DEMO,
            Outcome.SUCCESS,
            151,
            (Mark(t=55, name="sleeve_folded_left", kind=1),),
        ),
        film(
            "demo-failure",
            "Demonstration",
            Source.DEMO,
            Outcome.FAILURE,
            240,
            (Mark(t=60, name="missed_grasp_left", kind=-1), Mark(t=66, name="regrasp", kind=0)),
        ),
        film(
            "evaluation-success",
            "Evaluation",
            Source.ROLLOUT,
            Outcome.SUCCESS,
            133,
            (Mark(t=130, name="hem_folded", kind=1),),
        ),
        film(
            "evaluation-failure",
            "Evaluation",
            Source.ROLLOUT,
            Outcome.FAILURE,
            240,
            (Mark(t=100, name="missed_grasp_right", kind=-1),),
        ),
    )
    values: dict[str, Any] = {
        "run_name": "shirt-folding-0007",
        "task": "shirt_folding",
        "prompt": "fold the shirt",
        "success_definition": "both sleeves and the hem are folded: paired vertices within 30 mm.",
        "simulated": True,
        "generated": 1_790_000_000.0,
        "iterations": iterations,
        "nodes": nodes,
        "films": films,
        "strips": (),
        "data": DataFacts(
            episodes=240,
            frames=38_112,
            bytes=912_400_000,
            cameras=("cam_high", "cam_left_wrist", "cam_right_wrist"),
            renderers=("ray",),
            sources={"demo": 60, "rollout": 180},
            software={"mujoco": "3.5.1", "recap": "0.1.0"},
            rate_hz=(10.0,),
        ),
        "settings": {
            "0/record": {"task": "shirt_folding", "episodes": 60, "flaws": {"biased_grasp": 0.2, "hesitation": 0.2}},
            "0/policy": {
                "steps": 1200,
                "batch": 32,
                "lr": 0.001,
                "image_size": [64, 64],
                "model": {"width": 384, "depth": 5},
            },
            "0/evaluate": {"attempts": 40, "execute": 8, "split": "test"},
        },
        "provenance": Provenance(
            facts=(
                ("Git commit", "8f49e80c2ba1b7d0"),
                ("Host", "bench-3"),
                ("Started", "2026-09-21 12:01 UTC"),
                ("Finished", "2026-09-21 12:14 UTC"),
                ("Command", "recap run --task shirt_folding"),
            ),
            versions={"python": "3.12.4", "torch": "2.11.0", "mujoco": "3.5.1", "lerobot": "0.6.1"},
        ),
        "commands": (
            Command(purpose="Go on with this run", line="recap resume shirt-folding-0007"),
            Command(purpose="See where it stands", line="recap status shirt-folding-0007"),
            Command(purpose="Check stored bytes", line="recap verify"),
            Command(purpose="Browse metrics", line="mlflow ui --backend-store-uri sqlite:///runs/mlflow.db"),
        ),
        "missing": (),
    }
    return ReportData(**{**values, **changes})


def partial_run(**changes: Any) -> ReportData:
    """Killed while the first policy trained: no evaluation, one film, nothing cached."""
    values: dict[str, Any] = {
        "iterations": (Iteration(index=0, recordings=recordings(60, Source.DEMO)),),
        "nodes": (
            Node(
                name=NodeName(0, "record"), step="record", state=NodeState.DONE, seconds=64.0, attempts=1, key="ab" * 32
            ),
            Node(
                name=NodeName(0, "policy"),
                step="policy",
                state=NodeState.KILLED,
                attempts=1,
                progress="300 of 1200 steps",
            ),
            Node(name=NodeName(0, "evaluate"), step="evaluate", state=NodeState.PENDING),
        ),
        "films": complete_run().films[:1],
        "missing": ("0/policy (policy): killed (300 of 1200 steps)", "0/evaluate (evaluate): not begun"),
    }
    return complete_run(**{**values, **changes})
