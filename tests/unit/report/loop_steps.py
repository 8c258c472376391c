"""The steps of the whole loop, each of which only commits a made-up output of the agreed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from made_up_loop import gate

from data.annotation import Annotations
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
from pipelines.steps.judge.outputs import JudgedModel, ValueHealth
from pipelines.steps.policy.outputs import PolicyTraining
from pipelines.steps.record.outputs import RecordedAttempt, Recording
from pipelines.steps.value_train.outputs import FoldTraining, ValueTraining
from recap.gate import Verdict
from recap.graph import Graph
from recap.journal import FileJournal
from recap.registry import Registry
from recap.runner import Runner
from recap.step import Artifact, DirOutput, JsonOutput, StepContext, StepSpec, step
from recap.types import Annotation, EpisodeDraft, Event, KeyFrame, Outcome, PrivilegedTruth, Source
from recap.workspace import Workspace
from value_model.evaluation import ValueReport
from value_model.health import LabelHealth, TaskLabelHealth
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


ROLLED = (
    (100, Outcome.FAILURE, Source.ROLLOUT),
    (101, Outcome.SUCCESS, Source.ROLLOUT),
    (102, Outcome.FAILURE, Source.ROLLOUT),
    (103, Outcome.SUCCESS, Source.CORRECTION),
)
MARKED = 102
"""Start of the only failure with a marked error."""


def recorded(seed: int, episode_id: str, outcome: Outcome, source: Source) -> RecordedAttempt:
    return RecordedAttempt(
        episode_id=episode_id,
        source=source,
        outcome=outcome,
        steps=LENGTH,
        human_steps=6 if source is Source.CORRECTION else 0,
        start_seed=seed,
        flaw="clean" if source is Source.DEMO else "",
    )


def recording(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    store = EpisodeStore(ctx.workspace.episodes)
    demos = [(seed, outcome, Source.DEMO) for seed, outcome in enumerate((Outcome.SUCCESS, Outcome.FAILURE))]
    attempts = tuple(
        recorded(seed, record(store, seed, outcome, source), outcome, source)
        for seed, outcome, source in (ROLLED if config.iteration else demos)
    )
    episodes = EpisodeSet.of(one.episode_id for one in attempts)
    return {
        "episodes": JsonOutput(episodes.to_json()),
        "summary": JsonOutput.of(Recording(task=TASK, attempts=attempts)),
    }


def annotate(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    marked = (KeyFrame(t=12, kind=-1, text="missed <grasp>"), KeyFrame(t=20, kind=1))
    notes = {
        one.episode_id: Annotation(
            episode_id=one.episode_id,
            outcome=one.outcome,
            key_frames=marked if one.start_seed == MARKED else (),
        )
        for one in inputs["summary"].read(Recording).attempts
        if one.outcome is not None
    }
    sources = {"detector": 3, "imported": 0, "human": 1}
    return {
        "annotations": JsonOutput(Annotations(by_id=notes, missing=("f" * 64,)).to_json()),
        "answers": JsonOutput.of(Answers(given={}, sources=sources)),
    }


def ids_of(inputs: Mapping[str, Artifact]) -> tuple[str, ...]:
    return (EpisodeSet.from_json(inputs["demos"].json()) | EpisodeSet.from_json(inputs["new"].json())).ids


def table_of(inputs: Mapping[str, Artifact], **arrays: Callable[[int], np.ndarray[Any, Any]]) -> dict[str, Any]:
    ids = ids_of(inputs)
    return {
        "ids": ids,
        "offsets": np.arange(len(ids) + 1, dtype=np.int64) * LENGTH,
        "arrays": {name: np.concatenate([make(e) for e in range(len(ids))]) for name, make in arrays.items()},
    }


def train(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    for name, level in (("loss", 0.5), ("fold1_loss", 0.6)):
        ctx.journal.metrics({name: level}, step=1)
        ctx.journal.metrics({name: level / 2}, step=10)
    folds = tuple(FoldTraining(fold=fold, figures={"steps": 10, "loss": 0.25}) for fold in (0, 1))
    return {"training": JsonOutput.of(ValueTraining(family="viva", episodes=(), folds=(), trainings=folds))}


def value(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    made = table_of(
        inputs,
        value=lambda e: np.linspace(-0.9 + 0.01 * e, -0.1, LENGTH).astype(np.float32),
        spread=lambda e: np.full(LENGTH, 0.05, np.float32),
    )
    facts = {"family": "viva", "folds": [e % 2 for e in range(len(made["ids"]))], "draws": 4}
    FrameTable(**made, facts=facts).write(ctx.out / "values")
    return {"values": DirOutput(ctx.out / "values")}


def value_health(*, held_out: bool = True) -> ValueHealth:
    def report(auc: float) -> dict[str, ValueReport]:
        figures = {"auc_75": Figure(value=auc, low=auc - 0.1, high=auc + 0.1, count=4, note="2 and 2")}
        facts = ValueReport(
            task=TASK, episodes=6, frames=9, successes=3, failures=3, figures=figures, per_episode={"f" * 64: {}}
        )
        return {TASK: facts}

    models = {"clock": 0.5, "viva": 0.875, "state_only": 0.625}
    return ValueHealth(
        name="viva",
        held_out=held_out,
        models={name: JudgedModel(family=name, tasks=report(auc)) for name, auc in models.items()},
        problems=("values <hardly> differ",),
        enforce=False,
    )


def judge(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    return {"value_health": JsonOutput.of(value_health())}


def advantage(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    """Of every episode the last third is positive; the correction's human frames are forced."""
    attempts = inputs["summary"].read(Recording).attempts
    correction = next(one.episode_id for one in attempts if one.source is Source.CORRECTION)
    ids = ids_of(inputs)
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
    facts = {"thresholds": {TASK: 0.0}, "lookahead": {TASK: 18}, "positive_fraction": {TASK: 0.4}, "family": "viva"}
    FrameTable(**made, facts=facts).write(ctx.out / "labels")
    figures = TaskLabelHealth(
        target_share=0.4,
        achieved_share=0.375,
        threshold=0.0,
        threshold_frames=90,
        threshold_episodes=3,
        ties=2,
        value_std=None,
        value_std_within=None,
        advantage_std=None,
        not_finite=0,
        positive_fraction=None,
        sources={},
    )
    health = LabelHealth(tasks={TASK: figures}, problems=())
    return {"labels": DirOutput(ctx.out / "labels"), "health": JsonOutput.of(health)}


