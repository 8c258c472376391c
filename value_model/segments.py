"""Which action segments of an attempt were good? Judged by what only the simulator knows.

An attempt of grippers is a row of approaches and carries. An approach leads from the last letting go to the next
closing; a carry from a grasp until nothing is held any more (both arms are one hand). Their worth is read off the
events of the truth (grasps, releases, milestones, errors) and true progress: the same words for every task.

Owns the cutting and the verdicts. It must not know which task it is, nor what anybody thinks of the frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from recap.types import Outcome, PrivilegedTruth

CLEAN, FLAWED, UNKNOWN = 1, -1, 0
APPROACH, CARRY = "approach", "carry"
SETTLE_STEPS = 5
"""What happens this many control steps after letting go is still the carry's doing, after closing the approach's."""
STALL_STEPS = 30
"""An approach of more control steps than this that ends with the time limit is a stall."""
MIN_GAIN = 0.03
"""A smaller gain of true progress is none."""
GOOD_SHARE = 0.75
"""A carry that gains less than this share of what its milestones usually come with was put down badly."""
FEWEST_CARRIES = 3
Gains = Mapping[frozenset[str], float]
"""{milestones of one carry: gain of true progress that they usually come with}."""
_NO_GAINS: Gains = MappingProxyType({})
_TAKEOVER, _HAND_BACK = "takeover:", "hand_back"
_GRASPED, _MISSED, _RELEASED, _DROPPED = "grasped_", "missed_grasp_", "released_", "premature_release_"
_CLOSED, _LET_GO = "closed", "released"
_BIASED = "flaw:biased"
"""Noted of a demonstrator who puts everything down beside its place."""
_STALL, _TIMEOUT, _SUCCESS, _UNDONE = "stall", "timeout", "success", "_undone"


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionSegment:
    """Control steps start to stop - 1 of one attempt."""

    kind: str
    """"approach" or "carry"."""
    start: int
    stop: int
    stage: int
    """Sub-stage of the task that is worked on at its start."""
    quality: int
    """1 clean, -1 flawed, 0 neither."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cut:
    """A segment before it is judged. Its last action is stop - 1."""

    kind: str
    start: int
    stop: int
    end: str
    """"closed", "released", the reason of a take-over, "" for a hand-back, "timeout" or "over"."""


def usual_gains(truths: Iterable[PrivilegedTruth]) -> Gains:
    """What carries of successful attempts of one task gain, the median for each set of milestones.

    A milestone can be generous (a fold counts from little more than half of its way); that a carry was worth little
    shows beside those that led to success. Sets that fewer than `FEWEST_CARRIES` of them reached are left out.
    """
    found: dict[frozenset[str], list[float]] = {}
    for truth in truths:
        cuts = tuple(_cuts(truth)) if truth.outcome is Outcome.SUCCESS else ()
        for place, cut in enumerate(cuts):
            following = cuts[place + 1 :]
            if cut.kind == CARRY and _judge_carry(truth, cut, following, {}) == CLEAN:
                found.setdefault(_reached(truth, cut, following) - {_SUCCESS}, []).append(_gain(truth, cut))
    return {reached: float(np.median(each)) for reached, each in found.items() if len(each) >= FEWEST_CARRIES}


def action_quality(truth: PrivilegedTruth, usual: Gains = _NO_GAINS) -> NDArray[np.int8]:
    """[T] int8: 1 where the action segment is clean, -1 where it is flawed, 0 where neither can be said.

    Arguments as `action_segments`.
    """
    quality = np.zeros(len(truth.progress), dtype=np.int8)
    for segment in action_segments(truth, usual):
        quality[segment.start : segment.stop] = segment.quality
    return quality


def action_segments(truth: PrivilegedTruth, usual: Gains = _NO_GAINS) -> tuple[ActionSegment, ...]:
    """The approaches and carries of an attempt, in order, and whether each was clean.

    A carry is clean if a milestone is reached until `SETTLE_STEPS` after its end (success: until the next closing)
    that still stands when the next gripper closes, no error falls into it, true progress gains at least
    `GOOD_SHARE` of what it usually does, and it is not one of a demonstrator made to put things down beside their
    place; else flawed. An approach is clean if it
    ends in a grasp without a miss or another error and its carry gains true progress or a milestone; flawed if
    something is missed or undone in it, or if it stalls (`STALL_STEPS` up to the time limit, or taken over for a
    stall). Neither: what the end or a change of hands cut off, an approach to a carry that led nowhere, and whatever
    follows the last release.

    Args:
        truth: of the attempt.
        usual: `usual_gains` of attempts of the same task; without it every gain will do.
    """
    cuts = tuple(_cuts(truth))
    segments = []
    for place, cut in enumerate(cuts):
        following = cuts[place + 1 :]
        judge = _judge_carry if cut.kind == CARRY else _judge_approach
        quality = judge(truth, cut, following, usual)
        stage = int(truth.stage[cut.start])
        segments.append(ActionSegment(kind=cut.kind, start=cut.start, stop=cut.stop, stage=stage, quality=quality))
    return tuple(segments)


