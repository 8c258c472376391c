"""Labels without a value model: each arm's rule, and what holds for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.value_facts import A, F, S, make_facts

from recap.errors import ConfigError, HealthError
from recap.types import BoolArray, Event, Outcome, PrivilegedTruth, Source
from value_model.advantage import LabelConfig
from value_model.arms import ARMS, Known, Labeller, bare_labels, make_marks, progress_rate
from value_model.episodes import EpisodeFacts
from value_model.health import LabelHealthConfig, check_marks
from value_model.returns import ReturnConfig

RULES = ("all", "outcome", "random", "flaw", "oracle")
D, R, C = Source.DEMO, Source.ROLLOUT, Source.CORRECTION


def _truth(length: int, outcome: Outcome = S, events: Sequence[Event] = ()) -> PrivilegedTruth:
    """Progress along a straight line; steps at the end of a success, half as far in a failure."""
    end = 1.0 if outcome is S else 0.5
    return PrivilegedTruth(
        progress=np.linspace(0, end, length, dtype=np.float32),
        stage=np.zeros(length, dtype=np.int64),
        events=tuple(events),
        outcome=outcome,
        metrics={},
    )


def _known(facts: EpisodeFacts, *, human_positive: str = "corrections", share: float = 0.4, **more) -> Known:  # type: ignore[no-untyped-def]
    truths = {
        episode: _truth(int(length), outcome)
        for episode, length, outcome in zip(facts.ids, facts.lengths, facts.outcomes, strict=True)
    }
    return Known(
        facts=facts,
        labels=bare_labels(facts, LabelConfig(human_positive=human_positive), ReturnConfig()),
        **{
            "shares": dict.fromkeys(facts.task_ids, share),
            "lookahead": np.full(facts.num_episodes, 5),
            "truth": truths.get,
            **more,
        },
    )


def _label(arm: str, known: Known) -> BoolArray:
    return make_marks(ARMS.get(arm), known, arm=arm).positive


@st.composite
def _facts(draw: st.DrawFn) -> EpisodeFacts:
    """2 to 8 episodes of two tasks, every source, age and outcome; some frames of corrections are a human's."""
    count = draw(st.integers(2, 8))
    lengths = draw(st.lists(st.integers(1, 12), min_size=count, max_size=count))
    sources = draw(st.lists(st.sampled_from([D, R, C]), min_size=count, max_size=count))
    sources[0] = R
    outcomes = draw(st.lists(st.sampled_from([S, F, A]), min_size=count, max_size=count))
    outcomes[0] = S
    tasks = draw(st.lists(st.sampled_from(["box", "fold"]), min_size=count, max_size=count))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    human = [
        row
        for place, source in enumerate(sources)
        for row in range(int(offsets[place]), int(offsets[place + 1]))
        if source is D or (source is C and draw(st.booleans()))
    ]
    current = [source is not D for source in sources]
    return make_facts(lengths, outcomes, sources=sources, tasks=tasks, current=current, human=human)


@given(
    facts=_facts(),
    arm=st.sampled_from(["all", "outcome", "random", "flaw"]),
    human=st.sampled_from(["corrections", "all"]),
)
def test_forced_frames_are_positive_and_aborted_ones_never(facts: EpisodeFacts, arm: str, human: str) -> None:
    known = _known(facts, human_positive=human)
    positive = _label(arm, known)
    assert positive[known.labels.forced].all()
    assert not positive[~facts.usable].any()
    assert known.labels.forced.any() == bool((known.labels.forced & facts.usable).any())


@given(facts=_facts())
def test_all_marks_every_usable_frame_and_outcome_those_of_successes(facts: EpisodeFacts) -> None:
    known = _known(facts, human_positive="none")
    np.testing.assert_array_equal(_label("all", known), facts.usable)
    np.testing.assert_array_equal(_label("outcome", known), facts.rows(facts.success))


@given(facts=_facts(), seed=st.integers(0, 5), share=st.floats(0.05, 0.95))
def test_random_alone_draws_the_share_within_each_task_source_and_age(
    facts: EpisodeFacts, seed: int, share: float
) -> None:
    known = _known(facts, share=share, seed=seed)
    positive = _label("random", known)
    for rows in _groups(known):
        assert positive[rows].sum() == round(share * rows.sum())


@given(facts=_facts(), seed=st.integers(0, 5), labels=st.randoms(use_true_random=False))
def test_random_beside_keeps_the_main_arms_shares(facts: EpisodeFacts, seed: int, labels) -> None:  # type: ignore[no-untyped-def]
    main = np.array([labels.random() < 0.3 for _ in range(facts.num_frames)])
    known = _known(facts, seed=seed, main=main)
    positive = _label("random", known)
    for rows in _groups(known):
        assert positive[rows].sum() == main[rows].sum()


def _groups(known: Known) -> list[BoolArray]:
    facts = known.facts
    kinds = set(zip(facts.tasks, facts.sources, facts.current.tolist(), strict=True))
    return [
        facts.rows(facts.of_task(task) & facts.of_source(source) & (facts.current == current))
        & facts.usable
        & ~known.labels.forced
        for task, source, current in kinds
    ]