def policy(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    ctx.journal.metrics({"loss": 0.5}, step=1)
    figures = {"steps": 7 if ctx.node == "0/pretrain" else 20, "parameters": 12_345}
    return {"training": JsonOutput.of(PolicyTraining(episodes=3, frames=63, positive_fraction=None, figures=figures))}


def select(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    tried = tuple(
        Candidate(name=f"step-{n}", step=n, guidance=1.0, noise_scale=1.0, attempts=8, successes=n, steps_used=99)
        for n in (3, 5)
    )
    chosen = Selection(tasks=(TASK,), split="validation", chosen="step-5", candidates=tried)
    return {"selection": JsonOutput.of(chosen)}


def decide(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    return {"decision": JsonOutput.of(gate(Verdict.UNDECIDED, CHAMPION, CHALLENGER, pairs=38))}


def evaluation(policy_id: str, won: tuple[bool, ...], first_seed: int = 0) -> Evaluation:
    share = sum(won) / len(won)
    return Evaluation(
        task=TASK,
        split="test",
        renderer="ray",
        policy_id=policy_id,
        attempts=tuple(
            EvaluatedAttempt(
                start_seed=first_seed + seed,
                outcome=Outcome.SUCCESS if success else Outcome.FAILURE,
                steps=50,
                human_steps=0,
            )
            for seed, success in enumerate(won)
        ),
        films=(),
        summary=SuccessSummary(
            attempts=len(won),
            successes=sum(won),
            success=share,
            success_low=share / 2,
            success_high=1.0,
            mean_steps=50.0,
        ),
    )


def timing(rate: float, inference: Mapping[int, float]) -> Timing:
    return Timing(
        attempts=tuple(AttemptTiming(start_seed=seed, inference_s=s) for seed, s in inference.items()),
        summary=ThroughputSummary(
            throughput_per_hour=rate, throughput_low=rate / 2, throughput_high=rate * 2, inference_late_s=0.0
        ),
    )


BEFORE = (True, False, False, True, False, False, True, False)
AFTER = (True, True, False, True, True, False, True, False)


def evaluate(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    won, who = (AFTER, CHALLENGER) if config.iteration else (BEFORE, CHAMPION)
    clock = timing(40.0 + 20.0 * config.iteration, dict.fromkeys(range(8), 0.0))
    return {"evaluation": JsonOutput.of(evaluation(who, won)), "timing": JsonOutput.of(clock)}


STEPS: dict[str, tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]] = {
    "record": (recording, (), ("episodes", "summary")),
    "policy": (policy, ("after",), ("training",)),
    "checkpoint_selection": (select, ("after",), ("selection",)),
    "evaluate": (evaluate, ("after",), ("evaluation", "timing")),
    "annotate": (annotate, ("summary",), ("annotations", "answers")),
    "value_train": (train, ("after",), ("training",)),
    "value_label": (value, ("demos", "new", "after"), ("values",)),
    "judge": (judge, ("values",), ("value_health",)),
    "advantage": (advantage, ("demos", "new", "summary", "after"), ("labels", "health")),
    "gate": (decide, ("after",), ("decision",)),
}


def run(workspace: Workspace, **changes: Callable[..., Any]) -> None:
    steps: Registry[StepSpec] = Registry("step")
    for name, (function, inputs, outputs) in STEPS.items():
        after = ("after",) if name == "record" else ()
        made = step(name=name, version=1, config=Setup, inputs=inputs, optional=after, outputs=outputs, registry=steps)
        made(changes.get(name, function))
    g = Graph(steps=steps)
    start, later = Setup(), Setup(iteration=1)
    demos = g.add(f"0/{TASK}/record", "record", start)
    g.add("0/pretrain", "policy", start, after=demos["summary"])
    trained = g.add("0/policy", "policy", start, after=demos["episodes"])
    chosen = g.add("0/checkpoint_selection", "checkpoint_selection", start, after=trained["training"])
    first = g.add(f"0/{TASK}/evaluate", "evaluate", start, after=chosen["selection"])
    rolled = g.add(f"1/{TASK}/record", "record", later, after=first["evaluation"])
    ids = {"demos": demos["episodes"], "new": rolled["episodes"]}
    notes = g.add("1/annotate", "annotate", later, summary=rolled["summary"])
    models = g.add("1/viva/value_train", "value_train", later, after=notes["annotations"])
    values = g.add("1/viva/value_label", "value_label", later, **ids, after=models["training"])
    judged = g.add("1/judge", "judge", later, values=values["values"])
    labels = g.add("1/advantage", "advantage", later, **ids, summary=rolled["summary"], after=judged["value_health"])
    trained = g.add("1/policy", "policy", later, after=labels["labels"])
    chosen = g.add("1/checkpoint_selection", "checkpoint_selection", later, after=trained["training"])
    decided = g.add("1/gate", "gate", later, after=chosen["selection"])
    g.add(f"1/{TASK}/evaluate", "evaluate", later, after=decided["decision"])
    journal = workspace.run_dir(RUN) / "journal.jsonl"

    def no_executor() -> Any:
        raise AssertionError("these steps need no executor")

    Runner(workspace, no_executor, journal_factory=lambda node: FileJournal(journal, node)).run(g, RUN)
