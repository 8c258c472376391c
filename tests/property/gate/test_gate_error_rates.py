"""The gate's promises over many gates: how often it errs, and that more results never take a decision back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recap.gate import GateConfig, Verdict, decide

GATES = 1_000


def promotions(config: GateConfig, rate: float, better_by: float, shared: float, *, seed: int, gates: int) -> float:
    """Share of simulated gates that promote; `shared` of the starts are as hard for one policy as for the other."""
    rng = np.random.default_rng(seed)
    promoted = 0
    for _ in range(gates):
        luck = rng.random(config.cap)
        other = np.where(rng.random(config.cap) < shared, luck, rng.random(config.cap))
        champion, challenger = luck < rate, other < rate + better_by
        # All starts at once: the test below says that the blocks beyond the deciding look change nothing.
        decision = decide(champion, challenger, config)
        promoted += decision.promoted
    return promoted / gates


@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("rate", [0.3, 0.5, 0.7])
def test_an_equal_challenger_is_promoted_no_more_often_than_alpha(rate: float, shared: float) -> None:
    config = GateConfig(spending="pocock" if shared else "obrien_fleming")
    allowed = config.alpha + 3 * math.sqrt(config.alpha * (1 - config.alpha) / GATES)
    got = promotions(config, rate, 0.0, shared, seed=int(10 * rate), gates=GATES)
    # Not idle either: a gate that never promotes would pass the bound.
    assert 0.005 < got <= allowed


def test_a_challenger_that_is_better_by_thirty_points_is_nearly_always_promoted() -> None:
    assert promotions(GateConfig(), 0.5, 0.3, 0.0, seed=1, gates=200) >= 0.95


def test_looking_often_without_spending_would_err_more() -> None:
    """The control: the same five looks, each at the full level, promote an equal challenger far too often."""
    rng = np.random.default_rng(0)
    erred = 0
    for _ in range(GATES):
        champion, challenger = rng.random((2, 100)) < 0.5
        decision = decide(champion, challenger, GateConfig())
        erred += any(look.p_better <= 0.05 for look in decision.looks)
    assert erred / GATES > 0.07


outcomes = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 9)), min_size=60, max_size=60)
configs = st.builds(
    GateConfig,
    block=st.sampled_from([5, 20, 25]),
    cap=st.just(60),
    alpha=st.sampled_from([0.01, 0.05, 0.25]),
    spending=st.sampled_from(["pocock", "obrien_fleming"]),
    floor=st.sampled_from([0.0, 0.1, 1.0]),
    min_pairs=st.sampled_from([1, 10, 30]),
)


@given(outcomes, configs)
def test_more_results_never_take_a_decision_back(rows: list[tuple[bool, bool, int]], config: GateConfig) -> None:
    champion, challenger = [row[0] for row in rows], [row[1] for row in rows]
    aborted = [row[2] == 0 for row in rows]
    whole = decide(champion, challenger, config, aborted=aborted)
    for look in config.looks:
        part = decide(champion[:look], challenger[:look], config, aborted=aborted[:look])
        if part.final:
            assert part == whole
        else:
            assert part.next_starts is not None
            assert part.next_starts[0] == look
            assert part.looks == whole.looks[: len(part.looks)]
    assert whole.final


@given(outcomes, configs)
def test_what_a_decision_says_is_so(rows: list[tuple[bool, bool, int]], config: GateConfig) -> None:
    champion, challenger = [row[0] for row in rows], [row[1] for row in rows]
    aborted = [row[2] == 0 for row in rows]
    decision = decide(champion, challenger, config, aborted=aborted)
    last = decision.looks[-1]
    assert [look.spent for look in decision.looks] == sorted(look.spent for look in decision.looks)
    assert last.spent <= config.alpha + 1e-9
    assert decision.pairs + decision.aborted == decision.starts
    if decision.verdict is Verdict.PROMOTED:
        assert decision.difference is not None
        assert decision.difference.low >= -config.floor
        assert last.p_better <= last.level <= config.alpha + 1e-9
    mirrored = decide(challenger, champion, config, aborted=aborted)
    if decision.verdict is Verdict.PROMOTED:
        assert mirrored.verdict is Verdict.KEPT
    for mine, theirs in zip(decision.looks, mirrored.looks, strict=False):
        assert (mine.level, mine.p_better) == (theirs.level, theirs.p_worse)
