"""Whether a challenger replaces the champion: a group-sequential paired test, exact at every sample size.

Both play the same starts, block after block. Only starts on which they differ ("discordant" pairs) say which is
better: if neither is, the challenger wins each of those with probability 1/2, however often both succeed and however
alike they are. Given the numbers of discordant pairs D_1 <= ... <= D_K at the looks, the challenger's wins
b_1 <= ... <= b_K are therefore a walk with known steps, and the smallest c_k with

    P(b_j >= c_j for the first time at look j = k | D_1..D_k)  <=  alpha(t_k) - what looks 1..k-1 have spent

is computed exactly, for a spending function alpha(t) with alpha(1) = alpha and t_k = starts at look k / cap (Lan and
DeMets 1983). So the chance to promote a challenger that is no better is at most alpha over all looks together.

Pure functions of the results so far: who plays the starts and how results survive a kill is not known here.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from recap.config import setting, validate
from recap.errors import ConfigError
from recap.stats import Estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# Room for rounding in sums of a few hundred binomial terms; far below any alpha.
_ROUNDING = 1e-12


class Verdict(StrEnum):
    """What the gate says of the challenger."""

    PROMOTED = "promoted"
    """Better, at the stated level: it becomes the champion."""
    KEPT = "kept"
    """Worse, at the same level: the champion stays and no more starts are played."""
    UNDECIDED = "undecided"
    """Neither shown so far. At the cap this is final, and the champion stays."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateConfig:
    """Settings of the gate."""

    block: int = setting(20, minimum=1, maximum=100_000, help="starts played between two looks at the results")
    cap: int = setting(100, minimum=1, maximum=100_000, help="starts after which the gate stops undecided")
    alpha: float = setting(
        0.05, above=0.0, maximum=0.25, help="largest chance, over all looks, to promote a challenger no better"
    )
    spending: str = setting(
        "pocock", choices=("pocock", "obrien_fleming"), help="alpha per look: about even, or saved for the last"
    )
    floor: float = setting(
        0.10, minimum=0.0, maximum=1.0, help="never promote if the difference may be below minus this (95 %)"
    )
    min_pairs: int = setting(10, minimum=1, help="pairs without an abort before anything is decided")

    def __post_init__(self) -> None:
        validate(self)
        if self.cap < self.block:
            raise ConfigError(f"GateConfig.cap: {self.cap} starts, less than one block of {self.block}")
        if self.min_pairs > self.cap:
            raise ConfigError(f"GateConfig.min_pairs: {self.min_pairs} pairs of at most {self.cap} starts")

    @property
    def looks(self) -> tuple[int, ...]:
        """Starts played at each look, e.g. (20, 40, 60, 80, 100)."""
        return (*range(self.block, self.cap, self.block), self.cap)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """The results as they stood at one look."""

    starts: int
    pairs: int
    """Starts that neither aborted."""
    challenger_only: int
    """Starts that the challenger alone won."""
    champion_only: int
    p_better: float
    """P(at least this many wins of the discordant pairs | no better), of this look alone."""
    p_worse: float
    level: float
    """Largest p_better (p_worse) at which this look promotes (keeps); 0: no result can."""
    spent: float
    """alpha used up to here; the rest of what the spending function allows is carried to the next look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GateDecision:
    """What the results so far say, and why."""

    verdict: Verdict
    final: bool
    """False: play `next_starts` and ask again."""
    reason: str
    """One sentence with the numbers."""
    difference: Estimate | None
    """Success rate of challenger minus champion, Newcombe 95 % interval (of pairs, or of two independent rates) of the
    pairs looked at, not corrected for stopping early; None without pairs."""
    starts: int
    """Starts that the decision rests on."""
    pairs: int
    aborted: int
    """Starts left out because an attempt was aborted."""
    challenger_only: int
    champion_only: int
    looks: tuple[Look, ...]
    next_starts: tuple[int, int] | None
    """Indices [begin, end) of the next block; None when final."""

    @property
    def promoted(self) -> bool:
        """Whether the challenger is the new champion."""
        return self.verdict is Verdict.PROMOTED

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "verdict": self.verdict.value, "next_starts": list(self.next_starts or ()) or None} | {
            "looks": [asdict(look) for look in self.looks]
        }


def decide(
    champion_success: ArrayLike,
    challenger_success: ArrayLike,
    config: GateConfig,
    *,
    aborted: ArrayLike | None = None,
    paired: bool = True,
) -> GateDecision:
    """What the results of the first n starts say.

    The looks are taken in order and the first that decides ends it: starts played beyond it are ignored, so more
    results never change a decision.

    Args:
        champion_success: [n] bool, n = 0 or one of `config.looks`.
        challenger_success: [n] bool, of the same starts in the same order.
        config: of the gate; fixed before the first start is played.
        aborted: [n] bool, starts where either attempt was ABORTED: left out, whatever their success says. None: none.
        paired: both began alike. False (a robot): the n-th attempt of one with the n-th of the other, in a shuffled
            order; the test holds all the same, for either is as likely to win, and the interval is one for two
            independent rates.

    Raises:
        ConfigError: lengths differ, n is between two looks, or a value is not a truth value.

    Example:
        >>> decision = decide([False] * 20, [True] * 12 + [False] * 8, GateConfig())
        >>> str(decision.verdict), decision.starts, decision.champion_only
        ('promoted', 20, 0)
    """
    champion = _truths("champion_success", champion_success)
    challenger = _truths("challenger_success", challenger_success)
    left_out = [False] * len(champion) if aborted is None else _truths("aborted", aborted)
    if not len(champion) == len(challenger) == len(left_out):
        raise ConfigError(
            f"gate: {len(champion)} results of the champion, {len(challenger)} of the challenger, {len(left_out)} "
            "marks of aborts: expected the same starts"
        )
    played = len(champion)
    if played and played not in config.looks:
        raise ConfigError(f"gate: results of {played} starts: expected 0 or one of {', '.join(map(str, config.looks))}")
    kept = [i for i in range(played) if not left_out[i]]
    wins = [i for i in kept if challenger[i] and not champion[i]]
    losses = [i for i in kept if champion[i] and not challenger[i]]
    walk = _Walk(config)
    looks: list[Look] = []
    for starts in config.looks:
        if starts > played:
            break
        pairs = [i for i in kept if i < starts]
        won, lost = sum(i < starts for i in wins), sum(i < starts for i in losses)
        looks.append(walk.look(starts, len(pairs), won, lost))
        results = [champion[i] for i in pairs], [challenger[i] for i in pairs]
        verdict, difference = _verdict(looks[-1], *results, config, paired=paired)
        if verdict is not Verdict.UNDECIDED or starts == config.cap:
            return _decision(verdict, difference, looks, config, final=True, paired=paired)
    if not looks:
        return _decision(Verdict.UNDECIDED, None, looks, config, final=False, paired=paired)
    return _decision(verdict, difference, looks, config, final=False, paired=paired)


def next_block(decision: GateDecision) -> range | None:
    """Indices of the starts to play before asking again; None when the decision is final."""
    return None if decision.next_starts is None else range(*decision.next_starts)


def spent_by(config: GateConfig, share: float) -> float:
    """alpha(t): what may be spent once a share t in (0, 1] of the cap is played.

    pocock: alpha * ln(1 + (e - 1) t). obrien_fleming: 2 - 2 Phi(z_{1 - alpha/2} / sqrt(t)).
    """
    if share >= 1:
        return config.alpha
    if config.spending == "pocock":
        return config.alpha * math.log(1 + (math.e - 1) * share)
    normal = NormalDist()
    return 2 - 2 * normal.cdf(normal.inv_cdf(1 - config.alpha / 2) / math.sqrt(share))


class _Walk:
    """P(wins = b, no look has promoted yet | discordant pairs so far, no better), look after look."""

    def __init__(self, config: GateConfig) -> None:
        self._config = config
        self._weight_b = [1.0]
        self._spent = 0.0

    def look(self, starts: int, pairs: int, won: int, lost: int) -> Look:
        """Takes the next look; `won` and `lost` count from the first start."""
        new = won + lost - (len(self._weight_b) - 1)
        step = [math.comb(new, k) / 2**new for k in range(new + 1)]
        weight_b = [
            math.fsum(self._weight_b[b - k] * step[k] for k in range(new + 1) if 0 <= b - k < len(self._weight_b))
            for b in range(won + lost + 1)
        ]
        critical = won + lost + 1
        if pairs >= self._config.min_pairs:
            allowed = spent_by(self._config, starts / self._config.cap) - self._spent + _ROUNDING
            tail = 0.0
            while critical > 0 and tail + weight_b[critical - 1] <= allowed:
                critical -= 1
                tail += weight_b[critical]
            self._spent += tail
        self._weight_b = weight_b[:critical] + [0.0] * (len(weight_b) - critical)
        return Look(
            starts=starts,
            pairs=pairs,
            challenger_only=won,
            champion_only=lost,
            p_better=_tail(won + lost, won),
            p_worse=_tail(won + lost, lost),
            level=_tail(won + lost, critical),
            spent=self._spent,
        )


def _tail(discordant: int, at_least: int) -> float:
    """P(Binomial(discordant, 1/2) >= at_least), exact: McNemar's conditional p-value."""
    ways = sum(math.comb(discordant, k) for k in range(at_least, discordant + 1))
    return float(ways / 2**discordant)


