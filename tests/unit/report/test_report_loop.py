"""gather() over the whole loop: real engine, real stores, steps that only commit made-up outputs of the agreed form."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.report import write_report
from pipelines.report.collect import gather
from pipelines.report.figures import AdvantageShare, LabelFacts
from pipelines.report.write import render
from recap.errors import StepFailed
from recap.graph import Graph
from recap.journal import FileJournal
from recap.registry import Registry
from recap.runner import Runner
from recap.step import Artifact, DirOutput, JsonOutput, StepContext, StepSpec, step
from recap.store import Store
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

    def report(auc: float) -> dict[str, Any]:
        figures = {"auc_75": {"value": auc, "low": auc - 0.1, "high": auc + 0.1, "count": 4, "note": "2 and 2"}}
        return {TASK: {"task": TASK, "episodes": 6, "figures": figures, "per_episode": {"f" * 64: {"mse": 1.0}}}}

    health = {
        "model": "viva",
        "tasks": report(0.875),
        "controls": {"clock": report(0.5), "state_only": report(0.625)},
        "problems": ["values <hardly> differ"],
    }
    training = {"folds": [{"name": "model", "fold": fold, "figures": {"steps": 10, "loss": 0.25}} for fold in (0, 1)]}
    return {
        "values": DirOutput(ctx.out / "values"),
        "health": JsonOutput(health),
        "training": JsonOutput(training),
    }


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
    facts = {"thresholds": {TASK: 0.0}, "lookahead": 18, "model": "viva", "positive_share": {TASK: 0.4}}
    FrameTable(**made, facts=facts).write(ctx.out / "labels")
    health = {
        "healthy": True,
        "problems": [],
        "tasks": {TASK: {"achieved_share": 0.375, "ties": 2, "sources": {"rollout/autonomous": {"frames": 1}}}},
    }
    return {"labels": DirOutput(ctx.out / "labels"), "health": JsonOutput(health)}


def policy(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    ctx.journal.metrics({"loss": 0.5}, step=1)
    return {"training": JsonOutput({"steps": 20, "frames": 63, "episodes": 3, "parameters": 12_345})}


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
    "value": (value, ("experience", "after"), ("values", "health", "training")),
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
    g.add("pretrain", "policy", start, after=demos["summary"])
    trained = g.add("0/policy", "policy", start, after=demos["demos"])
    chosen = g.add("0/select", "select", start, after=trained["training"])
    first = g.add("0/evaluate", "evaluate", start, after=chosen["selection"])
    rolled = g.add("1/collect", "rollout", later, demos=demos["demos"], after=first["evaluation"])
    notes = g.add("1/annotate", "annotate", later, summary=rolled["summary"])
    values = g.add("1/value", "value", later, experience=rolled["experience"], after=notes["annotations"])
    labels = g.add(
        "1/advantage",
        "advantage",
        later,
        experience=rolled["experience"],
        summary=rolled["summary"],
        after=values["values"],
    )
    trained = g.add("1/policy", "policy", later, after=labels["labels"])
    chosen = g.add("1/select", "select", later, after=trained["training"])
    decided = g.add("1/promote", "promote", later, after=chosen["selection"])
    g.add("1/evaluate", "evaluate", later, after=decided["decision"])
    journal = workspace.run_dir(RUN) / "journal.jsonl"

    def no_executor() -> Any:
        raise AssertionError("these steps need no executor")

    Runner(workspace, no_executor, journal_factory=lambda node: FileJournal(journal, node)).run(g, RUN)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "ws")


def test_a_whole_iteration_is_gathered(workspace: Workspace) -> None:
    run(workspace)
    data = gather(workspace, RUN)
    assert data.missing == ()
    zero, one = data.iterations
    assert (zero.labels, zero.value, zero.advantage, zero.gate, zero.difference) == (None,) * 5
    assert zero.selection is not None
    assert one.recordings is not None
    assert [r.source for r in one.recordings] == [source for _, _, source in ROLLED]
    sources = {"detector": 3, "imported": 0, "human": 1}
    outcomes = {"success": 2, "failure": 2, "aborted": 0}
    assert one.labels == LabelFacts(sources=sources, skipped=1, outcomes=outcomes, milestones=1, errors=1)
    assert one.selection is not None
    assert (one.selection.chosen, [c.successes for c in one.selection.candidates]) == ("step-5", [3, 5])
    assert one.gate is not None
    assert (one.gate.verdict, one.gate.pairs, one.gate.challenger_id) == ("UNDECIDED", 38, CHALLENGER)
    assert one.training is not None
    assert one.training.loss == ((1, 0.5),)
    assert one.value_training is not None
    assert one.value_training.loss["model_fold1_loss"] == ((1, 0.6), (10, 0.3))


def test_difference_is_that_of_the_same_starts(workspace: Workspace) -> None:
    run(workspace)
    difference = gather(workspace, RUN).iterations[1].difference
    assert difference is not None
    assert difference.estimate.value == pytest.approx(2 / 8)
    assert (difference.since, difference.starts, difference.same_policy) == (0, 8, False)
    assert difference.estimate.low is not None
    assert difference.estimate.high is not None
    assert difference.estimate.low < 0 < difference.estimate.high


def test_other_starts_give_no_difference_and_the_page_says_so(workspace: Workspace) -> None:
    def elsewhere(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
        made = dict(evaluate(ctx, config, inputs))
        made["evaluation"] = JsonOutput(evaluation(CHAMPION, BEFORE, first_seed=5 * config.iteration))
        return made

    run(workspace, evaluate=elsewhere)
    data = gather(workspace, RUN)
    assert data.iterations[1].difference is None
    assert any("difference of iteration 1 to iteration 0" in line and "share 3 starts" in line for line in data.missing)
    render(data)


def test_value_figures_stand_beside_those_of_the_controls(workspace: Workspace) -> None:
    run(workspace)
    facts = gather(workspace, RUN).iterations[1].value
    assert facts is not None
    assert list(facts.figures) == ["viva", "clock", "state_only"]
    assert [facts.figures[name]["auc_75"]["value"] for name in facts.figures] == [0.875, 0.5, 0.625]
    assert facts.held_out
    assert facts.problems == ("values <hardly> differ",)
    assert "values &lt;hardly&gt; differ" in render(gather(workspace, RUN))


def test_shares_and_histograms_count_every_frame_once(workspace: Workspace) -> None:
    run(workspace)
    facts = gather(workspace, RUN).iterations[1].advantage
    assert facts is not None
    assert (facts.threshold, facts.lookahead, facts.not_finite) == (0.0, 18, 0)
    assert facts.health == {"achieved_share": 0.375, "ties": 2}
    assert facts.shares == (
        AdvantageShare(source="demo", iteration=0, episodes=2, frames=60, positive=20, forced=0),
        AdvantageShare(source="rollout", iteration=1, episodes=3, frames=90, positive=30, forced=0),
        AdvantageShare(source="correction", iteration=1, episodes=1, frames=30, positive=16, forced=6),
    )
    assert {h.source: h.frames for h in facts.histograms} == {"demo": 60, "rollout": 90, "correction": 30}
    assert [sum(h.forced) for h in facts.histograms] == [0, 0, 6]
    assert [sum(h.positive) for h in facts.histograms] == [20, 30, 10]
    assert facts.edges[0] <= facts.threshold <= facts.edges[-1]


def test_strips_are_a_success_a_marked_failure_and_a_correction(workspace: Workspace) -> None:
    run(workspace)
    data = gather(workspace, RUN)
    success, failure, correction = data.strips
    assert [s.film.slug for s in data.strips] == ["success", "failure", "correction"]
    assert [s.film.start_seed for s in data.strips] == [101, MARKED, 103]
    assert [(m.t, m.name, m.kind) for m in failure.film.marks] == [(12, "missed <grasp>", -1), (20, "milestone", 1)]
    assert not failure.privileged_marks
    # The label of the success holds no key frame: what the simulator knows is shown as such.
    assert success.privileged_marks
    assert [m.name for m in success.film.marks] == ["dropped_privately"]
    table = FrameTable.read(Store(workspace).path("value", node(data, "1/value").key) / "values")
    np.testing.assert_array_equal(failure.value, table.arrays["value"][table.rows_of(failure.film.episode_id)])
    assert np.flatnonzero(correction.intervened).tolist() == list(range(HUMAN.start, HUMAN.stop))
    assert correction.forced is not None
    np.testing.assert_array_equal(correction.forced, correction.intervened)
    assert {s.threshold for s in data.strips} == {0.0}
    assert all(s.held_out for s in data.strips)
    html = render(data)
    assert "missed &lt;grasp&gt;" in html
    assert html.count("No label of this episode marks a key frame") == 2


def node(data: Any, name: str) -> Any:
    return next(n for n in data.nodes if n.name == name)


def test_values_of_models_that_saw_the_episodes_are_not_called_held_out(workspace: Workspace) -> None:
    def one_fold(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
        made = value(ctx, config, inputs)
        table = FrameTable.read(ctx.out / "values")
        shutil.rmtree(ctx.out / "values")
        facts = {**table.facts, "folds": [0] * len(table.ids)}
        FrameTable(ids=table.ids, offsets=table.offsets, arrays=table.arrays, facts=facts).write(ctx.out / "values")
        return made

    run(workspace, value=one_fold)
    data = gather(workspace, RUN)
    assert not any(s.held_out for s in data.strips)
    text = " ".join(render(data).split())
    assert "they flatter it" in text
    assert "not trained on" not in text


def test_unfinished_loop_shows_what_there_is(workspace: Workspace) -> None:
    def dies(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
        raise RuntimeError("labels collapsed")

    with pytest.raises(StepFailed):
        run(workspace, advantage=dies)
    data = gather(workspace, RUN)
    assert data.missing[0] == "1/advantage: failed"
    assert "1/evaluate: not begun" in data.missing
    assert data.iterations[1].value is not None
    assert [s.advantage for s in data.strips] == [None] * 3
    html = render(data)
    assert "No advantage has been computed yet." in html
    assert "labels collapsed" in html
    assert "8 attempts" in html


def test_damaged_tables_and_lost_episodes_are_named(workspace: Workspace) -> None:
    run(workspace)
    data = gather(workspace, RUN)
    EpisodeStore(workspace.episodes).path(data.strips[1].film.episode_id).unlink()
    shutil.rmtree(Store(workspace).path("advantage", node(data, "1/advantage").key))
    damaged = gather(workspace, RUN)
    text = "\n".join(damaged.missing)
    assert f"values along the failure {data.strips[1].film.episode_id[:12]}" in text
    assert "1/advantage: its output is no longer stored" in text
    assert [s.film.slug for s in damaged.strips] == ["success", "correction"]
    assert damaged.iterations[1].advantage is None
    render(damaged)


def test_pictures_are_written_beside_the_page(workspace: Workspace, tmp_path: Path) -> None:
    run(workspace)
    page = write_report(gather(workspace, RUN), tmp_path / "report")
    names = {path.name for path in page.parent.iterdir()}
    assert {"value-success.png", "value-failure.png", "value-correction.png", "advantages-1.png"} <= names
    assert page.stat().st_size < 3_000_000
