"""Does the advantage tell clean action segments from flawed ones? Flaw AUC, with intervals over episodes.

One score per segment, the mean advantage of its frames; the flaw AUC of a group is the probability that a clean
segment's score exceeds a flawed one's. Approaches and carries, demonstrations, what a policy did alone and what a
person corrected are six groups, judged apart: figures are means over those that hold enough of both.

A policy chooses among the actions of one situation, so labels teach it what they tell apart there; that late segments
are worse than early ones it cannot use. The matched flaw AUC counts only pairs of one group that work on the same
sub-stage and begin at about the same time.

Owns the figures. It must not know which model gave the values, nor how a segment came to be clean or flawed.

Letters: E episodes, N frames in all, S segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recap.errors import ConfigError
from recap.types import BoolArray, IntArray, Source
from value_model.episodes import EpisodeFacts
from value_model.metrics import Bootstrap, Figure, Floats, auc, weighted_auc
from value_model.segments import APPROACH, CARRY, CLEAN, FLAWED, ActionSegment

Segments = Sequence[tuple[ActionSegment, ...] | None]
"""Of E episodes; None where the simulator's truth is not known."""
FEWEST = 10
"""Clean and flawed segments each that a group needs to count."""
DEMOS, ROLLOUTS, CORRECTIONS = "demos", "rollouts", "corrections"
_WHO = (DEMOS, ROLLOUTS, CORRECTIONS)
_KINDS = (APPROACH, CARRY)
MATCHED_STEPS = 18
"""Matched segments begin within so many control steps of each other."""
PLAIN, MATCHED = "flaw_auc", "flaw_auc_matched"
FLAW_FIGURES = (
    MATCHED,
    PLAIN,
    "flaw_auc_demos",
    "flaw_auc_rollouts",
    "flaw_auc_return",
    "flaw_auc_return_matched",
)
UNKNOWN_TRUTH = "no simulator truth is known that says which actions were good"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScoredSegments:
    """The clean and the flawed segments of one task, and what a model says of each."""

    episodes: int
    """E, of which the segments are."""
    episode: IntArray
    """[S]."""
    group: IntArray
    """[S] who acted, times two, plus 1 for a carry."""
    stage: IntArray
    """[S] sub-stage worked on."""
    start: IntArray
    """[S] control step of the episode."""
    clean: BoolArray
    """[S]."""
    score: Floats
    """[S]."""

    @property
    def groups(self) -> tuple[int, ...]:
        """Those with at least `FEWEST` clean and flawed segments each."""
        sides = (np.bincount(self.group[of], minlength=len(_WHO) * 2) for of in (self.clean, ~self.clean))
        return tuple(np.flatnonzero(np.minimum(*sides) >= FEWEST).tolist())


def score_segments(advantage: Floats, facts: EpisodeFacts, segments: Segments) -> ScoredSegments | None:
    """The segments that are clean or flawed with their mean advantages; None if no episode's truth is known.

    Args:
        advantage: [N].
        facts: the E episodes, none aborted, all of one task.
        segments: E.

    Raises:
        ConfigError: they do not fit the episodes.
    """
    if len(segments) != facts.num_episodes:
        raise ConfigError(f"segments of {len(segments)} episodes, expected {facts.num_episodes}")
    rows: list[tuple[int, int, int, int, int, int, bool]] = []
    for place, (known, source, first) in enumerate(zip(segments, facts.sources, facts.offsets, strict=False)):
        if known and known[-1].stop != facts.lengths[place]:
            raise ConfigError(
                f"segments of {known[-1].stop} steps of episode {facts.ids[place]}, expected {facts.lengths[place]}"
            )
        for one in known or ():
            if one.quality not in (CLEAN, FLAWED):
                continue
            start = int(first) + one.start
            who = DEMOS if source is Source.DEMO else CORRECTIONS if facts.intervened[start] else ROLLOUTS
            group = _WHO.index(who) * 2 + _KINDS.index(one.kind)
            rows.append((place, start, int(first) + one.stop, group, one.stage, one.start, one.quality == CLEAN))
    if all(known is None for known in segments):
        return None
    table = np.array(rows, dtype=np.int64).reshape(-1, 7)
    total = np.concatenate([np.zeros(1), np.cumsum(advantage)])
    begin, end = table[:, 1], table[:, 2]
    return ScoredSegments(
        episodes=facts.num_episodes,
        episode=table[:, 0],
        group=table[:, 3],
        stage=table[:, 4],
        start=table[:, 5],
        clean=table[:, 6] == 1,
        # What is constant in an episode stays so: sums leave the last digits different.
        score=np.round((total[end] - total[begin]) / (end - begin), 9),
    )


def flaw_figures(scored: ScoredSegments | None, returns: ScoredSegments | None, boot: Bootstrap) -> dict[str, Figure]:
    """The figures by name; None with a reason where they cannot be had.

    Args:
        scored: by the advantage.
        returns: the same segments by the bare return of their episodes, a control that knows no value.
        boot: makes the intervals.
    """
    if scored is None or returns is None:
        return {name: Figure(value=None, note=UNKNOWN_TRUTH) for name in FLAW_FIGURES}
    return {
        MATCHED: _matched_auc(MATCHED, scored, boot),
        PLAIN: _mean_auc(PLAIN, scored, _WHO, boot),
        "flaw_auc_demos": _mean_auc("flaw_auc_demos", scored, (DEMOS,), boot),
        "flaw_auc_rollouts": _mean_auc("flaw_auc_rollouts", scored, (ROLLOUTS,), boot),
        "flaw_auc_return": _mean_auc("flaw_auc_return", returns, _WHO, boot),
        "flaw_auc_return_matched": _matched_auc("flaw_auc_return_matched", returns, boot),
    }