def _verdict(
    look: Look, champion: list[bool], challenger: list[bool], config: GateConfig, *, paired: bool
) -> tuple[Verdict, Estimate | None]:
    if not champion:
        return Verdict.UNDECIDED, None
    from recap.stats import paired_success_difference, success_difference

    difference = (paired_success_difference if paired else success_difference)(challenger, champion)
    if look.p_worse <= look.level:
        return Verdict.KEPT, difference
    if look.p_better <= look.level and difference.low >= -config.floor:
        return Verdict.PROMOTED, difference
    return Verdict.UNDECIDED, difference


def _decision(
    verdict: Verdict, difference: Estimate | None, looks: list[Look], config: GateConfig, *, final: bool, paired: bool
) -> GateDecision:
    last = looks[-1] if looks else None
    starts = last.starts if last else 0
    following = None if final else config.looks[len(looks)]
    return GateDecision(
        verdict=verdict,
        final=final,
        reason=_reason(verdict, difference, looks, config, final=final, paired=paired),
        difference=difference,
        starts=starts,
        pairs=last.pairs if last else 0,
        aborted=starts - last.pairs if last else 0,
        challenger_only=last.challenger_only if last else 0,
        champion_only=last.champion_only if last else 0,
        looks=tuple(looks),
        next_starts=None if following is None else (starts, following),
    )


