"""The steps of the whole loop, each of which only commits a made-up output of the agreed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from recap.graph import Graph
from recap.journal import FileJournal
from recap.registry import Registry
from recap.runner import Runner
from recap.step import Artifact, DirOutput, JsonOutput, StepContext, StepSpec, step
from recap.types import EpisodeDraft, Event, Outcome, PrivilegedTruth, Source
from recap.workspace import Workspace

RUN = "loop-1"
TASK = "shirt_folding"
LENGTH = 30
HUMAN = slice(10, 16)
CHAMPION, CHALLENGER = "a" * 16, "b" * 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    task: str = TASK
    iteration: int = 0


def record(store: EpisodeStore, seed: int, outcome: Outcome, source: Source) -> str:
    rng = np.random.default_rng(seed)
    intervened = np.full(LENGTH, source is Source.DEMO)
    if source is Source.CORRECTION:
        intervened[HUMAN] = True
    draft = EpisodeDraft(
        task=TASK,
        robot="sim_bimanual",
        source=source,
        policy_id=None if source is Source.DEMO else CHAMPION,
        rate_hz=10.0,
        start_seed=seed,
        renderer="ray",
        state=rng.normal(size=(LENGTH, 4)).astype(np.float32),
        action=rng.normal(size=(LENGTH, 4)).astype(np.float32),
        intervened=intervened,
        frames={"cam_high": rng.integers(0, 256, (LENGTH, 8, 8, 3)).astype(np.uint8)},
        software={"mujoco": "3.5.0"},
    )
    truth = PrivilegedTruth(
        progress=np.zeros(LENGTH, np.float32),
        stage=np.zeros(LENGTH, np.int64),
        events=(Event(t=3, name="dropped_privately", kind=-1),),
        outcome=outcome,
        metrics={},
    )
    return store.commit(draft, truth)


ROLLED = (
    (100, Outcome.FAILURE, Source.ROLLOUT),
    (101, Outcome.SUCCESS, Source.ROLLOUT),
    (102, Outcome.FAILURE, Source.ROLLOUT),
    (103, Outcome.SUCCESS, Source.CORRECTION),
)
MARKED = 102
"""Start of the only failure with a marked error."""


def collect(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    store = EpisodeStore(ctx.workspace.episodes)
    rows = [
        {
            "start_seed": seed,
            "episode_id": record(store, seed, outcome, Source.DEMO),
            "outcome": outcome,
            "steps": LENGTH,
        }
        for seed, outcome in enumerate((Outcome.SUCCESS, Outcome.FAILURE))
    ]
    demos = EpisodeSet.of(str(row["episode_id"]) for row in rows)
    return {
        "demos": JsonOutput(demos.to_json()),
        "summary": JsonOutput({"task": TASK, "attempts": [{**row, "flaw": "clean"} for row in rows]}),
    }


def rollout(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    store = EpisodeStore(ctx.workspace.episodes)
    rows = [
        {
            "start_seed": seed,
            "episode_id": record(store, seed, outcome, source),
            "outcome": outcome,
            "steps": LENGTH,
            "source": source,
            "human_steps": 6 if source is Source.CORRECTION else 0,
        }
        for seed, outcome, source in ROLLED
    ]
    previous = EpisodeSet.from_json(inputs["demos"].json())
    new = EpisodeSet.of(str(row["episode_id"]) for row in rows)
    return {
        "episodes": JsonOutput(new.to_json()),
        "experience": JsonOutput((previous | new).to_json()),
        "summary": JsonOutput({"task": TASK, "attempts": rows}),
    }


def annotate(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    attempts = inputs["summary"].json()["attempts"]
    notes = {
        row["episode_id"]: {
            "outcome": row["outcome"],
            "key_frames": [[12, -1, "missed <grasp>"], [20, 1, ""]] if row["start_seed"] == MARKED else [],
            "note": "",
        }
        for row in attempts
    }
    sources = {"detector": 3, "imported": 0, "human": 1}
    record = {"format": 1, "annotations": notes, "skipped": ["f" * 64], "sources": sources}
    return {"annotations": JsonOutput(record)}


def table_of(inputs: Mapping[str, Artifact], **arrays: Callable[[int], np.ndarray[Any, Any]]) -> dict[str, Any]:
    ids = EpisodeSet.from_json(inputs["experience"].json()).ids
    return {
        "ids": ids,
        "offsets": np.arange(len(ids) + 1, dtype=np.int64) * LENGTH,
        "arrays": {name: np.concatenate([make(e) for e in range(len(ids))]) for name, make in arrays.items()},
    }


def value(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    for name, level in (("loss", 0.5), ("model_fold1_loss", 0.6), ("clock_fold0_loss", 0.9)):
        ctx.journal.metrics({name: level}, step=1)
        ctx.journal.metrics({name: level / 2}, step=10)
    made = table_of(
        inputs,
        value=lambda e: np.linspace(-0.9 + 0.01 * e, -0.1, LENGTH).astype(np.float32),
        spread=lambda e: np.full(LENGTH, 0.05, np.float32),
    )
    facts = {"model": "viva", "folds": [e % 2 for e in range(len(made["ids"]))], "draws": 4, "lookahead": 18}
    FrameTable(**made, facts=facts).write(ctx.out / "values")
    training = {"folds": [{"name": "model", "fold": fold, "figures": {"steps": 10, "loss": 0.25}} for fold in (0, 1)]}
    return {"values": DirOutput(ctx.out / "values"), "training": JsonOutput(training)}


def health(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    def report(auc: float) -> dict[str, Any]:
        figures = {"auc_75": {"value": auc, "low": auc - 0.1, "high": auc + 0.1, "count": 4, "note": "2 and 2"}}
        return {TASK: {"task": TASK, "episodes": 6, "figures": figures, "per_episode": {"f" * 64: {"mse": 1.0}}}}

    found = {
        "model": "viva",
        "held_out": True,
        "tasks": report(0.875),
        "controls": {"clock": report(0.5), "state_only": report(0.625)},
        "problems": ["values <hardly> differ"],
    }
    return {"value_health": JsonOutput(found)}


def advantage(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    """Of every episode the last third is positive; the correction's human frames are forced."""
    correction = next(
        row["episode_id"] for row in inputs["summary"].json()["attempts"] if row["source"] == Source.CORRECTION
    )
    ids = EpisodeSet.from_json(inputs["experience"].json()).ids
    late = np.arange(LENGTH) >= 20
    human = np.zeros(LENGTH, np.bool_)
    human[HUMAN] = True

    def forced(e: int) -> np.ndarray[Any, Any]:
        return human & (ids[e] == correction)

    made = table_of(
        inputs,
        advantage=lambda _: np.linspace(-0.2, 0.1, LENGTH).astype(np.float32),
        positive=lambda e: late | forced(e),
        forced=forced,
    )
    facts = {"thresholds": {TASK: 0.0}, "lookahead": 18, "model": "viva", "positive_fraction": {TASK: 0.4}}
    FrameTable(**made, facts=facts).write(ctx.out / "labels")
    health = {
        "healthy": True,
        "problems": [],
        "tasks": {TASK: {"achieved_share": 0.375, "ties": 2, "sources": {"rollout/autonomous": {"frames": 1}}}},
    }
    return {"labels": DirOutput(ctx.out / "labels"), "health": JsonOutput(health)}


