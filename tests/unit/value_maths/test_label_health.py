"""Labels that nothing may be trained on are refused with numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.support.value_facts import A, F, S, make_facts

from recap.errors import HealthError
from recap.types import Source
from value_model.advantage import LabelConfig, make_labels
from value_model.episodes import EpisodeFacts
from value_model.health import LabelHealth, LabelHealthConfig, check_labels

LENGTH = 20


def facts() -> EpisodeFacts:
    return make_facts(
        [LENGTH] * 6,
        [S, S, F, S, F, A],
        sources=[Source.DEMO, Source.ROLLOUT, Source.ROLLOUT, Source.CORRECTION, Source.ROLLOUT, Source.ROLLOUT],
        current=[False, True, True, True, True, True],
        human=[*range(20), *range(65, 75)],
    )


def good_values() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 0, 6 * LENGTH).astype(np.float32)


def labels_of(values: np.ndarray, made: EpisodeFacts) -> Any:
    from value_model.returns import ReturnConfig

    return make_labels(values, made, LabelConfig(), lookahead={"fold": 3}, returns=ReturnConfig(), shares={"fold": 0.4})


def listed(values: np.ndarray, **changes: Any) -> LabelHealth:
    config = replace(LabelHealthConfig(enforce=False), **changes)
    return check_labels(values, labels_of(values, facts()), facts(), config)


def test_good_labels_pass_with_their_figures() -> None:
    report = listed(good_values(), enforce=True)
    task = report.tasks["fold"]
    assert report.healthy
    assert task.threshold_frames == 3 * LENGTH + 10
    assert task.threshold_episodes == 4
    assert task.achieved_share == pytest.approx(0.4)
    assert task.ties == 1
    assert task.not_finite == 0
    assert set(task.sources) == {"demo/human", "rollout/autonomous", "correction/autonomous", "correction/human"}
    assert task.sources["correction/human"].share == 1.0
    assert task.sources["rollout/autonomous"].frames == 3 * LENGTH
    total = sum(one.positive for one in task.sources.values())
    assert task.positive_fraction == pytest.approx(total / (5 * LENGTH))
    text = json.loads(json.dumps(report.to_json()))
    assert text["healthy"] is True
    assert text["tasks"]["fold"]["sources"]["demo/human"]["frames"] == LENGTH


def test_nan_anywhere_but_in_aborted_episodes_is_counted() -> None:
    values = good_values()
    values[5] = np.nan
    report = listed(values)
    # A frame's value also enters the advantage of the frame three steps earlier.
    assert report.tasks["fold"].not_finite == 2
    assert "2 frames have a value or an advantage that is NaN" in report.problems[0]
    values = good_values()
    values[-3] = np.nan
    assert listed(values).healthy


def test_an_infinite_value_is_refused() -> None:
    values = good_values()
    values[0] = -np.inf
    with pytest.raises(HealthError, match="NaN or infinite"):
        listed(values, enforce=True)


def test_a_collapsed_critic_is_refused_with_numbers_and_a_next_action() -> None:
    with pytest.raises(HealthError) as caught:
        listed(np.full(6 * LENGTH, -0.5, dtype=np.float32), enforce=True)
    assert caught.value.exit_code == 1
    assert "fold: values hardly differ: standard deviation 0, expected at least 0.001" in caught.value.message
    assert "expected 40.0% within 5.0%" in caught.value.message
    assert caught.value.hint


def test_a_critic_that_only_tells_episodes_apart_is_refused() -> None:
    values = np.repeat(np.array([-0.1, -0.3, -0.5, -0.7, -0.9, -0.2], dtype=np.float32), LENGTH)
    problems = listed(values).problems
    assert any("values within an episode (median) hardly differ" in problem for problem in problems)
    assert not any("fold: values hardly differ" in problem for problem in problems)


def test_noise_around_a_constant_is_refused_although_its_share_is_right() -> None:
    values = (-0.5 + 1e-4 * np.random.default_rng(0).standard_normal(6 * LENGTH)).astype(np.float32)
    report = listed(values)
    assert report.tasks["fold"].achieved_share == pytest.approx(0.4)
    assert any("values hardly differ" in problem for problem in report.problems)


def test_the_share_is_checked_against_the_tolerance() -> None:
    # Two slopes: the steep part is less than the target, and the rest all gain the same.
    course = -0.9 + np.cumsum(np.where(np.arange(LENGTH) < 4, 1 / 16, 1 / 64))
    values = np.tile(course.astype(np.float32), 6)
    report = listed(values)
    gap = abs((report.tasks["fold"].achieved_share or 0) - 0.4)
    assert gap > 0.05
    assert any("threshold frames are positive, expected 40.0%" in problem for problem in report.problems)
    assert report.tasks["fold"].ties > 20
    assert listed(values, tolerance=gap + 1e-9).healthy


@pytest.mark.parametrize(("positive", "words"), [(True, "every frame is"), (False, "no frame is")])
def test_labels_that_are_all_the_same_are_refused(positive: bool, words: str) -> None:
    values = good_values()
    labels = labels_of(values, facts())
    same = replace(labels, positive=np.full(len(values), positive))
    problems = check_labels(values, same, facts(), LabelHealthConfig(enforce=False)).problems
    assert problems == (f"fold: {words} positive in all: labels say nothing",)


def test_too_few_episodes() -> None:
    assert listed(good_values(), min_episodes=5).problems == (
        "fold: 4 episodes of this iteration have autonomous frames to set the threshold on, expected at least 5",
    )


def test_nothing_to_label() -> None:
    none = make_facts([], [])
    values = np.zeros(0, dtype=np.float32)
    with pytest.raises(HealthError, match="no episodes to label"):
        check_labels(values, labels_of(values, none), none, LabelHealthConfig())