@given(seed=st.integers(0, 5), order=st.permutations(range(5)))
def test_random_does_not_depend_on_the_order_of_episodes(seed: int, order: list[int]) -> None:
    from dataclasses import replace

    facts = make_facts([7, 5, 9, 4, 6], [S, F, S, F, S])
    lengths = facts.lengths[order]
    mixed = replace(
        facts,
        ids=tuple(facts.ids[place] for place in order),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        outcomes=tuple(facts.outcomes[place] for place in order),
    )
    plain, other = (_label("random", _known(one, seed=seed)) for one in (facts, mixed))
    for place, episode in enumerate(order):
        np.testing.assert_array_equal(
            other[mixed.offsets[place] : mixed.offsets[place + 1]],
            plain[facts.offsets[episode] : facts.offsets[episode + 1]],
        )


def test_random_is_a_function_of_the_seed_and_tells_nothing_of_the_outcome() -> None:
    facts = make_facts([60, 60], [S, F], max_steps=80)
    main = facts.rows(facts.success)
    drawn = [_label("random", _known(facts, seed=seed, main=main)) for seed in range(60)]
    np.testing.assert_array_equal(drawn[3], _label("random", _known(facts, seed=3, main=main)))
    assert not np.array_equal(drawn[3], drawn[4])
    assert np.mean([one[:60].mean() - one[60:].mean() for one in drawn]) == pytest.approx(0, abs=0.05)


def test_flaw_follows_the_segments_and_else_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    import value_model.segments

    quality = {S: [1, 1, 0, -1], F: [1, 0, 0, -1]}
    monkeypatch.setattr(
        value_model.segments, "action_quality", lambda truth, usual: np.array(quality[truth.outcome], dtype=np.int8)
    )
    facts = make_facts([4, 4], [S, F])
    assert _label("flaw", _known(facts)).tolist() == [True, True, True, False, True, False, False, False]


def test_progress_per_step_ends_with_the_outcome() -> None:
    rising = np.array([0.0, 0.25, 0.5, 0.75], dtype=np.float32)
    assert progress_rate(rising, 2, success=True).tolist() == [0.25] * 4
    assert progress_rate(rising, 2, success=False).tolist() == [0.25, 0.25, 0.125, 0.0]
    assert progress_rate(rising, 100, success=False).tolist() == [0.1875, 0.5 / 3, 0.125, 0.0]


def test_oracle_marks_the_share_of_frames_that_gain_most() -> None:
    facts = make_facts([20, 20, 20], [S, S, F], sources=[R, R, R])
    steps = {"e000": np.linspace(0, 1, 20) ** 2, "e001": np.linspace(0, 1, 20) ** 1.5, "e002": np.zeros(20)}
    truths = {
        name: PrivilegedTruth(
            progress=progress.astype(np.float32),
            stage=np.zeros(20, dtype=np.int64),
            events=(),
            outcome=S,
            metrics={},
        )
        for name, progress in steps.items()
    }
    positive = _label("oracle", _known(facts, truth=truths.get, share=0.25))
    assert positive.mean() == pytest.approx(0.25, abs=1 / 60)
    assert not positive[40:].any(), "no progress"
    assert positive[13:18].all(), "the fastest part"


@pytest.mark.parametrize("arm", ["flaw", "oracle"])
def test_privileged_arms_are_refused_without_truth(arm: str) -> None:
    facts = make_facts([5, 5], [S, F])
    with pytest.raises(ConfigError, match=f"arm {arm}: 1 of 2 episodes hold no simulator truth, e001"):
        _label(arm, _known(facts, truth={"e000": _truth(5)}.get))
    with pytest.raises(ConfigError, match="expected 5 steps"):
        _label(arm, _known(facts, truth=lambda episode: _truth(4)))


def test_oracle_is_refused_in_a_world_without_progress() -> None:
    facts = make_facts([5], [S])
    truth = _truth(5)
    truth.progress[:] = np.nan
    with pytest.raises(ConfigError, match="no measure of progress"):
        _label("oracle", _known(facts, truth=lambda episode: truth))


def test_a_rule_that_answers_something_else_is_refused() -> None:
    known = _known(make_facts([5], [S]))
    for answer in (np.ones(4, dtype=np.bool_), np.ones(5)):
        rule = Labeller(positive=lambda known, answer=answer: answer)
        with pytest.raises(ConfigError, match=r"arm mine: its labels .* expected \(5,\) bool"):
            make_marks(rule, known, arm="mine")


def test_labels_that_say_nothing_are_refused_but_those_of_all() -> None:
    facts = make_facts([5, 5], [S, S])
    known, config = _known(facts), LabelHealthConfig()
    every = make_marks(ARMS.get("outcome"), known, arm="outcome")
    with pytest.raises(HealthError, match="fold: every frame is positive"):
        check_marks(every, facts, config, constant=ARMS.get("outcome").constant)
    assert check_marks(every, facts, config, constant=ARMS.get("all").constant).healthy
    failed = make_facts([5, 5], [F, F])
    none = make_marks(ARMS.get("outcome"), _known(failed), arm="outcome")
    with pytest.raises(HealthError, match="fold: no frame is positive"):
        check_marks(none, failed, config, constant=True)
    listed = check_marks(none, failed, LabelHealthConfig(enforce=False), constant=True)
    assert not listed.healthy
    assert listed.tasks["fold"].positive_fraction == 0


def test_the_arms_there_are() -> None:
    assert set(RULES) <= set(ARMS.names())
    assert [name for name in RULES if ARMS.get(name).privileged] == ["flaw", "oracle"]
    assert not any(ARMS.get(name).values for name in RULES), "none of ours needs a value model"
