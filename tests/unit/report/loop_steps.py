"""The steps of the whole loop, each of which only commits a made-up output of the agreed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.steps.annotate.outputs import Answers
from pipelines.steps.checkpoint_selection.outputs import Candidate, Selection
from pipelines.steps.evaluate.outputs import (
    AttemptTiming,
    EvaluatedAttempt,
    Evaluation,
    SuccessSummary,
    ThroughputSummary,
    Timing,
)
from pipelines.steps.gate.outputs import GateResult
from pipelines.steps.judge.outputs import JudgedModel, ValueHealth
from pipelines.steps.policy.outputs import PolicyTraining
from pipelines.steps.record.outputs import RecordedAttempt, Recording
from pipelines.steps.value_train.outputs import FoldTraining, ValueTraining
from recap.gate import GateConfig, decide
from recap.graph import Graph
from recap.journal import FileJournal
from recap.registry import Registry
from recap.runner import Runner
from recap.stats import Estimate
from recap.step import Artifact, DirOutput, JsonOutput, StepContext, StepSpec, step
from recap.types import EpisodeDraft, Event, Outcome, PrivilegedTruth, Source
from recap.workspace import Workspace
from value_model.evaluation import ValueReport
from value_model.metrics import Figure

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


def attempt(store: EpisodeStore, seed: int, outcome: Outcome, source: Source, **facts: Any) -> RecordedAttempt:
    return RecordedAttempt(
        start_seed=seed,
        episode_id=record(store, seed, outcome, source),
        outcome=outcome,
        steps=LENGTH,
        source=source,
        **facts,
    )


def recorded(attempts: list[RecordedAttempt]) -> Mapping[str, Any]:
    return {
        "episodes": JsonOutput(EpisodeSet.of(one.episode_id for one in attempts).to_json()),
        "summary": JsonOutput.of(Recording(task=TASK, attempts=tuple(attempts))),
    }


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
        attempt(store, seed, outcome, Source.DEMO, human_steps=LENGTH, flaw="clean")
        for seed, outcome in enumerate((Outcome.SUCCESS, Outcome.FAILURE))
    ]
    return recorded(rows)


def rollout(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    store = EpisodeStore(ctx.workspace.episodes)
    rows = [
        attempt(store, seed, outcome, source, human_steps=6 if source is Source.CORRECTION else 0)
        for seed, outcome, source in ROLLED
    ]
    return recorded(rows)


def join(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    sets = [EpisodeSet.from_json(given.json()) for given in inputs.values()]
    return {"episodes": JsonOutput(EpisodeSet.of(one for each in sets for one in each).to_json())}


def annotate(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    attempts = inputs["summary"].read(Recording).attempts
    notes = {
        one.episode_id: {
            "outcome": one.outcome,
            "key_frames": [[12, -1, "missed <grasp>"], [20, 1, ""]] if one.start_seed == MARKED else [],
            "note": "",
        }
        for one in attempts
    }
    answers = Answers(given={}, sources={"detector": 3, "imported": 0, "human": 1})
    record = {"format": 1, "annotations": notes, "skipped": ["f" * 64]}
    return {"annotations": JsonOutput(record), "answers": JsonOutput.of(answers)}


def table_of(inputs: Mapping[str, Artifact], **arrays: Callable[[int], np.ndarray[Any, Any]]) -> dict[str, Any]:
    ids = EpisodeSet.from_json(inputs["experience"].json()).ids
    return {
        "ids": ids,
        "offsets": np.arange(len(ids) + 1, dtype=np.int64) * LENGTH,
        "arrays": {name: np.concatenate([make(e) for e in range(len(ids))]) for name, make in arrays.items()},
    }


def value_train(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    for name, level in (("loss", 0.5), ("fold1_loss", 0.6)):
        ctx.journal.metrics({name: level}, step=1)
        ctx.journal.metrics({name: level / 2}, step=10)
    ids = EpisodeSet.from_json(inputs["experience"].json()).ids
    training = ValueTraining(
        family="viva",
        episodes=ids,
        folds=tuple(e % 2 for e in range(len(ids))),
        trainings=tuple(FoldTraining(fold=fold, figures={"steps": 10, "loss": 0.25}) for fold in (0, 1)),
    )
    return {"training": JsonOutput.of(training)}


def value_label(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    made = table_of(
        inputs,
        value=lambda e: np.linspace(-0.9 + 0.01 * e, -0.1, LENGTH).astype(np.float32),
        spread=lambda e: np.full(LENGTH, 0.05, np.float32),
    )
    facts = {"family": "viva", "folds": [e % 2 for e in range(len(made["ids"]))], "draws": 4}
    FrameTable(**made, facts=facts).write(ctx.out / "values")
    return {"values": DirOutput(ctx.out / "values")}


def judge(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    return {"value_health": JsonOutput.of(judged(held_out=True))}


def judged(*, held_out: bool) -> ValueHealth:
    def model(family: str, auc: float) -> JudgedModel:
        figures = {"auc_75": Figure(value=auc, low=auc - 0.1, high=auc + 0.1, count=4, note="2 and 2")}
        report = ValueReport(
            task=TASK, episodes=6, frames=180, successes=3, failures=3, figures=figures, per_episode={"f" * 64: {}}
        )
        return JudgedModel(family=family, tasks={TASK: report})

    # The one that labels is named first, wherever it lies among the others.
    models = {"clock": model("clock", 0.5), "state_only": model("state_only", 0.625), "viva": model("viva", 0.875)}
    return ValueHealth(
        name="viva", held_out=held_out, models=models, problems=("values <hardly> differ",), enforce=False
    )


def advantage(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    """Of every episode the last third is positive; the correction's human frames are forced."""
    correction = next(
        one.episode_id for one in inputs["summary"].read(Recording).attempts if one.source is Source.CORRECTION
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
    facts = {"thresholds": {TASK: 0.0}, "lookahead": {TASK: 18}, "family": "viva", "positive_fraction": {TASK: 0.4}}
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
    return {"training": JsonOutput.of(policy_training(steps))}


def policy_training(steps: int) -> PolicyTraining:
    figures = {"steps": float(steps), "parameters": 12_345.0}
    return PolicyTraining(episodes=3, frames=63, positive_fraction=None, figures=figures)


def checkpoint_selection(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    candidates = tuple(
        Candidate(name=f"step-{n}", step=n, guidance=1.0, attempts=8, successes=n, steps_used=99) for n in (3, 5)
    )
    selection = Selection(tasks=(TASK,), split="validation", chosen="step-5", candidates=candidates)
    return {"selection": JsonOutput.of(selection)}


def gate(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    decision = replace(
        decide([], [], GateConfig()),
        final=True,
        reason="undecided (look 2 of 2, <40> starts)",
        pairs=38,
        difference=Estimate(value=0.125, low=-0.05, high=0.3),
        next_starts=None,
    )
    result = GateResult(
        decision=decision,
        renderer="ray",
        champion_policy_id=CHAMPION,
        challenger_policy_id=CHALLENGER,
        attempts=(),
    )
    return {"decision": JsonOutput.of(result)}


def evaluation(policy_id: str, won: tuple[bool, ...], first_seed: int = 0) -> Evaluation:
    attempts = tuple(
        EvaluatedAttempt(
            start_seed=first_seed + seed,
            outcome=Outcome.SUCCESS if success else Outcome.FAILURE,
            steps=50,
            human_steps=0,
        )
        for seed, success in enumerate(won)
    )
    share = sum(won) / len(won)
    summary = SuccessSummary(
        attempts=len(won),
        successes=sum(won),
        success=share,
        success_low=share / 2,
        success_high=1.0,
        mean_steps=50.0,
    )
    return Evaluation(
        task=TASK, split="test", renderer="ray", policy_id=policy_id, attempts=attempts, films=(), summary=summary
    )


def timing(rate: float, inference_s: Mapping[int, float]) -> Timing:
    return Timing(
        attempts=tuple(AttemptTiming(start_seed=seed, inference_s=spent) for seed, spent in inference_s.items()),
        summary=ThroughputSummary(
            throughput_per_hour=rate, throughput_low=rate / 2, throughput_high=rate * 2, inference_late_s=0.0
        ),
    )


BEFORE = (True, False, False, True, False, False, True, False)
AFTER = (True, True, False, True, True, False, True, False)


def evaluate(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    won, who = (AFTER, CHALLENGER) if config.iteration else (BEFORE, CHAMPION)
    rate = 40.0 + 20.0 * config.iteration
    return {
        "evaluation": JsonOutput.of(evaluation(who, won)),
        "timing": JsonOutput.of(timing(rate, dict.fromkeys(range(8), 0.0))),
    }


STEPS: dict[str, tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]] = {
    "record": (rollout, ("after",), ("episodes", "summary")),
    "join": (join, ("demos", "rollouts"), ("episodes",)),
    "policy": (policy, ("after",), ("training",)),
    "checkpoint_selection": (checkpoint_selection, ("after",), ("selection",)),
    "evaluate": (evaluate, ("after",), ("evaluation", "timing")),
    "annotate": (annotate, ("summary",), ("annotations", "answers")),
    "value_train": (value_train, ("experience", "after"), ("training",)),
    "value_label": (value_label, ("experience", "training"), ("values",)),
    "judge": (judge, ("values",), ("value_health",)),
    "advantage": (advantage, ("experience", "summary", "after"), ("labels", "health")),
    "gate": (gate, ("after",), ("decision",)),
}
RECORD = f"{TASK}/record"
EVALUATE = f"{TASK}/evaluate"


def run(workspace: Workspace, **changes: Callable[..., Any]) -> None:
    steps: Registry[StepSpec] = Registry("step")
    for name, (function, inputs, outputs) in STEPS.items():
        needed, optional = ((), inputs) if name == "record" else (inputs, ())
        made = step(
            name=name, version=1, config=Setup, inputs=needed, optional=optional, outputs=outputs, registry=steps
        )
        made(record_step if name == "record" else changes.get(name, function))
    g = Graph(steps=steps)
    start, later = Setup(), Setup(iteration=1)
    demos = g.add(f"0/{RECORD}", "record", start)
    g.add("0/pretrain", "policy", start, after=demos["summary"])
    trained = g.add("0/policy", "policy", start, after=demos["episodes"])
    chosen = g.add("0/checkpoint_selection", "checkpoint_selection", start, after=trained["training"])
    first = g.add(f"0/{EVALUATE}", "evaluate", start, after=chosen["selection"])
    rolled = g.add(f"1/{RECORD}", "record", later, after=first["evaluation"])
    all_of_it = g.add("1/experience", "join", later, demos=demos["episodes"], rollouts=rolled["episodes"])["episodes"]
    notes = g.add("1/annotate", "annotate", later, summary=rolled["summary"])
    models = g.add("1/viva/value_train", "value_train", later, experience=all_of_it, after=notes["annotations"])
    values = g.add("1/viva/value_label", "value_label", later, experience=all_of_it, training=models["training"])
    health = g.add("1/judge", "judge", later, values=values["values"])
    labels = g.add(
        "1/advantage",
        "advantage",
        later,
        experience=all_of_it,
        summary=rolled["summary"],
        after=health["value_health"],
    )
    trained = g.add("1/policy", "policy", later, after=labels["labels"])
    chosen = g.add("1/checkpoint_selection", "checkpoint_selection", later, after=trained["training"])
    decided = g.add("1/gate", "gate", later, after=chosen["selection"])
    g.add(f"1/{EVALUATE}", "evaluate", later, after=decided["decision"])
    journal = workspace.run_dir(RUN) / "journal.jsonl"

    def no_executor() -> Any:
        raise AssertionError("these steps need no executor")

    Runner(workspace, no_executor, journal_factory=lambda node: FileJournal(journal, node)).run(g, RUN)


def record_step(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    return rollout(ctx, config, inputs) if config.iteration else collect(ctx, config, inputs)
