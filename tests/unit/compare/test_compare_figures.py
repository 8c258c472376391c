"""Intervals of a comparison: one seed's are the judge's own, several are two-level, differences are paired."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.compare.figures import Compared, Judgement, compare, over_horizons
from pipelines.steps.judge.outputs import JudgedModel, ValueHealth
from recap.types import Outcome, Source
from value_model.episodes import EpisodeFacts
from value_model.evaluation import EvaluationConfig, evaluate_tasks
from value_model.metrics import Bootstrap, draws_of, keeping_draws
from value_model.returns import ReturnConfig, returns

EPISODES, LENGTH = 12, 20


def _facts() -> EpisodeFacts:
    outcomes = tuple(Outcome.FAILURE if place % 3 == 0 else Outcome.SUCCESS for place in range(EPISODES))
    return EpisodeFacts(
        ids=tuple(f"{place:064x}" for place in range(EPISODES)),
        offsets=np.arange(EPISODES + 1) * LENGTH,
        tasks=("t",) * EPISODES,
        sources=(Source.ROLLOUT,) * EPISODES,
        outcomes=outcomes,
        max_steps=np.full(EPISODES, 40),
        current=np.ones(EPISODES, dtype=np.bool_),
        intervened=np.zeros(EPISODES * LENGTH, dtype=np.bool_),
    )


def _judge(noises: dict[str, float], seed: int) -> Judgement:
    """Models whose values are the return with so much noise."""
    facts, rng = _facts(), np.random.default_rng(seed)
    target = returns(facts.offsets, facts.success, facts.max_steps, ReturnConfig(), ids=facts.ids)
    models = {}
    with keeping_draws() as drawn:
        for name, noise in noises.items():
            values = (target + noise * rng.normal(size=len(target))).astype(np.float32)
            with draws_of(name):
                reports = evaluate_tasks(
                    values,
                    facts,
                    EvaluationConfig(resamples=300),
                    lookahead={"t": 3},
                    returns=ReturnConfig(),
                    shares={"t": 0.4},
                    progress=np.tile(np.linspace(0, 1, LENGTH, dtype=np.float32), EPISODES),
                )
            models[name] = JudgedModel(family=name, tasks=reports)
    # Stored JSON has names in alphabetical order.
    health = ValueHealth(
        name=next(iter(noises)), held_out=True, models=dict(sorted(models.items())), problems=(), enforce=False
    )
    return Judgement(health=health, drawn=drawn)


def _rows(judged: list[Judgement], models: list[str]) -> dict[tuple[str, str], Compared]:
    return {(row.figure, row.model): row for row in compare(judged, models, confidence=0.95, seed=0)}


def test_every_figure_that_has_an_interval_has_its_draws() -> None:
    judged = _judge({"b": 0.1, "a": 0.4}, 0)
    for name, model in judged.health.models.items():
        for figure_name, figure in model.tasks["t"].figures.items():
            draws = judged.draws(name, "t", figure_name, figure)
            assert (draws is None) == (figure.low is None), f"{name} {figure_name}"
            if draws is not None:
                low = float(np.quantile(draws[np.isfinite(draws)], 0.025))
                assert low == pytest.approx(figure.low)


def test_one_seed_gives_the_judges_own_intervals_and_every_figure() -> None:
    judged = _judge({"b": 0.1, "a": 0.4}, 0)
    rows = _rows([judged], ["b", "a"])
    for model in ("a", "b"):
        for name, figure in judged.health.models[model].tasks["t"].figures.items():
            row = rows[name, model]
            assert (row.value, row.low, row.high) == (figure.value, figure.low, figure.high)
    assert rows["mse_return", "b"].difference is None, "the first is compared with none, whatever the alphabet says"


def test_a_worse_model_is_worse_by_an_interval_that_does_not_hold_zero() -> None:
    rows = _rows([_judge({"good": 0.05, "bad": 0.6}, 0)], ["good", "bad"])
    row = rows["mse_return", "bad"]
    assert row.differs
    assert row.difference_low is not None
    assert row.difference_low > 0
    assert row.difference == pytest.approx(row.value - rows["mse_return", "good"].value)  # type: ignore[operator]


def test_a_model_against_itself_differs_by_nothing() -> None:
    judged = _judge({"one": 0.3, "other": 0.3}, 0)
    twin = Judgement(
        health=ValueHealth(
            name="one",
            held_out=True,
            models={"one": judged.health.models["one"], "other": judged.health.models["one"]},
            problems=(),
            enforce=False,
        ),
        drawn=judged.drawn,
    )
    for (name, model), row in _rows([twin], ["one", "other"]).items():
        if model == "other" and row.low is not None:
            assert (row.difference, row.difference_low, row.difference_high) == (0, 0, 0), name


def test_seeds_that_disagree_widen_the_interval() -> None:
    noises = (0.05, 0.3, 0.6)
    apart = [_judge({"m": noise}, seed) for seed, noise in enumerate(noises)]
    rows = _rows(apart, ["m"])
    row = rows["mse_return", "m"]
    each = [one.health.models["m"].tasks["t"].figures["mse_return"] for one in apart]
    assert row.value == pytest.approx(np.mean([figure.value for figure in each]))
    assert row.seeds == tuple(figure.value for figure in each)
    widths = [figure.high - figure.low for figure in each]  # type: ignore[operator]
    assert row.low is not None
    assert row.high is not None
    assert row.high - row.low > max(widths), "seeds differ by more than episodes do"
    assert row.low < row.value < row.high


def test_equal_seeds_give_the_interval_of_one() -> None:
    one = _judge({"m": 0.3}, 0)
    many = _rows([one, one, one], ["m"])
    for name, row in _rows([one], ["m"]).items():
        assert many[name].value == pytest.approx(row.value)
        assert many[name].low == pytest.approx(row.low)
        assert many[name].high == pytest.approx(row.high)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=12), st.integers(0, 5))
def test_draws_of_a_name_and_size_resample_the_same_episodes(values: list[float], seed: int) -> None:
    first = np.array(values)
    with keeping_draws() as drawn:
        boot = Bootstrap(seed=seed, resamples=100)
        low, high = boot.mean("m", first), boot.mean("m", first + 1)
    (first_figure, first_draws), (second_figure, second_draws) = drawn[(), "m"]
    assert (first_figure, second_figure) == (low, high)
    np.testing.assert_allclose(second_draws - first_draws, 1.0, atol=1e-9)


def test_equal_figures_of_two_models_keep_their_own_draws() -> None:
    """Two that detect as many of the same milestones, though not the same ones."""
    hits = {"a": np.repeat([1.0, 0.0], [15, 5]), "b": np.repeat([0.0, 1.0], [5, 15])}
    with keeping_draws() as drawn:
        boot = Bootstrap(seed=0, resamples=400)
        for name, hit in hits.items():
            with draws_of(name), draws_of("t"):
                boot.mean("rate", hit)
    health = ValueHealth(name="a", held_out=True, models={}, problems=(), enforce=False)
    judged = Judgement(health=health, drawn=drawn)
    kept = {name: drawn[(name, "t"), "rate"][0] for name in hits}
    assert kept["a"][0].value == kept["b"][0].value
    found = [judged.draws(name, "t", "rate", kept[name][0]) for name in hits]
    assert all(draws is kept[name][1] for draws, name in zip(found, hits, strict=True))
    assert np.std(found[0] - found[1]) > 0.05


def test_nothing_is_kept_outside() -> None:
    with keeping_draws() as drawn:
        pass
    Bootstrap(seed=0).mean("m", np.arange(5.0))
    assert drawn == {}


def test_only_figures_that_move_with_the_look_ahead_are_drawn_over_it() -> None:
    short, long = _judge({"m": 0.3}, 0).health, _judge({"m": 0.3}, 1).health
    found = over_horizons({10: [short], 50: [long]})
    assert ("t", "mse_return") in found, "here another seed moves every figure"
    assert over_horizons({10: [short], 50: [short]}) == {}
    assert [steps for steps, _ in found["t", "mse_return"]["m"]] == [10.0, 50.0]
