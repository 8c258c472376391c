"""Correlations, AUC and event scores against scipy, counting and paper; intervals of the bootstrap."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from recap.errors import ConfigError
from recap.stats import mean_ranks
from recap.types import Event, KeyFrame
from value_model.event_scores import event_figures, event_scores
from value_model.metrics import Bootstrap, auc, pearson, spearman

BOOT = Bootstrap(seed=3, resamples=400)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [3, 1000])
def test_correlations_agree_with_scipy(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, levels, 50).astype(float)
    y = x * 0.3 + rng.integers(0, levels, 50)
    np.testing.assert_array_equal(mean_ranks(x), stats.rankdata(x))
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_a_correlation_that_does_not_exist_is_none() -> None:
    assert pearson([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2, 3], [0.1, 0.1, 0.1]) is None
    assert pearson([1, 2], [3, 4]) is None
    with pytest.raises(ConfigError, match="same length"):
        pearson([1, 2, 3], [1, 2])


def test_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    up, down = rng.integers(0, 6, 12), rng.integers(0, 5, 9)
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in product(up, down)]
    assert auc(up, down) == pytest.approx(np.mean(pairs))
    assert auc([], down) is None
    assert auc([1], [0]) == 1.0


def test_the_interval_of_a_mean_is_about_two_standard_errors() -> None:
    values = np.random.default_rng(0).normal(size=200)
    figure = Bootstrap(seed=0, resamples=4000).mean("m", values)
    assert figure.value == pytest.approx(values.mean())
    assert figure.low is not None
    assert figure.high is not None
    half = 1.96 * values.std() / np.sqrt(200)
    assert figure.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert figure.high == pytest.approx(values.mean() + half, abs=0.15 * half)
    assert Bootstrap(seed=0, resamples=4000).mean("m", values) == figure


def test_one_episode_has_no_interval() -> None:
    for figure in (BOOT.mean("m", np.ones(1)), BOOT.median("m", np.ones(1))):
        assert figure.value == 1
        assert figure.low is None
        assert "one episode" in figure.note
    assert BOOT.auc("a", np.ones(1), np.zeros(5)).low is None
    assert BOOT.median("m", np.zeros(0)).value is None


def test_episodes_are_resampled_not_frames() -> None:
    """Frames that say the same within their episode must not make a figure surer."""
    episode = np.repeat(np.arange(8), 100)
    rng = np.random.default_rng(0)
    x = rng.normal(size=8)[episode]
    y = rng.normal(size=8)[episode]
    once = BOOT.pooled_pearson("p", x[::100], y[::100], episode[::100])
    often = BOOT.pooled_pearson("p", x, y, episode)
    assert often.value == pytest.approx(once.value)
    assert often.low == pytest.approx(once.low, abs=1e-9)
    assert often.high == pytest.approx(once.high, abs=1e-9)


@pytest.mark.parametrize("levels", [4, 10**6])
def test_each_resample_of_a_pooled_auc_is_the_auc_of_that_resample(levels: int) -> None:
    rng = np.random.default_rng(1)
    episode = np.repeat(np.arange(6), 7)
    score = rng.integers(0, levels, 42).astype(float)
    positive = rng.random(42) < 0.4
    drawn = []
    for weight in BOOT.weights("x", 6).astype(int):
        rows = np.concatenate([np.flatnonzero(episode == e) for e in range(6) for _ in range(weight[e])])
        one = auc(score[rows][positive[rows]], score[rows][~positive[rows]])
        assert one is not None
        drawn.append(one)
    figure = BOOT.pooled_auc("x", score, positive, episode)
    assert figure.value == pytest.approx(auc(score[positive], score[~positive]))
    assert (figure.low, figure.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_event_scores_by_hand() -> None:
    # P = 1 + V: .2 .2 .4 .6 .6 | .5 .5 .25
    values = np.array([-0.8, -0.8, -0.6, -0.4, -0.4, -0.5, -0.5, -0.75])
    marks = [
        [Event(t=2, name="grasped", kind=1), KeyFrame(t=2, kind=-1), Event(t=0, name="early", kind=1)],
        [KeyFrame(t=1, kind=-1), Event(t=1, name="note", kind=0), KeyFrame(t=2, kind=-1)],
    ]
    scores = event_scores(values, np.array([0, 5, 8]), marks, window=2, eps=0.05)
    assert scores.without_frames == 2
    assert scores.episode.tolist() == [0, 0, 1]
    assert scores.kind.tolist() == [1, -1, -1]
    assert scores.detected.tolist() == [1, 0, 1]
    np.testing.assert_allclose(scores.score, [0.4 / 0.25, -0.4 / 0.25, 0.25 / 0.55])
    figures = event_figures(scores, BOOT)
    assert figures["mdr"].value == 1
    assert figures["ms"].value == pytest.approx(1.6)
    assert figures["err_dr"].value == 0.5
    assert figures["es"].value == pytest.approx((-1.6 + 0.25 / 0.55) / 2)
    assert figures["es"].count == 2


def test_no_ratio_below_minus_one_and_no_events_outside() -> None:
    values = np.array([-1.2, -1.2, -0.9, -0.9])
    scores = event_scores(values, np.array([0, 4]), [[KeyFrame(t=1, kind=1)]], window=1, eps=0.05)
    assert scores.detected.tolist() == [1]
    figures = event_figures(scores, BOOT)
    assert figures["mdr"].value == 1
    assert figures["ms"].value is None
    assert figures["err_dr"].value is None
    with pytest.raises(ConfigError, match="step 4 of episode number 0, which has 4"):
        event_scores(values, np.array([0, 4]), [[KeyFrame(t=4, kind=1)]], window=1, eps=0.05)
    with pytest.raises(ConfigError, match="events of 0 episodes"):
        event_scores(values, np.array([0, 4]), [], window=1, eps=0.05)


def test_each_resample_of_a_pooled_correlation_is_the_correlation_of_that_resample() -> None:
    rng = np.random.default_rng(2)
    episode = np.repeat(np.arange(6), 7)
    x = rng.normal(size=42) + episode
    y = x + rng.normal(size=42) + 5
    drawn = []
    for weight in BOOT.weights("x", 6).astype(int):
        rows = np.concatenate([np.flatnonzero(episode == e) for e in range(6) for _ in range(weight[e])])
        drawn.append(np.corrcoef(x[rows], y[rows])[0, 1])
    figure = BOOT.pooled_pearson("x", x, y, episode)
    assert (figure.low, figure.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))
