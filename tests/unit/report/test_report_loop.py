"""gather() over the whole loop: real engine, real stores, steps that only commit made-up outputs of the agreed form."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loop_steps import (
    BEFORE,
    CHALLENGER,
    CHAMPION,
    HUMAN,
    MARKED,
    ROLLED,
    RUN,
    Setup,
    evaluate,
    evaluation,
    run,
    value,
    value_health,
)

from data.episodes import EpisodeStore
from data.frame_table import FrameTable
from pipelines.report import write_report
from pipelines.report.collect import gather
from pipelines.report.model import AdvantageShare, LabelFacts
from pipelines.report.write import render
from recap.errors import StepFailed
from recap.gate import Verdict
from recap.step import Artifact, JsonOutput, StepContext
from recap.store import Store
from recap.workspace import Workspace


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
    assert (one.gate.decision.verdict, one.gate.decision.pairs) == (Verdict.UNDECIDED, 38)
    assert (one.gate.champion_policy_id, one.gate.challenger_policy_id) == (CHAMPION, CHALLENGER)
    assert one.training is not None
    assert (one.training.steps, one.training.loss) == (20, ((1, 0.5),))
    assert (zero.pretraining and zero.pretraining.steps, one.pretraining) == (7, None)
    assert one.value_training is not None
    assert one.value_training.loss["fold1_loss"] == ((1, 0.6), (10, 0.3))


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
        made["evaluation"] = JsonOutput.of(evaluation(CHAMPION, BEFORE, first_seed=5 * config.iteration))
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
    assert [facts.figures[name]["auc_75"].value for name in facts.figures] == [0.875, 0.5, 0.625]
    assert facts.held_out
    assert facts.problems == ("values <hardly> differ",)
    assert "values &lt;hardly&gt; differ" in render(gather(workspace, RUN))


def test_shares_and_histograms_count_every_frame_once(workspace: Workspace) -> None:
    run(workspace)
    facts = gather(workspace, RUN).iterations[1].advantage
    assert facts is not None
    assert (facts.threshold, facts.lookahead, facts.not_finite) == (0.0, 18, 0)
    assert (facts.health["achieved_share"], facts.health["ties"]) == (0.375, 2)
    assert not {"value_std", "threshold", "sources"} & set(facts.health)
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
    table = FrameTable.read(Store(workspace).path("value_label", node(data, "1/viva/value_label").key) / "values")
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
    return next(n for n in data.nodes if str(n.name) == name)


def test_values_of_models_that_saw_the_episodes_are_not_called_held_out(workspace: Workspace) -> None:
    def one_fold(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
        made = value(ctx, config, inputs)
        table = FrameTable.read(ctx.out / "values")
        shutil.rmtree(ctx.out / "values")
        facts = {**table.facts, "folds": [0] * len(table.ids)}
        FrameTable(ids=table.ids, offsets=table.offsets, arrays=table.arrays, facts=facts).write(ctx.out / "values")
        return made

    def judged(ctx: StepContext, config: Setup, inputs: Mapping[str, Artifact]) -> Mapping[str, Any]:
        return {"value_health": JsonOutput.of(value_health(held_out=False))}

    run(workspace, value_label=one_fold, judge=judged)
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
    assert "1/shirt_folding/evaluate: not begun" in data.missing
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
