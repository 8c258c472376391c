"""The sections of the later stages of the loop, on a made-up run: numbers, geometry, words, and what is left out."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import pytest
from made_up_loop import THRESHOLD, advantage, gate, loop_run, strip, value_facts
from page_parser import Page

from pipelines.report.formats import difference_reach, points, signed
from pipelines.report.model import (
    Difference,
    Evaluation,
    Iteration,
    LabelFacts,
    Node,
    NodeState,
    ReportData,
    ValueTraining,
)
from pipelines.report.pictures import Mark
from pipelines.report.sections import SECTIONS
from pipelines.report.strip_chart import value_picture
from pipelines.report.wording import difference_sentence, gate_sentence
from pipelines.report.write import render
from pipelines.steps.evaluate.outputs import EvaluatedAttempt
from pipelines.steps.evaluate.summary import paired_difference
from pipelines.steps.open_loop_eval.outputs import ActionError, MeanError, OpenLoopEval, RangeCheck
from recap.errors import ConfigError
from recap.gate import Verdict
from recap.graph import NodeName
from recap.stats import Estimate
from recap.types import Outcome, Source
from value_model.metrics import Figure

MakeRun = Callable[..., ReportData]
NEW = {"values", "advantages", "value-health", "labels", "selection"}


def part(data: ReportData, section: str) -> Page:
    html = render(data, [one for one in SECTIONS if one.id == section])
    match = re.search(rf'<section id="{section}">.*?</section>', html, re.DOTALL)
    assert match is not None
    return Page(match[0])


def difference(value: float, low: float, high: float, **changes: Any) -> Difference:
    facts: dict[str, Any] = {"since": 0, "starts": 40, "same_policy": False}
    return Difference(estimate=Estimate(value=value, low=low, high=high), **{**facts, **changes})


def test_every_section_is_on_the_page_of_a_whole_loop_in_order() -> None:
    page = Page(render(loop_run()))
    anchors = [attrs["id"] for attrs in page.named("section")]
    assert anchors == [section.id for section in SECTIONS if section.id not in ("open-loop", "limits")]
    assert len(set(anchors)) == len(anchors) == 15
    assert [attrs["href"] for attrs in page.named("a")] == [f"#{anchor}" for anchor in anchors]


def test_run_without_these_stages_has_none_of_their_sections(make_run: MakeRun) -> None:
    page = Page(render(make_run()))
    assert not NEW & {attrs["id"] for attrs in page.named("section")}
    assert "gate" not in page.text.lower()
    assert "Difference" not in page.text


def test_planned_stages_say_that_they_have_not_happened() -> None:
    done = loop_run()
    nodes = tuple(dataclasses.replace(n, state=NodeState.PENDING, seconds=None) for n in done.nodes)
    bare = tuple(Iteration(index=i.index, recordings=i.recordings) for i in done.iterations[:1])
    page = Page(render(loop_run(nodes=nodes, iterations=bare, strips=())))
    for sentence in (
        "No value model has been trained yet",
        "No advantage has been computed yet.",
        "No value model has been judged yet.",
        "No episode has been labelled yet.",
        "No checkpoint has been chosen yet.",
    ):
        assert sentence in page.text


def test_headline_states_the_difference_and_the_gate() -> None:
    page = part(loop_run(), "verdict")
    assert "47.5 points more than imitation (iteration 0) on the same 40 starts (95 % interval +31 to +60)" in page.text
    assert "promoted the new policy to champion" in page.text
    assert 0.475 in page.values


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (difference(0.1, -0.05, 0.25), "10 points more than imitation"),
        (difference(-0.1, -0.25, 0.05), "10 points fewer than imitation"),
        (difference(0.0, -0.1, 0.1), "equals that of imitation"),
    ],
)
def test_interval_with_zero_claims_nothing(found: Difference, says: str) -> None:
    text = difference_sentence(found).replace("\u00a0", " ")
    assert says in text
    assert "The interval includes 0" in text
    assert "beyond chance" not in text


def test_interval_without_zero_says_which_way() -> None:
    assert "better, beyond chance" in difference_sentence(difference(0.3, 0.1, 0.5))
    assert "worse, beyond chance" in difference_sentence(difference(-0.3, -0.5, -0.1))
    assert "includes 0" in difference_sentence(difference(0.3, 0.0, 0.5))


def test_same_policy_is_no_gain_whatever_the_numbers() -> None:
    text = difference_sentence(difference(0.3, 0.1, 0.5, same_policy=True))
    assert "the same policy as imitation" in text
    assert "better" not in text


@pytest.mark.parametrize(
    ("verdict", "says"),
    [
        (Verdict.PROMOTED, "promoted the new policy"),
        (Verdict.KEPT, "did worse"),
        (Verdict.UNDECIDED, "could not tell"),
    ],
)
def test_gate_in_words(verdict: Verdict, says: str) -> None:
    assert says in gate_sentence(Iteration(index=1, gate=gate(verdict)))


def test_headline_says_whose_figures_they_are_when_the_champion_stayed() -> None:
    evaluated = loop_run().iterations[1].evaluation
    assert evaluated is not None

    def told(policy_id: str) -> str:
        found: Evaluation = dataclasses.replace(evaluated, policy_id=policy_id)
        return gate_sentence(Iteration(index=1, gate=gate(Verdict.KEPT, "old", "new"), evaluation=found))

    assert "those of the new policy, not of the champion" in told("new")
    assert "those of the champion that stayed" in told("old")
    assert "The figures here" not in told("other")


def test_difference_bar_has_zero_in_its_middle() -> None:
    page = render(loop_run())
    reach = difference_reach([Estimate(value=0.475, low=0.31, high=0.6)])
    assert reach == pytest.approx(0.6)
    left = f"left:{50 + 50 * 0.31 / reach:.2f}%;width:{50 * 0.29 / reach:.2f}%"
    assert left in page
    assert difference_reach([]) == 1.0


def test_iterations_table_holds_gate_and_difference() -> None:
    text = part(loop_run(), "iterations").text
    assert "+25 points (-2 to +40)" in text
    assert "+47.5 points (+31 to +60)" in text
    assert "undecided" in text
    assert "not corrected for stopping early" in text
    apart = loop_run()
    iterations = (*apart.iterations[:2], dataclasses.replace(apart.iterations[2], difference=None))
    assert "other starts" in part(loop_run(iterations=iterations), "iterations").text


def test_value_strip_shows_curve_error_human_span_and_labels() -> None:
    html = render(loop_run())
    found = re.findall(r'<figure class="strip" id="value-(\w+)">(.*?)</figure>', html, re.DOTALL)
    figures = dict(found)
    assert list(figures) == ["success", "failure", "correction"]
    assert ">missed grasp right @96</text>" in figures["failure"]
    assert "missed grasp right at step 96" in figures["failure"]
    # A human span is shaded in the value's and in the advantage's chart.
    assert [figures[name].count("fill: var(--warnbg)") for name in figures] == [0, 0, 2]
    assert [figures[name].count("fill: var(--forced)") for name in figures] == [0, 0, 1]
    assert figures["success"].count("<img") == 12


def test_values_without_labels_have_no_band() -> None:
    bare = strip(
        "success", Source.ROLLOUT, Outcome.SUCCESS, 133, (), advantage=None, positive=None, forced=None, spread=None
    )
    html = render(loop_run(strips=(bare,)))
    (figure,) = re.findall(r'<figure class="strip".*?</figure>', html, re.DOTALL)
    assert "var(--l0)" in figure
    assert "var(--pos)" not in figure
    assert "dashed line is the threshold" not in " ".join(html.split())
    assert value_picture(bare).ndim == 3


def test_advantage_table_counts_shares_from_frames() -> None:
    page = part(loop_run(), "advantages")
    assert "54 %" in page.text  # 5,100 of 9,412 frames of the demonstrations
    assert "39 %" in page.text
    assert THRESHOLD in page.values
    assert "the 31 of all frames that lie beyond" in page.text
    bad = dataclasses.replace(advantage(1), not_finite=7, problems=("every <frame> is positive",))
    iteration = Iteration(index=1, advantage=bad)
    text = part(loop_run(iterations=(iteration,)), "advantages").text
    assert "7 frames have no finite advantage" in text
    assert "every <frame> is positive" in text


def test_health_table_stands_beside_the_controls() -> None:
    page = part(loop_run(), "value-health")
    headers = [word.strip() for word in page.words]
    assert [name for name in ("viva", "clock", "state_only") if name in headers] == ["viva", "clock", "state_only"]
    assert "success against failure at 75 % (AUC)" in page.text
    assert 0.9 in page.values
    assert "n/a" in page.text
    assert "values were drawn once" in page.text


def test_unknown_flat_figures_are_shown_under_their_names() -> None:
    facts = dataclasses.replace(value_facts(0.9), figures={"viva": {"new_figure": Figure(value=0.25)}})
    page = part(loop_run(iterations=(Iteration(index=1, value=facts),)), "value-health")
    assert "new figure" in page.text
    assert 0.25 in page.values
    assert "Controls" not in page.text


def test_labels_and_selection_tables() -> None:
    labels = part(loop_run(), "labels").text
    assert "80 6 4 2 60 29 1 188 41" in labels
    selection = part(loop_run(), "selection").text
    assert selection.count("chosen") == 3 + 1  # one per iteration, and the note
    assert "13/24" in selection
    assert "validation starts" in selection


def test_selection_without_attempts_divides_by_nothing() -> None:
    base = loop_run().iterations[0].selection
    assert base is not None
    untried = dataclasses.replace(
        base, candidates=(dataclasses.replace(base.candidates[0], attempts=0, successes=0),), chosen="x"
    )
    text = part(loop_run(iterations=(Iteration(index=0, selection=untried),)), "selection").text
    assert "not tried" in text
    assert "flattering" not in text


def test_run_that_attempts_nothing_does_not_promise_a_result() -> None:
    nodes = tuple(n for n in loop_run().nodes if n.step not in ("evaluate", "gate"))
    bare = tuple(Iteration(index=i.index, recordings=i.recordings, training=i.training) for i in loop_run().iterations)
    error = ActionError(
        frames=6,
        steps=6,
        error=(1.85,),
        keep_state_error=(None,),
        mean={"rad": MeanError(error=1.85, keep_state_error=None)},
        closer_than_keeping=0,
        comparable=0,
    )
    open_loop = OpenLoopEval(
        task="shirt_folding",
        policy_id="p",
        statement="says nothing of <success>",
        execute=6,
        frames=18,
        episodes=7,
        actions=("a",),
        units=("rad",),
        groups={"demos": error},
        contract=RangeCheck(finite=True, margin=0.1, outside_fraction=0.25, outside={}),
    )
    last = dataclasses.replace(bare[-1], open_loop=open_loop)
    page = Page(render(loop_run(nodes=nodes, iterations=(*bare[:-1], last), strips=())))
    assert "it measures no success" in page.text
    assert "iterations" not in {attrs["id"] for attrs in page.named("section")}
    assert "says nothing of <success>" in page.text
    assert {1.85, 0.25} <= set(page.values)
    assert "n/a" in page.text


def test_pretraining_is_kept_apart_from_training() -> None:
    data = loop_run()
    first = data.iterations[0]
    assert first.training is not None
    longer = dataclasses.replace(first.training, steps=4321)
    page = part(loop_run(iterations=(dataclasses.replace(first, pretraining=longer),)), "training")
    assert "pretraining 4,321" in page.text
    assert "iteration 0 1,200" in page.text


def test_minutes_are_stacked_per_iteration() -> None:
    data = loop_run()
    html = render(data)
    stacks = re.findall(r'<div class="stack"[^>]*aria-label="([^"]+)">(.*?)</div>', html, re.DOTALL)
    assert [label.partition(":")[0] for label, _ in stacks] == ["iteration 0", "iteration 1", "iteration 2"]
    for _, bars in stacks:
        assert sum(float(w) for w in re.findall(r"width:([\d.]+)%", bars)) == pytest.approx(100.0, abs=0.1)
    several = (
        Node(name=NodeName(1, "record", "shirt_folding"), step="record", state=NodeState.DONE, seconds=3.0),
        Node(name=NodeName(1, "policy"), step="policy", state=NodeState.DONE, seconds=3.0),
        Node(name=NodeName(1, "record", "box_assembly"), step="record", state=NodeState.DONE, seconds=4.0),
    )
    told = re.search(r'class="stack"[^>]*aria-label="([^"]+)"', render(loop_run(nodes=several)))
    assert told is not None
    assert re.sub(r"\s", " ", told[1]) == "iteration 1: record 7.0 s, policy 3.0 s"
    nothing = (Node(name=NodeName(0, "record"), step="record", state=NodeState.PENDING),)
    assert 'class="stack"' not in render(loop_run(nodes=nothing))


def test_value_training_has_a_row_per_fold_and_curves_of_the_model_only() -> None:
    data = loop_run()
    trained = data.iterations[2].value_training
    assert trained is not None
    curves = {**trained.loss, "other_loss": ((1, 0.3),), "fold2_loss": ((1, float("nan")),)}
    iteration = dataclasses.replace(data.iterations[2], value_training=dataclasses.replace(trained, loss=curves))
    page = part(loop_run(iterations=(*data.iterations[:2], iteration)), "training")
    assert "iteration 2, fold 0" in page.text
    assert "iteration 2, fold 1" in page.text
    assert "fold 2" not in page.text
    assert "other" not in page.text
    assert "1 loss values of value models are not finite" in page.text
    plain = ValueTraining(folds=({"steps": 77},), seconds=None, loss={})
    iteration = dataclasses.replace(data.iterations[2], value_training=plain)
    assert "77" in part(loop_run(iterations=(iteration,)), "training").text


def test_hostile_text_in_the_outputs_of_the_loop_stays_text() -> None:
    evil = "\"'><script>alert(1)</script>{{ 7*7 }}"
    base = loop_run()
    one = base.iterations[1]
    assert one.selection is not None
    assert one.gate is not None
    assert one.advantage is not None
    health = {evil: Figure(value=1.0, low=0.0, high=2.0, note=evil)}
    iteration = dataclasses.replace(
        one,
        labels=LabelFacts(
            sources={evil: 1}, skipped=0, outcomes={"success": 1, "failure": 0, "aborted": 0}, milestones=0, errors=0
        ),
        value=dataclasses.replace(value_facts(0.9), model=evil, figures={evil: health, "clock": {}}, problems=(evil,)),
        value_training=ValueTraining(folds=({evil: 1.0},), seconds=1.0, loss={"loss": ((1, 1.0),)}),
        advantage=dataclasses.replace(
            one.advantage,
            histograms=(dataclasses.replace(one.advantage.histograms[0], source=evil),),
            shares=(dataclasses.replace(one.advantage.shares[0], source=evil),),
            health={evil: 1.0},
            problems=(evil,),
        ),
        selection=dataclasses.replace(
            one.selection,
            candidates=(dataclasses.replace(one.selection.candidates[0], name=evil),),
            chosen=evil,
            split=evil,
        ),
        gate=dataclasses.replace(
            one.gate,
            decision=dataclasses.replace(one.gate.decision, reason=evil),
            champion_policy_id=evil,
            challenger_policy_id=evil,
        ),
    )
    film_strip = strip("failure", Source.ROLLOUT, Outcome.FAILURE, 90, (Mark(t=3, name=evil, kind=-1),))
    html = render(
        loop_run(
            iterations=(iteration,),
            strips=(film_strip,),
            nodes=(Node(name=NodeName(1, evil), step=evil, state=NodeState.DONE, seconds=3.0),),
        )
    )
    page = Page(html)
    assert not page.named("script")
    assert "<script>" not in html
    assert page.text.count("<script>alert(1)</script>") >= 12
    assert page.text.count("{{ 7*7 }}") >= 12


def test_page_of_a_whole_loop_fetches_nothing_and_stays_small() -> None:
    html = render(loop_run())
    assert len(html) < 3_000_000
    assert "http://" not in html
    assert "https://" not in html
    assert "url(" not in html
    assert not {"nan", "None", "inf"} & set(re.findall(r"\w+", Page(html).text))


def test_paired_difference_pairs_by_start_not_by_order() -> None:
    def rows(*won: tuple[int, bool]) -> list[EvaluatedAttempt]:
        ends = {True: Outcome.SUCCESS, False: Outcome.FAILURE}
        return [EvaluatedAttempt(start_seed=s, outcome=ends[w], steps=9, human_steps=0) for s, w in won]

    later, first = rows((1, True), (2, True), (3, False)), rows((3, False), (2, False), (1, True))
    found = paired_difference(later, first)
    assert found.difference == pytest.approx(1 / 3)
    assert found.low < 1 / 3 < found.high
    assert found.starts == 3
    assert paired_difference(first, later).difference == pytest.approx(-1 / 3)
    later[0] = dataclasses.replace(later[0], human_steps=1)  # no success any more
    assert paired_difference(later, first).difference == pytest.approx(0.0)
    with pytest.raises(ConfigError, match="share 2 starts"):
        paired_difference(later, first[:2])
    with pytest.raises(ConfigError, match="4 and 3 attempts"):
        paired_difference([*later, later[0]], first)


def test_differences_as_text() -> None:
    assert [points(v).replace("\u00a0", " ") for v in (0.475, -0.1, 0.0, None)] == [
        "+47.5 points",
        "-10 points",
        "0 points",
        "n/a",
    ]
    assert [signed(v) for v in (12.04, -0.04, 0.04, -7.25)] == ["+12", "0", "0", "-7.2"]
