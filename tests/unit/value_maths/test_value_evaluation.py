"""A report on values: known models get known figures; what cannot be had is None with a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.support.value_facts import A, F, S, make_facts

from recap.errors import ConfigError, HealthError
from recap.types import KeyFrame
from value_model.episodes import EpisodeFacts
from value_model.evaluation import EvaluationConfig, ValueReport, evaluate_tasks, evaluate_values
from value_model.returns import ReturnConfig, returns
from value_model.value_health import ValueHealthConfig, check_values, refuse_unfit

FAST = EvaluationConfig(resamples=200)
K = 4
LENGTHS = [20, 30, 26, 40, 40, 12, 15]
OUTCOMES = [S, S, S, F, F, F, A]


def facts() -> EpisodeFacts:
    return make_facts(LENGTHS, OUTCOMES, max_steps=40)


def perfect(made: EpisodeFacts) -> np.ndarray:
    return returns(made.offsets, made.success, made.max_steps, ReturnConfig())


def truth(made: EpisodeFacts) -> np.ndarray:
    """Uneven progress, to 1 on successes and to a half on failures."""
    rng = np.random.default_rng(5)
    parts = []
    for length, won in zip(made.lengths, made.success, strict=True):
        climb = np.cumsum(rng.random(length))
        parts.append(climb / climb[-1] * (1.0 if won else 0.5))
    return np.concatenate(parts).astype(np.float32)


def judge(
    values: np.ndarray, made: EpisodeFacts | None = None, ahead: int = K, fraction: float = 0.4, **given: Any
) -> ValueReport:
    made = made if made is not None else facts()
    return evaluate_values(
        values, made, FAST, lookahead=ahead, returns=ReturnConfig(), positive_fraction=fraction, **given
    )


def noisy(made: EpisodeFacts, scale: float, seed: int = 0) -> np.ndarray:
    return (perfect(made) + scale * np.random.default_rng(seed).standard_normal(made.num_frames)).astype(np.float32)


def test_the_return_itself() -> None:
    report = judge(perfect(facts()))
    figures = report.figures
    assert (report.episodes, report.successes, report.failures) == (6, 3, 3)
    assert report.frames == sum(LENGTHS) - 15
    assert figures["spearman_time_median"].value == pytest.approx(1)
    assert figures["pearson_time_mean"].value == pytest.approx(1)
    assert figures["mse_return"].value == pytest.approx(0, abs=1e-12)
    assert figures["outside_share"].value == 0
    assert figures["constant_share"].value == 0
    assert figures["auc_75"].value == 1
    assert set(report.per_episode) == {f"e{place:03d}" for place in range(6)}
    assert json.loads(json.dumps(report.to_json()))["figures"]["mse_return"]["count"] == 6


def test_auc_is_taken_at_absolute_times_among_episodes_still_running() -> None:
    figure = judge(perfect(facts())).figures
    # The median success takes 26 steps.
    assert figure["auc_25"].note == "3 successes and 3 failures still running at step 6"
    assert figure["auc_50"].note == "3 successes and 2 failures still running at step 13"
    assert figure["auc_75"].note == "3 successes and 2 failures still running at step 19"
    assert figure["auc_75"].count == 5


def test_a_clock_cannot_tell_success_from_failure() -> None:
    made = facts()
    clock = np.concatenate([np.arange(length) / 40 - 1 for length in LENGTHS]).astype(np.float32)
    figures = judge(clock, made, progress=truth(made)).figures
    assert figures["spearman_time_median"].value == pytest.approx(1)
    for share in (25, 50, 75):
        assert figures[f"auc_{share}"].value == 0.5
    difference = figures["difference_correlation"].value
    assert difference is None or abs(difference) < 0.3


def test_values_that_follow_the_truth() -> None:
    made = facts()
    progress = truth(made)
    figures = judge(progress - 1, made, progress=progress).figures
    assert figures["pearson_progress"].value == pytest.approx(1)
    assert figures["difference_correlation"].value == pytest.approx(1, abs=1e-5)
    assert figures["oracle_auc"].value == 1
    turned = judge(-progress, made, progress=progress).figures
    assert turned["difference_correlation"].value == pytest.approx(-1, abs=1e-5)
    assert turned["oracle_auc"].value == pytest.approx(0, abs=1e-9)
    assert turned["spearman_time_median"].value == pytest.approx(-1)


def test_truth_of_some_episodes_only() -> None:
    made = facts()
    progress = truth(made)
    progress[made.offsets[2] :] = np.nan
    figures = judge(perfect_of(made), made, progress=progress).figures
    assert figures["pearson_progress"].count == 2
    assert figures["difference_correlation"].count == 2


def perfect_of(made: EpisodeFacts) -> np.ndarray:
    return np.nan_to_num(perfect(made))


def test_aborted_episodes_change_nothing() -> None:
    made = facts()
    values = noisy(made, 0.05)
    other = values.copy()
    other[made.offsets[-2] :] = np.nan
    assert judge(values, made) == judge(other, made)


def test_a_figure_that_cannot_be_had_is_none_with_a_reason() -> None:
    made = make_facts([10, 12], [S, S])
    figures = judge(perfect(made), made).figures
    missing = {
        "auc_50": "no failures among 2",
        "oracle_auc": "no true progress is known",
        "mdr": "no events are known",
        "flip_rate": "values were drawn once",
        "mse_gap": "no values by models that saw the episodes",
    }
    for name, reason in missing.items():
        assert figures[name].value is None
        assert figures[name].note == reason
    lost = judge(perfect(make_facts([10, 12], [F, F])), make_facts([10, 12], [F, F])).figures
    assert lost["auc_50"].note == "no successes among 2"
    assert lost["spearman_time_median"].value is None
    short = make_facts([4, 3], [S, F])
    reason = judge(perfect(short), short, progress=truth(short)).figures["oracle_auc"]
    assert reason.value is None
    assert "longer than the look-ahead of 4 steps" in reason.note


def test_single_frames_are_no_episodes_with_a_course() -> None:
    made = make_facts([1, 1, 1], [S, F, S])
    figures = judge(np.array([-0.1, -0.9, -0.2], dtype=np.float32), made).figures
    assert figures["spearman_time_median"].value is None
    assert "2 left out" in figures["spearman_time_median"].note
    assert figures["constant_share"].value is None
    assert figures["auc_75"].value == 1


def test_flips_under_redrawn_noise() -> None:
    made = facts()
    values = noisy(made, 0.02)
    assert judge(values, made, redrawn=values).figures["flip_rate"].value == 0
    some = judge(values, made, redrawn=noisy(made, 0.02, seed=1)).figures["flip_rate"]
    # Advantages of a perfect critic are 0, so noise alone decides: chance level.
    assert some.value == pytest.approx(0.48, abs=0.12)
    assert some.note == "0.48 for labels by chance"


def test_gap_between_held_out_and_train() -> None:
    made = facts()
    values = noisy(made, 0.2)
    figures = judge(values, made, train_values=perfect_of(made)).figures
    assert figures["mse_return_train"].value == pytest.approx(0, abs=1e-12)
    assert figures["mse_gap"].value == pytest.approx(figures["mse_return"].value)


def test_events_belong_to_their_episodes_when_others_are_aborted() -> None:
    made = make_facts([4, 6], [A, S])
    values = np.array([0, 0, 0, 0, -1, -1, -1, -0.5, -0.5, -0.5], dtype=np.float32)
    figures = judge(values, made, key_frames=[[KeyFrame(t=3, kind=-1)], [KeyFrame(t=3, kind=1)]]).figures
    assert figures["mdr"].value == 1
    assert figures["err_dr"].value is None
    with pytest.raises(ConfigError, match="key frames of 1 episodes, expected 2"):
        judge(values, made, key_frames=[[]])


def test_what_is_refused() -> None:
    made = facts()
    values = perfect_of(made)
    values[21] = np.inf
    with pytest.raises(HealthError, match="1 of 168 values are NaN or infinite, the first at step 1 of episode e001"):
        judge(values, made)
    with pytest.raises(ConfigError, match="all aborted"):
        judge(np.zeros(3, dtype=np.float32), make_facts([3], [A]))
    with pytest.raises(ConfigError, match="2 tasks at once"):
        judge(np.zeros(6, dtype=np.float32), make_facts([3, 3], [S, S], tasks=["fold", "box"]))
    with pytest.raises(ConfigError, match="redrawn have shape"):
        judge(perfect_of(made), made, redrawn=np.zeros(3, dtype=np.float32))


def test_tasks_are_judged_apart() -> None:
    one, two = make_facts([10, 14, 9], [S, S, F]), make_facts([12, 16], [S, F])
    both = make_facts([10, 12, 14, 16, 9], [S, S, S, F, F], tasks=["fold", "box", "fold", "box", "fold"])
    values = noisy(both, 0.05)
    ahead, shares = {"fold": K, "box": K + 2}, {"fold": 0.4, "box": 0.3}
    reports = evaluate_tasks(values, both, FAST, lookahead=ahead, returns=ReturnConfig(), shares=shares)
    alone = {"fold": (one, [0, 2, 4]), "box": (two, [1, 3])}
    for task, (made, places) in alone.items():
        rows = np.concatenate([np.arange(both.offsets[e], both.offsets[e + 1]) for e in places])
        assert reports[task].figures == judge(values[rows], made, ahead[task], shares[task]).figures


def test_the_floors_catch_constant_and_falling_values() -> None:
    made = facts()
    assert check_values(judge(perfect_of(made), made), ValueHealthConfig()) == ()
    constant = judge(np.full(made.num_frames, -0.5, dtype=np.float32), made)
    problems = check_values(constant, ValueHealthConfig())
    assert "value_std 0 over 6 episodes, expected at least 0.001" in problems[0]
    with pytest.raises(HealthError, match="value_std 0 over 6 episodes") as refused:
        refuse_unfit(problems)
    assert "judge.bounds.enforce=false" in refused.value.hint
    refuse_unfit(())
    falling = judge(-1 - perfect_of(made), made)
    problems = check_values(falling, ValueHealthConfig())
    assert len(problems) == 2
    assert "skill -3.02 over 6 episodes, expected at least -0.1 (min_skill)" in problems[0]
    assert "spearman_time_median -1 over 3 episodes, expected at least 0 (min_spearman)" in problems[1]
    assert check_values(falling, ValueHealthConfig(min_spearman=None, min_skill=None)) == ()


@pytest.mark.parametrize(
    ("setting", "bound", "fails"),
    [("min_auc_75", 0.9, False), ("max_mse", 1e-4, True), ("max_mse", 1.0, False), ("max_outside_share", 0.0, True)],
)
def test_every_bound_may_be_set(setting: str, bound: float, fails: bool) -> None:
    report = judge(noisy(facts(), 0.05), facts())
    config = replace(ValueHealthConfig(), **{setting: bound})
    assert bool(check_values(report, config)) is fails


def test_the_scale_of_values_is_nothing_to_a_model_that_gives_its_advantages() -> None:
    made = facts()
    bounds = ValueHealthConfig(max_mse=1e-4, max_gap=-1.0)
    far = judge(1e-2 * perfect_of(made), made, train_values=perfect_of(made))
    for name in ("min_skill", "min_value_spread", "max_mse", "max_gap"):
        assert any(f"({name})" in problem for problem in check_values(far, bounds)), name
    assert check_values(far, bounds, given=True) == ()
    falling = check_values(judge(-1 - perfect_of(made), made), bounds, given=True)
    assert len(falling) == 1
    assert "min_spearman" in falling[0]
    constant = check_values(judge(np.full(made.num_frames, -0.5, dtype=np.float32), made), bounds, given=True)
    assert [name for name in ("min_value_std", "max_constant_share") if name in "".join(constant)] == [
        "min_value_std",
        "max_constant_share",
    ]


def test_given_advantages_are_judged_in_place_of_differences() -> None:
    made = facts()
    progress, values = truth(made), noisy(made, 0.05)
    last = np.repeat(made.offsets[1:] - 1, made.lengths)
    later = np.minimum(np.arange(made.num_frames) + 4, last)
    gain = np.nan_to_num(progress[later] - progress).astype(np.float32)
    best = judge(values, made, progress=progress, given=gain).figures
    worst = judge(values, made, progress=progress, given=-gain).figures
    assert best["oracle_auc"].value == pytest.approx(1)
    assert worst["oracle_auc"].value == pytest.approx(0, abs=1e-9)
    assert best["difference_correlation"] == worst["difference_correlation"]
    flips = judge(values, made, given=gain, redrawn=noisy(made, 0.05, seed=1)).figures["flip_rate"]
    assert (flips.value, flips.note) == (None, "the model gives its advantages itself, without noise")
    with pytest.raises(ConfigError, match="given advantages have shape"):
        judge(values, made, given=gain[1:])
