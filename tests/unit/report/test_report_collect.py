"""gather() on a real workspace: real engine, real episode store, steps that only commit made-up outputs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loop_steps import timing

from data.episode_set import EpisodeSet
from data.episodes import EpisodeStore
from pipelines.report.collect import gather
from pipelines.report.model import NodeState
from pipelines.report.write import render
from pipelines.steps.evaluate.outputs import EvaluatedAttempt, Evaluation, Film, SuccessSummary
from pipelines.steps.policy.outputs import PolicyTraining
from pipelines.steps.record.outputs import RecordedAttempt, Recording
from recap.config import setting
from recap.errors import ConfigError, StepFailed, UnknownName
from recap.graph import Graph
from recap.journal import FileJournal
from recap.registry import Registry
from recap.runner import Runner
from recap.step import Artifact, JsonOutput, StepContext, StepSpec, step
from recap.store import Store
from recap.types import EpisodeDraft, Event, Outcome, PrivilegedTruth, Source
from recap.workspace import Workspace

RUN = "shirt-1"
CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    task: str = "shirt_folding"
    size: int = setting(3, minimum=1)
    device: str = setting("cpu", semantic=False)


def record(store: EpisodeStore, seed: int, outcome: Outcome, source: Source) -> str:
    length = 20 + seed % 7
    rng = np.random.default_rng(seed)
    draft = EpisodeDraft(
        task="shirt_folding",
        robot="sim_bimanual",
        source=source,
        policy_id=None if source is Source.DEMO else "p" * 8,
        rate_hz=10.0,
        start_seed=seed,
        renderer="ray",
        state=rng.normal(size=(length, 4)).astype(np.float32),
        action=rng.normal(size=(length, 4)).astype(np.float32),
        intervened=np.full(length, source is Source.DEMO),
        frames={name: rng.integers(0, 256, (length, 8, 8, 3)).astype(np.uint8) for name in CAMERAS},
        software={"mujoco": "3.5.0"},
    )
    truth = PrivilegedTruth(
        progress=np.zeros(length, np.float32),
        stage=np.zeros(length, np.int64),
        events=(Event(t=7, name="missed_grasp_left", kind=-1), Event(t=9, name="neutral_thing", kind=0)),
        outcome=outcome,
        metrics={},
    )
    return store.commit(draft, truth)


OUTCOMES = (Outcome.SUCCESS, Outcome.FAILURE, Outcome.SUCCESS)


def recording(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    store = EpisodeStore(ctx.workspace.episodes)
    attempts = tuple(
        RecordedAttempt(
            episode_id=record(store, seed, outcome, Source.DEMO),
            source=Source.DEMO,
            outcome=outcome,
            steps=20 + seed,
            human_steps=20 + seed,
            start_seed=seed,
            flaw=flaw,
        )
        for seed, (outcome, flaw) in enumerate(zip(OUTCOMES, ("clean", "skipping", "biased"), strict=True))
    )
    return {
        "episodes": JsonOutput(EpisodeSet.of(one.episode_id for one in attempts).to_json()),
        "summary": JsonOutput.of(Recording(task=config.task, attempts=attempts)),
    }


TRAINING = PolicyTraining(episodes=3, frames=63, positive_fraction=None, figures={"steps": 20, "parameters": 12_345})


def train(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    ctx.journal.progress(5, 20, "steps")
    for at, loss in ((1, 0.9), (20, 0.5), (20, 0.3)):  # step 20 twice, as after a kill
        ctx.journal.metrics({"loss": loss}, step=at)
    return {"training": JsonOutput.of(TRAINING)}


def dies(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    ctx.journal.progress(5, 20, "steps")
    raise RuntimeError("out of <memory>")


def evaluate(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
    store = EpisodeStore(ctx.workspace.episodes)
    outcomes = (Outcome.FAILURE, Outcome.SUCCESS, Outcome.FAILURE, Outcome.SUCCESS)
    seeds = [30_000_000 + i for i in range(4)]
    films = tuple(
        Film(start_seed=s, episode_id=record(store, s, o, Source.ROLLOUT), outcome=o)
        for s, o in list(zip(seeds, outcomes, strict=True))[:2]
    )
    summary = SuccessSummary(attempts=4, successes=2, success=0.5, success_low=0.15, success_high=0.85, mean_steps=50.0)
    done = Evaluation(
        task=config.task,
        split="test",
        renderer="ray",
        policy_id="p" * 8,
        attempts=tuple(
            EvaluatedAttempt(start_seed=s, outcome=o, steps=50, human_steps=0)
            for s, o in zip(seeds, outcomes, strict=True)
        ),
        films=films,
        summary=summary,
    )
    clock = timing(88.5, {seed: 0.25 + seed % 10 for seed in seeds})
    return {"evaluation": JsonOutput.of(done), "timing": JsonOutput.of(clock)}


def run(workspace: Workspace, name: str = RUN, *, policy: Callable[..., Any] = train, scored: Any = evaluate) -> None:
    steps: Registry[StepSpec] = Registry("step")
    made = ("evaluation", "timing")
    step(name="record", version=1, config=Setup, outputs=("episodes", "summary"), registry=steps)(recording)
    step(name="policy", version=1, config=Setup, inputs=("demos",), outputs=("training",), registry=steps)(policy)
    step(name="evaluate", version=1, config=Setup, inputs=("policy",), outputs=made, registry=steps)(scored)
    graph = Graph(steps=steps)
    demos = graph.add("0/shirt_folding/record", "record", Setup())
    trained = graph.add("0/policy", "policy", Setup(size=5), demos=demos["episodes"])
    graph.add("0/shirt_folding/evaluate", "evaluate", Setup(), policy=trained["training"])
    journal = workspace.run_dir(name) / "journal.jsonl"

    def no_executor() -> Any:
        raise AssertionError("these steps need no executor")

    Runner(workspace, no_executor, journal_factory=lambda node: FileJournal(journal, node)).run(graph, name)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "ws")


def test_finished_run(workspace: Workspace) -> None:
    run(workspace)
    data = gather(workspace, RUN)
    assert data.missing == ()
    assert data.task == "shirt_folding"
    assert data.prompt
    assert data.success_definition
    assert data.simulated is True
    (iteration,) = data.iterations
    assert iteration.recordings is not None
    assert [r.flaw for r in iteration.recordings] == ["", "skipping", "biased"]
    assert iteration.training is not None
    assert iteration.training.loss == ((1, 0.9), (20, 0.3))
    assert iteration.evaluation is not None
    assert (iteration.evaluation.successes, iteration.evaluation.attempts) == (2, 4)
    assert iteration.evaluation.throughput.low == 44.25
    assert [t.start_seed for t in iteration.evaluation.trials] == [30_000_000 + i for i in range(4)]
    assert [t.inference_s for t in iteration.evaluation.trials] == [0.25, 1.25, 2.25, 3.25]
    assert [(str(n.name), n.state, n.attempts) for n in data.nodes] == [
        ("0/shirt_folding/record", NodeState.DONE, 1),
        ("0/policy", NodeState.DONE, 1),
        ("0/shirt_folding/evaluate", NodeState.DONE, 1),
    ]
    assert all(n.seconds is not None and n.seconds >= 0 for n in data.nodes)
    assert data.settings["0/policy"] == {"task": "shirt_folding", "size": 5}
    assert data.provenance.versions["python"].startswith("3.")
    assert "88.5" in render(data)


def test_data_facts_are_those_of_the_store(workspace: Workspace) -> None:
    run(workspace)
    facts = gather(workspace, RUN).data
    assert facts is not None
    rows = EpisodeStore(workspace.episodes).rows()
    assert facts.episodes == len(rows) == 5
    assert facts.frames == sum(row.length for row in rows)
    assert facts.bytes == sum(path.stat().st_size for path in EpisodeStore(workspace.episodes).files().values())
    assert facts.sources == {"demo": 3, "rollout": 2}
    assert facts.renderers == ("ray",)
    assert facts.software == {"mujoco": "3.5.0"}


def test_films_are_the_first_of_their_kind_with_errors_and_milestones(workspace: Workspace) -> None:
    run(workspace)
    data = gather(workspace, RUN)
    store = EpisodeStore(workspace.episodes)
    assert [(film.slug, film.start_seed) for film in data.films] == [
        ("demo-success", 0),
        ("demo-failure", 1),
        ("evaluation-success", 30_000_001),
        ("evaluation-failure", 30_000_000),
    ]
    film = data.films[1]
    assert film.note == "flaw: skipping"
    assert [row.camera for row in film.rows] == ["cam_high", "cam_left_wrist"]
    np.testing.assert_array_equal(film.rows[0].frames, store.load(film.episode_id).frames["cam_high"][list(film.steps)])
    assert film.steps[0] == 0
    assert film.steps[-1] == film.length - 1
    assert [(mark.t, mark.name) for mark in film.marks] == [(7, "missed_grasp_left")]


def test_failed_run_is_reported_as_far_as_it_came(workspace: Workspace) -> None:
    with pytest.raises(StepFailed):
        run(workspace, policy=dies)
    data = gather(workspace, RUN)
    assert data.missing == ("0/policy: failed (5 of 20 steps)", "0/shirt_folding/evaluate: not begun")
    assert [film.slug for film in data.films] == ["demo-success", "demo-failure"]
    assert [n.state for n in data.nodes] == [NodeState.DONE, NodeState.FAILED, NodeState.PENDING]
    assert data.iterations[0].training is None
    assert "out of &lt;memory&gt;" in render(data)


def test_resumed_run_keeps_its_own_work_apart_from_that_of_others(workspace: Workspace) -> None:
    with pytest.raises(StepFailed):
        run(workspace, policy=dies)
    run(workspace)
    resumed = gather(workspace, RUN)
    assert [n.state for n in resumed.nodes] == [NodeState.DONE] * 3
    assert resumed.nodes[1].attempts == 2
    assert resumed.nodes[0].seconds is not None
    run(workspace, "other")
    other = gather(workspace, "other")
    assert [n.state for n in other.nodes] == [NodeState.CACHED] * 3
    assert [n.seconds for n in other.nodes] == [None] * 3
    assert other.settings == resumed.settings


def test_lost_output_and_lost_episode_are_named(workspace: Workspace) -> None:
    run(workspace)
    data = gather(workspace, RUN)
    store = Store(workspace)
    (store.path("evaluate", data.nodes[2].key) / "evaluation.json").write_text("{}")
    shutil.rmtree(store.path("policy", data.nodes[1].key))
    EpisodeStore(workspace.episodes).path(data.films[0].episode_id).unlink()
    damaged = gather(workspace, RUN)
    assert damaged.iterations[0].evaluation is None
    assert damaged.iterations[0].training is None
    text = "\n".join(damaged.missing)
    assert "0/policy: its output is no longer stored" in text
    assert "0/shirt_folding/evaluate: its output is damaged" in text
    assert "film of demo success" in text
    assert "1 of 3 episodes are no longer in the store" in text
    render(damaged)


def test_gathering_changes_nothing_and_needs_no_lock(workspace: Workspace) -> None:
    run(workspace)
    gather(workspace, RUN)  # may write the episode index, a cache
    before = {p: p.stat().st_mtime_ns for p in workspace.root.rglob("*") if p.is_file()}
    with workspace.lock("a run beside"):
        gather(Workspace.open(workspace.root, create=False), RUN)
    after = {p: p.stat().st_mtime_ns for p in workspace.root.rglob("*") if p.is_file()}
    before.pop(workspace.root / "lock", None)
    after.pop(workspace.root / "lock", None)
    assert before == after


def test_output_without_a_field_is_refused_by_name(workspace: Workspace) -> None:
    def scored(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
        empty = {"split": "test", "summary": {}, "attempts": []}
        return {"evaluation": JsonOutput(empty), "timing": JsonOutput(empty)}

    run(workspace, scored=scored)
    with pytest.raises(ConfigError, match=r"Evaluation.*task"):
        gather(workspace, RUN)


def test_unknown_run(workspace: Workspace) -> None:
    run(workspace)
    with pytest.raises(UnknownName, match="did you mean 'shirt-1'"):
        gather(workspace, "shirt-2")
