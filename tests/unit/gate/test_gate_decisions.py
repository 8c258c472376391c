"""The promotion gate: what it says of given results, in numbers that can be checked by hand."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest

from recap.config import from_json, to_json
from recap.errors import ConfigError
from recap.gate import GateConfig, GateDecision, Verdict, decide, next_block, spent_by

CONFIG = GateConfig()


def results(
    *, both: int = 0, challenger: int = 0, champion: int = 0, neither: int = 0
) -> tuple[list[bool], list[bool]]:
    """(champion's, challenger's) successes with the given numbers of starts of each kind."""
    first = [True] * both + [False] * challenger + [True] * champion + [False] * neither
    second = [True] * both + [True] * challenger + [False] * champion + [False] * neither
    return first, second


def judged(config: GateConfig = CONFIG, **counts: int) -> GateDecision:
    return decide(*results(**counts), config)


def binomial_tail(n: int, k: int) -> float:
    return float(sum(Fraction(math.comb(n, i), 2**n) for i in range(k, n + 1)))


def test_looks_are_taken_every_block_and_at_the_cap() -> None:
    assert GateConfig().looks == (20, 40, 60, 80, 100)
    assert GateConfig(block=30, cap=70).looks == (30, 60, 70)
    assert GateConfig(block=20, cap=20).looks == (20,)


@pytest.mark.parametrize("spending", ["pocock", "obrien_fleming"])
@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_spending_rises_to_alpha_and_no_further(spending: str, alpha: float) -> None:
    config = GateConfig(spending=spending, alpha=alpha)
    spent = [spent_by(config, look / config.cap) for look in config.looks]
    assert spent == sorted(spent)
    assert spent[0] > 0
    assert spent[-1] == alpha


def test_spending_functions_have_their_published_values() -> None:
    """Lan and DeMets 1983 with alpha 0.025 at a quarter, half and three quarters of the information."""
    pocock = [spent_by(GateConfig(alpha=0.025), t) for t in (0.25, 0.5, 0.75)]
    obrien = [spent_by(GateConfig(alpha=0.025, spending="obrien_fleming"), t) for t in (0.25, 0.5, 0.75)]
    assert pocock == pytest.approx([0.00893, 0.01550, 0.02069], abs=2e-5)
    assert obrien == pytest.approx([7.4e-6, 0.00153, 0.00965], abs=2e-5)


def test_a_clear_winner_is_promoted_at_the_first_look() -> None:
    decision = judged(both=2, challenger=12, neither=6)
    assert decision.verdict is Verdict.PROMOTED
    assert decision.promoted
    assert decision.final
    assert decision.next_starts is None
    assert next_block(decision) is None
    (look,) = decision.looks
    assert look.p_better == binomial_tail(12, 12)
    # One look in: alpha * ln(1 + (e - 1)/5) = 0.0148; P(12 of 12) + P(11) = 0.0032, with P(10) it is 0.0193.
    assert look.level == look.spent == binomial_tail(12, 11)
    assert decision.difference is not None
    assert decision.difference.value == pytest.approx(0.6)
    assert "promoted" in decision.reason
    assert "challenger won 12" in decision.reason


def test_a_clear_loser_is_kept_out_at_the_first_look() -> None:
    decision = judged(both=2, champion=12, neither=6)
    assert decision.verdict is Verdict.KEPT
    assert decision.final
    assert not decision.promoted
    assert (decision.challenger_only, decision.champion_only) == (0, 12)
    assert "worse with p 0.00024" in decision.reason


def test_a_small_lead_asks_for_the_next_block() -> None:
    decision = judged(both=5, challenger=4, champion=2, neither=9)
    assert decision.verdict is Verdict.UNDECIDED
    assert not decision.final
    assert next_block(decision) == range(20, 40)
    assert "more starts are needed" in decision.reason


def test_nothing_played_yet_asks_for_the_first_block() -> None:
    decision = decide([], [], CONFIG)
    assert (decision.verdict, decision.final, decision.starts) == (Verdict.UNDECIDED, False, 0)
    assert next_block(decision) == range(20)
    assert decision.difference is None


def test_equal_policies_end_undecided_at_the_cap() -> None:
    decision = judged(both=50, neither=50)
    assert decision.verdict is Verdict.UNDECIDED
    assert decision.final
    assert decision.looks[-1].level == 0
    assert decision.looks[-1].spent == 0
    assert "the cap of 100 starts is reached, the champion stays" in decision.reason


def test_alpha_that_an_early_look_could_not_use_is_left_for_a_later_one() -> None:
    """Four discordant starts cannot reach alpha(1/5): nothing is spent, and the next look has all of alpha(2/5)."""
    one = results(both=8, challenger=2, champion=2, neither=8)
    decision = decide(one[0] * 2, one[1] * 2, CONFIG)
    first, second = decision.looks
    assert (first.level, first.spent) == (0, 0)
    # alpha(2/5) = 0.0262 of 8 discordant: P(8) + P(7) = 0.0352 is too much, P(8) = 0.0039 is not.
    assert second.level == second.spent == binomial_tail(8, 8)


def test_critical_values_by_enumeration_of_every_path() -> None:
    """Two looks with 6 and 4 discordant starts: all 2^10 equally likely orders, counted one by one."""
    config = GateConfig(block=10, cap=20, alpha=0.1)
    first = results(both=2, challenger=3, champion=3, neither=2)
    second = results(both=3, challenger=2, champion=2, neither=3)
    looks = decide(first[0] + second[0], first[1] + second[1], config).looks
    critical = [
        next(c for c in range(12) if binomial_tail(n, c) <= look.level) for n, look in zip((6, 10), looks, strict=True)
    ]
    crossed = [0, 0]
    for bits in range(2**10):
        wins = [(bits >> 4).bit_count(), bits.bit_count()]
        if wins[0] >= critical[0]:
            crossed[0] += 1
        elif wins[1] >= critical[1]:
            crossed[1] += 1
    assert [look.spent for look in looks] == pytest.approx([crossed[0] / 2**10, sum(crossed) / 2**10])
    assert sum(crossed) / 2**10 <= 0.1
    # One win less at the last look would spend more than there is.
    more = sum((bits >> 4).bit_count() < critical[0] and bits.bit_count() == critical[1] - 1 for bits in range(2**10))
    assert (sum(crossed) + more) / 2**10 > 0.1


def test_starts_beyond_the_deciding_look_are_ignored() -> None:
    champion, challenger = results(both=2, challenger=12, neither=6)
    decision = decide(champion, challenger, CONFIG)
    assert decide(champion + [True] * 80, challenger + [False] * 80, CONFIG) == decision


def test_aborted_pairs_are_left_out_and_counted() -> None:
    champion, challenger = results(both=2, challenger=12, neither=6)
    aborted = [False] * 14 + [True] * 6
    decision = decide(champion, challenger, CONFIG, aborted=aborted)
    assert (decision.starts, decision.pairs, decision.aborted) == (20, 14, 6)
    assert decision.promoted
    assert "6 left out as aborted" in decision.reason
    # What an aborted attempt "achieved" plays no part.
    for i in range(14, 20):
        champion[i], challenger[i] = True, False
    assert decide(champion, challenger, CONFIG, aborted=aborted) == decision


def test_too_few_usable_pairs_decide_nothing() -> None:
    champion, challenger = results(challenger=20)
    decision = decide(champion, challenger, CONFIG, aborted=[True] * 11 + [False] * 9)
    assert decision.verdict is Verdict.UNDECIDED
    assert "9 usable pairs, 10 needed" in decision.reason
    everything = decide(champion * 5, challenger * 5, CONFIG, aborted=[True] * 100)
    assert everything.final
    assert everything.difference is None
    assert everything.verdict is Verdict.UNDECIDED


def test_a_floor_that_the_interval_reaches_below_forbids_promotion() -> None:
    loose, strict = (GateConfig(block=20, cap=20, alpha=0.25, floor=floor) for floor in (0.10, 0.0))
    counts = {"both": 8, "challenger": 4, "champion": 1, "neither": 7}
    assert judged(loose, **counts).promoted
    decision = judged(strict, **counts)
    assert decision.difference is not None
    assert -0.10 < decision.difference.low < 0
    assert decision.verdict is Verdict.UNDECIDED
    assert "below the floor" in decision.reason


def test_a_gate_plays_only_the_blocks_it_needs() -> None:
    asked: list[range] = []
    decision = decide([], [], CONFIG)
    while (block := next_block(decision)) is not None:
        asked.append(block)
        decision = decide([False] * block.stop, [i % 4 == 0 for i in range(block.stop)], CONFIG)
    # 5 wins of 5 in the first block, 10 of 10 in the first two.
    assert asked == [range(20), range(20, 40)]
    assert decision.promoted
    assert decision.starts == 40


def test_a_decision_is_plain_json() -> None:
    decision = judged(both=2, challenger=12, neither=6)
    plain = json.loads(json.dumps(decision.to_json()))
    assert plain["verdict"] == "promoted"
    assert plain["next_starts"] is None
    assert plain["difference"]["low"] > 0
    assert plain["looks"][0]["challenger_only"] == 12
    assert json.loads(json.dumps(decide([], [], CONFIG).to_json()))["next_starts"] == [0, 20]


@pytest.mark.parametrize(
    ("champion", "challenger", "aborted", "said"),
    [
        ([True] * 20, [True] * 19, None, "same starts"),
        ([True] * 20, [True] * 20, [False] * 19, "same starts"),
        ([True] * 7, [True] * 7, None, "0 or one of 20, 40"),
        ([True] * 120, [True] * 120, None, "0 or one of 20, 40"),
        ([2] * 20, [True] * 20, None, "one truth value per start"),
        ([[True] * 20], [True] * 20, None, "one truth value per start"),
        ([float("nan")] * 20, [True] * 20, None, "one truth value per start"),
    ],
)
def test_results_that_do_not_fit_are_refused(champion: list, challenger: list, aborted: list | None, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        decide(champion, challenger, CONFIG, aborted=aborted)


@pytest.mark.parametrize(
    "settings",
    [
        {"block": 0},
        {"cap": 10},
        {"alpha": 0.0},
        {"alpha": 0.5},
        {"spending": "even"},
        {"floor": -0.1},
        {"min_pairs": 101},
    ],
)
def test_settings_that_make_no_gate_are_refused(settings: dict) -> None:
    with pytest.raises(ConfigError):
        GateConfig(**settings)


def test_settings_survive_json() -> None:
    config = GateConfig(block=10, cap=50, spending="obrien_fleming")
    assert from_json(GateConfig, to_json(config)) == config


def test_a_decision_is_written_and_read_back_as_it_was() -> None:
    for decision in (judged(both=2, challenger=12, neither=6), decide([], [], GateConfig())):
        assert from_json(GateDecision, json.loads(json.dumps(to_json(decision)))) == decision


def test_on_a_robot_it_counts_attempts_and_pairs_and_not_starts() -> None:
    config = GateConfig(cap=20, block=10)
    decision = decide([False] * 10, [True] * 10, config, paired=False)
    assert "10 attempts of each" in decision.reason
    assert "of 10 pairs where they differ" in decision.reason
    assert "start" not in decision.reason + decide([], [], config, paired=False).reason
