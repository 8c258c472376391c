"""What must hold of returns, advantages and labels whatever the episodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from tests.support.value_facts import make_facts

from recap.errors import HealthError
from recap.types import Outcome, Source
from value_model.advantage import LabelConfig, advantages, label, make_labels, positive_threshold
from value_model.episodes import EpisodeFacts
from value_model.gae import Horizon, decayed_sums
from value_model.health import LabelHealthConfig, check_labels
from value_model.returns import ReturnConfig, returns

T_MAX = 60
CONFIGS = st.builds(ReturnConfig, c_fail=st.floats(0, 4)) | st.just(ReturnConfig(kind="viva"))
POSITIVE_PRICES = st.builds(ReturnConfig, c_fail=st.floats(0.01, 4)) | st.just(ReturnConfig(kind="viva"))
LENGTHS = st.lists(st.integers(1, T_MAX), min_size=1, max_size=8)
OUTCOMES = st.sampled_from([Outcome.SUCCESS, Outcome.FAILURE])


@st.composite
def facts(draw: st.DrawFn, outcome: Any = OUTCOMES) -> EpisodeFacts:
    lengths = draw(LENGTHS)
    return make_facts(lengths, draw(st.lists(outcome, min_size=len(lengths), max_size=len(lengths))), max_steps=T_MAX)


def values_for(made: EpisodeFacts, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 0, made.num_frames).astype(np.float32)


@given(made=facts(), lookahead=st.integers(1, 2 * T_MAX), config=CONFIGS)
def test_a_perfect_critic_sees_no_advantage(made: EpisodeFacts, lookahead: int, config: ReturnConfig) -> None:
    shape = (made.offsets, made.success, made.max_steps)
    perfect = returns(*shape, config)
    assert np.abs(advantages(perfect, *shape, lookahead, config)).max() <= 1e-6


@given(made=facts(), config=CONFIGS)
def test_returns_rise_within_an_episode_and_stay_in_range(made: EpisodeFacts, config: ReturnConfig) -> None:
    got = returns(made.offsets, made.success, made.max_steps, config)
    assert got.min() >= -1
    assert got.max() <= 0
    for begin, end in zip(made.offsets, made.offsets[1:], strict=False):
        assert np.all(np.diff(got[begin:end]) > 0)


@given(length=st.integers(1, T_MAX), config=POSITIVE_PRICES)
def test_success_is_above_failure_at_equal_time_and_length(length: int, config: ReturnConfig) -> None:
    offsets = np.array([0, length, 2 * length])
    got = returns(offsets, np.array([True, False]), np.array([T_MAX] * 2), config)
    assert np.all(got[:length] > got[length:])


@given(made=facts(), lookahead=st.integers(1, T_MAX), shift=st.floats(-0.5, 0.5), seed=st.integers(0, 99))
def test_a_shift_of_all_values_moves_only_frames_whose_lookahead_passes_the_end(
    made: EpisodeFacts, lookahead: int, shift: float, seed: int
) -> None:
    shape = (made.offsets, made.success, made.max_steps, lookahead, ReturnConfig())
    value = values_for(made, seed)
    moved = advantages(value + np.float32(shift), *shape) - advantages(value, *shape)
    rows = np.arange(made.num_frames)
    past_end = rows + lookahead >= np.repeat(made.offsets[1:], made.lengths)
    np.testing.assert_allclose(moved[past_end], -shift, atol=1e-6)
    np.testing.assert_allclose(moved[~past_end], 0, atol=1e-6)


@given(made=facts(st.sampled_from(list(Outcome))), lookahead=st.integers(1, T_MAX), seed=st.integers(0, 99))
def test_order_of_episodes_does_not_matter(made: EpisodeFacts, lookahead: int, seed: int) -> None:
    value = values_for(made, seed)
    order = np.random.default_rng(seed).permutation(made.num_episodes)
    rows = np.concatenate([np.arange(made.offsets[e], made.offsets[e + 1]) for e in order])
    offsets = np.concatenate([[0], np.cumsum(made.lengths[order])]).astype(np.int64)
    straight = advantages(
        value, made.offsets, made.success, made.max_steps, lookahead, ReturnConfig(), aborted=made.aborted
    )
    mixed = advantages(
        value[rows],
        offsets,
        made.success[order],
        made.max_steps[order],
        lookahead,
        ReturnConfig(),
        aborted=made.aborted[order],
    )
    np.testing.assert_array_equal(straight[rows], mixed)


@given(
    scores=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=300),
    share=st.floats(0.01, 0.99),
)
def test_never_more_positive_than_asked_and_ties_fall_below(scores: list[float], share: float) -> None:
    advantage = np.array(scores, dtype=np.float32)
    threshold = positive_threshold(advantage, share)
    positive = label(advantage, threshold, np.zeros(len(scores), dtype=bool))
    assert threshold in advantage
    assert positive.sum() <= share * len(scores) + 1e-6
    assert not positive[advantage == np.float32(threshold)].any()
    if len(np.unique(advantage)) == len(scores):
        assert positive.sum() > share * len(scores) - 1


@given(made=facts(), seed=st.integers(0, 99), levels=st.integers(1, 6), share=st.floats(0.2, 0.8))
def test_healthy_labels_reach_their_share(made: EpisodeFacts, seed: int, levels: int, share: float) -> None:
    """With few distinct values labels may be unfit, but then they are refused, never passed on."""
    rng = np.random.default_rng(seed)
    value = (-rng.integers(0, levels, made.num_frames) / levels).astype(np.float32)
    made_labels = make_labels(
        value, made, LabelConfig(positive_fraction=share), lookahead={"fold": 5}, returns=ReturnConfig(), shares={}
    )
    try:
        report = check_labels(value, made_labels, made, LabelHealthConfig())
    except HealthError:
        return
    achieved = float(np.mean(made_labels.positive[made_labels.on_threshold]))
    assert report.tasks["fold"].achieved_share == pytest.approx(achieved)
    assert abs(achieved - share) <= 0.05
    assert 0 < achieved < 1


@given(made=facts(), constant=st.floats(-1, 0, width=32), lookahead=st.integers(1, 2 * T_MAX))
def test_a_constant_critic_is_always_refused(made: EpisodeFacts, constant: float, lookahead: int) -> None:
    value = np.full(made.num_frames, constant, dtype=np.float32)
    made_labels = make_labels(
        value,
        made,
        LabelConfig(positive_fraction=0.4),
        lookahead={"fold": lookahead},
        returns=ReturnConfig(),
        shares={},
    )
    with pytest.raises(HealthError, match="hardly differ"):
        check_labels(value, made_labels, made, LabelHealthConfig())


@given(
    lengths=st.lists(st.integers(2, 20), min_size=2, max_size=8),
    ahead=st.tuples(st.integers(1, 25), st.integers(1, 25)),
    limits=st.tuples(st.integers(20, 60), st.integers(20, 60)),
    kind=st.sampled_from(["recap", "viva"]),
    seed=st.integers(0, 99),
)
def test_two_tasks_together_are_labelled_as_each_alone(
    lengths: list[int], ahead: tuple[int, int], limits: tuple[int, int], kind: str, seed: int
) -> None:
    """Tasks with look-aheads, T_max and fractions of their own, their episodes mixed."""
    rng = np.random.default_rng(seed)
    place = np.concatenate([[0, 1], rng.integers(0, 2, len(lengths) - 2)])
    both = make_facts(
        lengths,
        [Outcome.SUCCESS if won else Outcome.FAILURE for won in rng.integers(0, 2, len(lengths))],
        tasks=[("box", "fold")[p] for p in place],
        max_steps=[limits[p] for p in place],
    )
    value = values_for(both, seed)
    given: dict[str, Any] = {
        "lookahead": dict(zip(("box", "fold"), ahead, strict=True)),
        "returns": ReturnConfig(kind=kind),
        "shares": {"box": 0.3, "fold": 0.6},
    }
    together = make_labels(value, both, LabelConfig(), **given)
    for task in ("box", "fold"):
        rows = both.rows(both.of_task(task))
        alone = make_labels(value[rows], both.subset(both.of_task(task)), LabelConfig(), **given)
        np.testing.assert_array_equal(together.advantage[rows], alone.advantage)
        np.testing.assert_array_equal(together.positive[rows], alone.positive)
        assert together.thresholds[task] == alone.thresholds[task]


@given(made=facts(), seed=st.integers(0, 99))
def test_old_episodes_do_not_move_the_threshold(made: EpisodeFacts, seed: int) -> None:
    assume(made.num_episodes > 1)
    old = make_facts(
        made.lengths.tolist(),
        made.outcomes,
        sources=[Source.DEMO] + [Source.ROLLOUT] * (made.num_episodes - 1),
        max_steps=T_MAX,
    )
    value = values_for(made, seed)
    other = value.copy()
    other[: made.lengths[0]] = -0.123
    kwargs: dict[str, Any] = {"lookahead": {"fold": 4}, "returns": ReturnConfig(), "shares": {"fold": 0.4}}
    first = make_labels(value, old, LabelConfig(), **kwargs)
    second = make_labels(other, old, LabelConfig(), **kwargs)
    assert first.thresholds == second.thresholds


HORIZONS = st.one_of(
    st.just(Horizon(kind="episode")),
    st.floats(0, 1, exclude_min=True).map(lambda decay: Horizon(kind="gae", gae_lambda=decay)),
)


@given(made=facts(), config=CONFIGS, horizon=HORIZONS)
def test_a_perfect_critic_sees_no_advantage_at_any_horizon(
    made: EpisodeFacts, config: ReturnConfig, horizon: Horizon
) -> None:
    shape = (made.offsets, made.success, made.max_steps)
    assert np.abs(advantages(returns(*shape, config), *shape, 5, config, horizon=horizon)).max() <= 1e-5


@given(
    made=facts(st.sampled_from(list(Outcome))),
    config=CONFIGS,
    seed=st.integers(0, 99),
    decay=st.floats(0, 1, exclude_min=True),
)
@example(
    made=make_facts([3, 2, 4], [Outcome.SUCCESS, Outcome.ABORTED, Outcome.FAILURE]),
    config=ReturnConfig(),
    seed=0,
    decay=0.9,
)
def test_gae_is_the_decayed_sum_of_one_step_advantages_of_each_episode(
    made: EpisodeFacts, config: ReturnConfig, seed: int, decay: float
) -> None:
    shape, value = (made.offsets, made.success, made.max_steps), values_for(made, seed)
    more: dict[str, Any] = {"aborted": made.aborted}
    got = advantages(value, *shape, 5, config, horizon=Horizon(kind="gae", gae_lambda=decay), **more)
    np.testing.assert_array_equal(np.isnan(got), np.repeat(made.aborted, made.lengths))
    one = advantages(value, *shape, 1, config, **more).astype(np.float64)
    for begin, end, aborted in zip(made.offsets, made.offsets[1:], made.aborted, strict=False):
        later = 0.0
        for row in range(end - 1, begin - 1, -1) if not aborted else ():
            later = one[row] + decay * later
            assert abs(got[row] - later) < 1e-4
    whole = advantages(value, *shape, 5, config, horizon=Horizon(kind="gae", gae_lambda=1.0), **more)
    to_end = advantages(value, *shape, 5, config, horizon=Horizon(kind="episode"), **more)
    np.testing.assert_allclose(whole, to_end, atol=1e-5)


@given(lengths=LENGTHS, place=st.integers(0, T_MAX - 1), decay=st.floats(0, 1, exclude_min=True))
def test_an_unknown_frame_makes_the_sums_before_it_unknown_in_its_own_episode(
    lengths: list[int], place: int, decay: float
) -> None:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    at = offsets[len(lengths) // 2] + place % lengths[len(lengths) // 2]
    delta = np.ones(offsets[-1])
    known = decayed_sums(delta, offsets, decay)
    delta[at] = np.nan
    found = decayed_sums(delta, offsets, decay)
    unknown = np.arange(offsets[len(lengths) // 2], at + 1)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(found)), unknown)
    np.testing.assert_array_equal(np.delete(found, unknown), np.delete(known, unknown))
