"""Flaw AUC on made-up segments whose order is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support.value_facts import F, S, make_facts

from recap.errors import ConfigError
from recap.types import Source
from value_model.evaluation import EvaluationConfig, evaluate_values, flaw_differences
from value_model.flaw_auc import FEWEST, FLAW_FIGURES, Segments, flaw_difference, flaw_figures, score_segments
from value_model.gae import Horizon
from value_model.metrics import Bootstrap
from value_model.returns import ReturnConfig
from value_model.segments import ActionSegment

BOOT = Bootstrap(seed=0, resamples=200)
PAIRS = 2 * FEWEST


def segment(kind: str, start: int, stop: int, quality: int, stage: int = 0) -> ActionSegment:
    return ActionSegment(kind=kind, start=start, stop=stop, stage=stage, quality=quality)


def episode(approach: int, carry: int) -> tuple[ActionSegment, ...]:
    return (segment("approach", 0, 3, approach), segment("carry", 3, 8, carry), segment("approach", 8, 10, 0))


def made() -> tuple[object, Segments]:
    """Half of the episodes clean and won, half flawed and lost; demonstrations and rollouts in turn."""
    sources = [Source.DEMO if place // 2 % 2 else Source.ROLLOUT for place in range(2 * PAIRS)]
    facts = make_facts([10] * 2 * PAIRS, [S, F] * PAIRS, sources=sources)
    return facts, [episode(1, 1) if place % 2 == 0 else episode(-1, -1) for place in range(2 * PAIRS)]


def test_segments_that_are_told_apart_and_those_that_are_not() -> None:
    facts, segments = made()
    clean = np.repeat(np.tile([1.0, 0.0], PAIRS), 10)
    perfect = score_segments(clean, facts, segments)
    figures = flaw_figures(perfect, perfect, BOOT)
    assert set(figures) == set(FLAW_FIGURES)
    assert [figures[name].value for name in ("flaw_auc", "flaw_auc_demos", "flaw_auc_rollouts")] == [1, 1, 1]
    assert figures["flaw_auc_demos"].note == (
        f"demos/approach {FEWEST} clean {FEWEST} flawed; demos/carry {FEWEST} clean {FEWEST} flawed"
    )
    blind = score_segments(np.full_like(clean, 0.1), facts, segments)
    assert flaw_figures(blind, perfect, BOOT)["flaw_auc"].value == 0.5
    turned = score_segments(-clean, facts, segments)
    assert flaw_figures(turned, perfect, BOOT)["flaw_auc"].value == 0
    difference = flaw_difference(perfect, blind, BOOT)["flaw_auc"]
    assert (difference.value, difference.low, difference.high) == (0.5, 0.5, 0.5)


def test_a_score_is_the_mean_over_the_frames_of_the_segment() -> None:
    facts, segments = made()
    advantage = np.tile(np.arange(10.0), 2 * PAIRS)
    scored = score_segments(advantage, facts, segments)
    assert scored is not None
    assert scored.score[:2].tolist() == [1.0, 5.0]


@pytest.mark.parametrize(("start", "stage"), [(40, 0), (3, 1)], ids=["later", "another sub-stage"])
def test_matched_pairs_are_of_one_situation(start: int, stage: int) -> None:
    """A score that only knows when, or where in the task, says nothing of which action was good."""
    facts = make_facts([60] * 2 * PAIRS, [S, F] * PAIRS, sources=[Source.DEMO] * 2 * PAIRS)
    elsewhere = (segment("approach", 0, start, 0), segment("carry", start, 60, -1, stage))
    here = (segment("approach", 0, 3, 0), segment("carry", 3, 60, 1))
    apart = [here if place % 2 == 0 else elsewhere for place in range(2 * PAIRS)]
    score = np.repeat(np.tile([1.0, 0.0], PAIRS), 60)
    told = score_segments(score, facts, apart)
    figures = flaw_figures(told, told, BOOT)
    assert figures["flaw_auc"].value == 1
    assert figures["flaw_auc_matched"].value is None
    assert figures["flaw_auc_matched"].note.startswith("0 pairs")
    # One episode in four is flawed in the first's own situation: those pairs, and no other, count.
    mixed = [(here[0], replace(here[1], quality=-1)) if place % 4 == 2 else one for place, one in enumerate(apart)]
    knowing = score_segments(np.repeat(np.tile([1.0, 0.0, 0.5, 0.0], PAIRS // 2), 60), facts, mixed)
    blind = score_segments(score, facts, mixed)
    figures = flaw_figures(knowing, blind, BOOT)
    assert figures["flaw_auc_matched"].value == 1
    assert figures["flaw_auc_return_matched"].value == 0.5
    assert figures["flaw_auc_return"].value == pytest.approx(0.5 + 1 / 3)
    difference = flaw_difference(knowing, blind, BOOT)["flaw_auc_matched"]
    assert (difference.value, difference.low, difference.high) == (0.5, 0.5, 0.5)


def test_a_pair_counts_as_often_as_its_episodes_are_drawn() -> None:
    facts, segments = made()
    rng = np.random.default_rng(0)
    scored = score_segments(rng.random(facts.num_frames), facts, segments)
    assert scored is not None
    figure = flaw_figures(scored, scored, BOOT)["flaw_auc_matched"]
    drawn = []
    for weight in BOOT.weights("flaw_auc_matched", scored.episodes):
        top = bottom = 0.0
        for a in np.flatnonzero(scored.clean):
            for b in np.flatnonzero(~scored.clean):
                if scored.group[a] == scored.group[b]:
                    often = weight[scored.episode[a]] * weight[scored.episode[b]]
                    top, bottom = top + often * (scored.score[a] > scored.score[b]), bottom + often
        drawn.append(top / bottom)
    assert [figure.low, figure.high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]).tolist())


def test_too_few_segments_and_no_truth_give_no_figure() -> None:
    facts, segments = made()
    few = score_segments(np.zeros(facts.num_frames), facts, [None, *segments[1:]])
    assert flaw_figures(few, few, BOOT)["flaw_auc_rollouts"].value is None
    assert flaw_figures(few, few, BOOT)["flaw_auc_demos"].value is not None
    assert score_segments(np.zeros(facts.num_frames), facts, [None] * 2 * PAIRS) is None
    for figure in flaw_figures(None, None, BOOT).values():
        assert figure.value is None
        assert "no simulator truth" in figure.note
    assert [one.value for one in flaw_difference(None, None, BOOT).values()] == [None, None]


def test_segments_that_do_not_fit_are_refused() -> None:
    facts, segments = made()
    with pytest.raises(ConfigError, match="segments of 1 episodes, expected"):
        score_segments(np.zeros(facts.num_frames), facts, segments[:1])
    short = [replace(one, stop=9) if one.start == 8 else one for one in segments[0]]
    with pytest.raises(ConfigError, match="segments of 9 steps of episode e000, expected 10"):
        score_segments(np.zeros(facts.num_frames), facts, [tuple(short), *segments[1:]])


def test_what_a_person_corrected_stands_apart() -> None:
    facts, segments = made()
    facts = replace(
        facts, sources=(Source.CORRECTION,) * 2 * PAIRS, intervened=np.tile([False] * 3 + [True] * 7, 2 * PAIRS)
    )
    scored = score_segments(np.repeat(np.tile([1.0, 0.0], PAIRS), 10), facts, segments)
    figures = flaw_figures(scored, scored, BOOT)
    assert figures["flaw_auc_rollouts"].note.startswith("rollouts/approach")
    assert "corrections/carry" in figures["flaw_auc"].note
    assert figures["flaw_auc_demos"].value is None


def test_the_report_and_the_differences_use_the_horizon_of_the_labels() -> None:
    facts, segments = made()
    # Of the same value at the start, risen before the end of clean episodes: only within the look-ahead is that seen.
    rising = np.tile([-0.6, -0.6, -0.2, -0.2, -0.2] * 2, PAIRS).reshape(PAIRS, 10)
    value = np.stack([rising, np.full_like(rising, -0.6)], axis=1).reshape(-1).astype(np.float32)
    flat = np.full(facts.num_frames, -0.5, dtype=np.float32)
    shared = {"lookahead": 1, "returns": ReturnConfig(), "positive_fraction": 0.4}
    config = EvaluationConfig(resamples=100)
    near = evaluate_values(value, facts, config, segments=segments, **shared).figures
    far = evaluate_values(flat, facts, config, segments=segments, horizon=Horizon(kind="episode"), **shared).figures
    blind = evaluate_values(flat, facts, config, segments=segments, **shared).figures
    assert near["flaw_auc"].value == 1
    assert far["flaw_auc"].value == 1, "to the end of the episode constant values see the outcome"
    assert blind["flaw_auc"].value == 0.5
    assert blind["flaw_auc_return"].value == 1
    assert next(iter(near)) == "flaw_auc_matched"
    many = {"lookahead": {"fold": 1}, "returns": ReturnConfig(), "shares": {"fold": 0.4}}
    found = flaw_differences({"viva": value, "flat": flat}, "viva", facts, config, segments=segments, **many)
    assert list(found["fold"]) == [
        f"{figure}_minus_{other}" for other in ("episode_return", "flat") for figure in ("flaw_auc", "flaw_auc_matched")
    ]
    assert [one.value for one in found["fold"].values()] == [0, 0, 0.5, 0.5]