def flaw_difference(own: ScoredSegments | None, other: ScoredSegments | None, boot: Bootstrap) -> dict[str, Figure]:
    """{"flaw_auc", "flaw_auc_matched": that of one model minus that of another}.

    Of the same segments, and both on the same resamples of episodes.
    """
    if own is None or other is None:
        return {name: Figure(value=None, note=UNKNOWN_TRUTH) for name in (PLAIN, MATCHED)}
    return {PLAIN: _plain_difference(own, other, boot), MATCHED: _matched_difference(own, other, boot)}


def _plain_difference(own: ScoredSegments, other: ScoredSegments, boot: Bootstrap) -> Figure:
    groups = own.groups
    if not groups:
        return Figure(value=None, note=_too_few(own))
    weights = boot.weights("flaw_auc_difference", own.episodes)
    values, drawn = zip(*(_over_groups(one, groups, weights) for one in (own, other)), strict=True)
    return boot.figure(
        "flaw_auc_difference", values[0] - values[1], drawn[0] - drawn[1], _judged(own), _named(own, groups)
    )


def _matched_difference(own: ScoredSegments, other: ScoredSegments, boot: Bootstrap) -> Figure:
    (wins, pairs), (others, _) = _matched_pairs(own), _matched_pairs(other)
    return _matched_figure("flaw_auc_matched_difference", wins - others, pairs, own, boot)


def _mean_auc(name: str, scored: ScoredSegments, who: Sequence[str], boot: Bootstrap) -> Figure:
    groups = tuple(group for group in scored.groups if _WHO[group // 2] in who)
    if not groups:
        return Figure(value=None, note=_too_few(scored))
    value, drawn = _over_groups(scored, groups, boot.weights(name, scored.episodes))
    return boot.figure(name, value, drawn, _judged(scored), _named(scored, groups))


def _over_groups(scored: ScoredSegments, groups: Sequence[int], weights: Floats) -> tuple[float, Floats]:
    """The mean over groups, and of every resample."""
    values, drawn = [], []
    for group in groups:
        rows = scored.group == group
        score, clean = scored.score[rows], scored.clean[rows]
        value = auc(score[clean], score[~clean])
        assert value is not None, "a group has both"
        values.append(value)
        drawn.append(weighted_auc(score, clean, scored.episode[rows], weights))
    return float(np.mean(values)), np.asarray(np.mean(drawn, axis=0), dtype=np.float64)


def _matched_auc(name: str, scored: ScoredSegments, boot: Bootstrap) -> Figure:
    return _matched_figure(name, *_matched_pairs(scored), scored, boot)


def _matched_figure(name: str, wins: Floats, pairs: Floats, scored: ScoredSegments, boot: Bootstrap) -> Figure:
    """Of wins [E, E], or of two models' difference; a pair counts as often as both its episodes are drawn."""
    count = int(pairs.sum())
    note = f"{count} pairs of a clean and a flawed segment of one situation"
    if count < FEWEST**2:
        return Figure(value=None, note=f"{note}, expected at least {FEWEST**2}")
    weights = boot.weights(name, scored.episodes)
    top, bottom = (np.sum((weights @ table) * weights, axis=1) for table in (wins, pairs))
    with np.errstate(invalid="ignore", divide="ignore"):
        return boot.figure(name, wins.sum() / count, top / bottom, _judged(scored), note)


def _matched_pairs(scored: ScoredSegments) -> tuple[Floats, Floats]:
    """[E, E] wins and pairs of the clean segments of one episode against the flawed ones of another (or the same)."""
    clean, flawed = np.flatnonzero(scored.clean), np.flatnonzero(~scored.clean)
    a, b = clean[:, None], flawed[None]
    alike = (scored.group[a] == scored.group[b]) & (scored.stage[a] == scored.stage[b])
    alike &= np.abs(scored.start[a] - scored.start[b]) <= MATCHED_STEPS
    won = ((scored.score[a] > scored.score[b]) + 0.5 * (scored.score[a] == scored.score[b]))[alike]
    size = scored.episodes
    cell = (scored.episode[a] * size + scored.episode[b])[alike]
    wins, pairs = (
        np.bincount(cell, each, size * size).astype(np.float64).reshape(size, size) for each in (won, np.ones_like(won))
    )
    return wins, pairs


def _judged(scored: ScoredSegments) -> int:
    return len(np.unique(scored.episode))


def _counts(scored: ScoredSegments) -> Mapping[int, tuple[int, int]]:
    """{group: (clean, flawed)}."""
    return {
        int(group): (int(np.sum(scored.clean[rows])), int(np.sum(~scored.clean[rows])))
        for group in np.unique(scored.group)
        for rows in [scored.group == group]
    }


def _named(scored: ScoredSegments, groups: Sequence[int]) -> str:
    counts = _counts(scored)
    parts = [f"{_label(group)} {counts[group][0]} clean {counts[group][1]} flawed" for group in groups]
    return "; ".join(parts)


def _too_few(scored: ScoredSegments) -> str:
    found = "; ".join(f"{_label(group)} {clean} and {flawed}" for group, (clean, flawed) in _counts(scored).items())
    return f"no group has {FEWEST} clean and {FEWEST} flawed segments: {found or 'none'}"


def _label(group: int) -> str:
    return f"{_WHO[group // 2]}/{_KINDS[group % 2]}"