def _cuts(truth: PrivilegedTruth) -> Iterator[_Cut]:
    """Every control step in exactly one segment."""
    length, start, kind = len(truth.progress), 0, APPROACH
    held: set[str] = set()
    ordered = sorted(truth.events, key=lambda event: event.t)
    for t, group in groupby(ordered, key=lambda event: event.t):
        names = [event.name for event in group]
        for name in names:
            if name.startswith(_TAKEOVER) or name == _HAND_BACK:
                # Whoever takes over begins anew at this step, even with something in the hand.
                if t > start:
                    yield _Cut(kind=kind, start=start, stop=t, end=name.removeprefix(_TAKEOVER).replace(_HAND_BACK, ""))
                start, kind, held = t, APPROACH, set()
        closes = any(name.startswith((_GRASPED, _MISSED)) for name in names)
        for name in names:
            for prefix, change in ((_GRASPED, held.add), (_RELEASED, held.discard), (_DROPPED, held.discard)):
                if name.startswith(prefix):
                    change(name.removeprefix(prefix))
        after = min(t + 1, length)
        if kind == APPROACH and closes:
            yield _Cut(kind=kind, start=start, stop=after, end=_CLOSED)
            start, kind = after, CARRY if held else APPROACH
        elif kind == CARRY and not held:
            yield _Cut(kind=kind, start=start, stop=after, end=_LET_GO)
            start, kind = after, APPROACH
    if start < length:
        late = any(event.name == _TIMEOUT for event in truth.events)
        yield _Cut(kind=kind, start=start, stop=length, end=_TIMEOUT if late else "over")


def _judge_carry(truth: PrivilegedTruth, cut: _Cut, following: tuple[_Cut, ...], usual: Gains) -> int:
    if any(event.name == _BIASED for event in truth.events):
        return FLAWED
    closing = _next_closing(truth, following)
    until = _until(cut, closing)
    # A miss of the other arm just after the grasp is the approach's.
    misses_from = cut.start - 1 + SETTLE_STEPS
    for event in truth.events:
        error = cut.start <= event.t <= until and event.kind < 0 and event.name != _TIMEOUT
        if error and (event.t > misses_from or not event.name.startswith(_MISSED)):
            return FLAWED
    reached = _reached(truth, cut, following)
    undone = {e.name.removesuffix(_UNDONE) for e in truth.events if cut.start <= e.t <= closing and e.kind < 0}
    if reached - undone:
        return FLAWED if _gain(truth, cut) < GOOD_SHARE * usual.get(reached - {_SUCCESS}, -np.inf) else CLEAN
    return FLAWED if cut.end == _LET_GO else UNKNOWN


def _reached(truth: PrivilegedTruth, cut: _Cut, following: tuple[_Cut, ...]) -> frozenset[str]:
    """The milestones that a carry brings about."""
    closing = _next_closing(truth, following)
    until = _until(cut, closing)
    return frozenset(
        event.name
        for event in truth.events
        if event.kind > 0 and cut.start <= event.t <= (closing if event.name == _SUCCESS else until)
    )


def _until(carry: _Cut, closing: int) -> int:
    """The last step whose events are the carry's doing; what follows a change of hands is not."""
    return min(carry.stop - 1 + (SETTLE_STEPS if carry.end == _LET_GO else 0), closing)


def _gain(truth: PrivilegedTruth, carry: _Cut) -> float:
    """True progress from the grasp until it has settled after the end; NaN where it is not known."""
    after = min(carry.stop - 1 + SETTLE_STEPS, len(truth.progress) - 1)
    return float(truth.progress[after] - truth.progress[carry.start - 1])


def _judge_approach(truth: PrivilegedTruth, cut: _Cut, following: tuple[_Cut, ...], usual: Gains) -> int:
    closed = cut.end == _CLOSED
    until = cut.stop - 1 + (SETTLE_STEPS if closed else 0)
    for event in truth.events:
        if closed and event.name.startswith(_MISSED) and cut.stop - 1 <= event.t <= until:
            return FLAWED
    settled = cut.start + SETTLE_STEPS
    for event in truth.events:
        # Errors right after a release are the carry's; letting go of what another held is not an error of this one.
        own = settled <= event.t < cut.stop and event.name != _TIMEOUT and not event.name.startswith(_DROPPED)
        if own and event.kind < 0:
            return FLAWED
    if cut.end == _STALL or (cut.end == _TIMEOUT and _stalls(truth, cut)):
        return FLAWED
    if not closed or not following or following[0].kind != CARRY:
        return UNKNOWN
    carry = following[0]
    if _judge_carry(truth, carry, following[1:], usual) == CLEAN:
        return CLEAN
    return CLEAN if _gain(truth, carry) >= MIN_GAIN else UNKNOWN


def _stalls(truth: PrivilegedTruth, cut: _Cut) -> bool:
    """Long, and without a gain; False where true progress is not known."""
    gain = truth.progress[cut.start : cut.stop].max() - truth.progress[cut.start]
    return cut.stop - cut.start > STALL_STEPS and bool(gain < MIN_GAIN)


def _next_closing(truth: PrivilegedTruth, following: tuple[_Cut, ...]) -> int:
    """The step at which a gripper closes next, or the last step."""
    return next((cut.stop - 1 for cut in following if cut.end == _CLOSED), len(truth.progress) - 1)