def policy(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    ctx.journal.metrics({"loss": 0.5}, step=1)
    steps = 7 if ctx.node == "0/pretrain" else 20
    return {"training": JsonOutput({"steps": steps, "frames": 63, "episodes": 3, "parameters": 12_345})}


def select(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    rows = [
        {"name": f"step-{n}", "step": n, "guidance": 1.0, "attempts": 8, "successes": n, "steps_used": 99}
        for n in (3, 5)
    ]
    return {"selection": JsonOutput({"task": TASK, "split": "validation", "chosen": "step-5", "candidates": rows})}


def promote(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    decision = {
        "verdict": "undecided",
        "reason": "undecided (look 2 of 2, <40> starts)",
        "pairs": 38,
        "difference": {"value": 0.125, "low": -0.05, "high": 0.3},
        "looks": [{}, {}],
        "champion_policy_id": CHAMPION,
        "challenger_policy_id": CHALLENGER,
    }
    return {"decision": JsonOutput(decision)}


def evaluation(policy_id: str, won: tuple[bool, ...], first_seed: int = 0) -> dict[str, Any]:
    rows = [
        {
            "start_seed": first_seed + seed,
            "outcome": Outcome.SUCCESS if success else Outcome.FAILURE,
            "steps": 50,
            "human_steps": 0,
            "metrics": {},
        }
        for seed, success in enumerate(won)
    ]
    share = sum(won) / len(won)
    summary = {
        "attempts": len(won),
        "successes": sum(won),
        "success": share,
        "success_low": share / 2,
        "success_high": 1.0,
        "mean_steps": 50.0,
    }
    return {"task": TASK, "split": "test", "policy_id": policy_id, "attempts": rows, "films": [], "summary": summary}


BEFORE = (True, False, False, True, False, False, True, False)
AFTER = (True, True, False, True, True, False, True, False)


def evaluate(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    won, who = (AFTER, CHALLENGER) if config.iteration else (BEFORE, CHAMPION)
    rate = 40.0 + 20.0 * config.iteration
    summary = {"throughput_per_hour": rate, "throughput_low": rate / 2, "throughput_high": rate * 2}
    return {
        "evaluation": JsonOutput(evaluation(who, won)),
        "timing": JsonOutput(
            {"attempts": [{"start_seed": s, "inference_s": 0.0} for s in range(8)], "summary": summary}
        ),
    }


STEPS: dict[str, tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]] = {
    "collect": (collect, (), ("demos", "summary")),
    "policy": (policy, ("after",), ("training",)),
    "select": (select, ("after",), ("selection",)),
    "evaluate": (evaluate, ("after",), ("evaluation", "timing")),
    "rollout": (rollout, ("demos", "after"), ("episodes", "experience", "summary")),
    "annotate": (annotate, ("summary",), ("annotations",)),
    "value": (value, ("experience", "after"), ("values", "training")),
    "health": (health, ("values",), ("value_health",)),
    "advantage": (advantage, ("experience", "summary", "after"), ("labels", "health")),
    "promote": (promote, ("after",), ("decision",)),
}


def run(workspace: Workspace, **changes: Callable[..., Any]) -> None:
    steps: Registry[StepSpec] = Registry("step")
    for name, (function, inputs, outputs) in STEPS.items():
        made = step(name=name, version=1, config=Setup, inputs=inputs, outputs=outputs, registry=steps)
        made(changes.get(name, function))
    g = Graph(steps=steps)
    start, later = Setup(), Setup(iteration=1)
    demos = g.add("0/collect", "collect", start)
    g.add("0/pretrain", "policy", start, after=demos["summary"])
    trained = g.add("0/policy", "policy", start, after=demos["demos"])
    chosen = g.add("0/select", "select", start, after=trained["training"])
    first = g.add("0/evaluate", "evaluate", start, after=chosen["selection"])
    rolled = g.add("1/collect", "rollout", later, demos=demos["demos"], after=first["evaluation"])
    notes = g.add("1/annotate", "annotate", later, summary=rolled["summary"])
    values = g.add("1/value", "value", later, experience=rolled["experience"], after=notes["annotations"])
    judged = g.add("1/health", "health", later, values=values["values"])
    labels = g.add(
        "1/advantage",
        "advantage",
        later,
        experience=rolled["experience"],
        summary=rolled["summary"],
        after=judged["value_health"],
    )
    trained = g.add("1/policy", "policy", later, after=labels["labels"])
    chosen = g.add("1/select", "select", later, after=trained["training"])
    decided = g.add("1/promote", "promote", later, after=chosen["selection"])
    g.add("1/evaluate", "evaluate", later, after=decided["decision"])
    journal = workspace.run_dir(RUN) / "journal.jsonl"

    def no_executor() -> Any:
        raise AssertionError("these steps need no executor")

    Runner(workspace, no_executor, journal_factory=lambda node: FileJournal(journal, node)).run(g, RUN)