def _reason(
    verdict: Verdict, difference: Estimate | None, looks: list[Look], config: GateConfig, *, final: bool, paired: bool
) -> str:
    # A robot has no start twice: there it is attempts that are counted.
    played, compared = ("starts", "starts") if paired else ("attempts of each", "pairs")
    if not looks:
        return f"nothing played yet of at most {config.cap} {played}"
    look = looks[-1]
    at = f"look {len(looks)} of {len(config.looks)}, {look.starts} {played}"
    rest = f"the cap of {config.cap} {played} is reached, the champion stays" if final else f"more {played} are needed"
    if look.starts > look.pairs:
        at += f", {look.starts - look.pairs} left out as aborted"
    if difference is None or look.pairs < config.min_pairs:
        return f"undecided ({at}): {look.pairs} usable pairs, {config.min_pairs} needed; {rest}"
    discordant = look.challenger_only + look.champion_only
    facts = (
        f"challenger minus champion {100 * difference.value:+.0f} points "
        f"[{100 * difference.low:+.0f}, {100 * difference.high:+.0f}]; of {discordant} {compared} where they differ "
        f"the challenger won {look.challenger_only}"
    )
    overall = f"one-sided alpha {config.alpha:g} over all looks"
    if verdict is Verdict.PROMOTED:
        return f"promoted ({at}): {facts}; better with p {look.p_better:.2g} <= {look.level:.2g} ({overall})"
    if verdict is Verdict.KEPT:
        return f"kept the champion ({at}): {facts}; worse with p {look.p_worse:.2g} <= {look.level:.2g} ({overall})"
    if look.p_better <= look.level:
        why = (
            f"better with p {look.p_better:.2g}, but the interval reaches below the floor of {-100 * config.floor:+.0f}"
        )
    else:
        why = (
            f"p {look.p_better:.2g} for better and {look.p_worse:.2g} for worse, needed <= {look.level:.2g} ({overall})"
        )
    return f"undecided ({at}): {facts}; {why}; {rest}"


def _truths(name: str, values: ArrayLike) -> list[bool]:
    import numpy as np

    found = np.asarray(values)
    if found.ndim != 1 or not (found.size == 0 or found.dtype == np.bool_ or np.isin(found, (0, 1)).all()):
        raise ConfigError(
            f"gate: {name} of shape {found.shape}, {found.dtype}: expected one truth value per start, [n]"
        )
    return [bool(value) for value in found]
