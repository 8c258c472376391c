"""How the expert folds a garment in several layers: it aims its fingers, and rehearses where a plain fold will not do.

Owns the choice between a plain fold, a fold done again and touches that smooth. Knows no particular garment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from data.sim.cloth import PlaneArray, adjacency, align_most, distances, paired_error, turn
from data.sim.expert import Carry, Skill
from data.sim.flaws import EpisodeFlaws
from data.sim.folding import FoldPlanner
from data.sim.garment import GarmentScenario
from data.sim.grips import Fingers, Grip
from data.sim.rehearsal import Rehearsal

READY_M, TOGETHER_M = 0.018, 0.06
"""A plain fold is next when the garment lies this near to its state before it (mean), and the vertices that each
gripper is to take together this near to each other."""
FOLD_COST_M = 0.037
"""What a missing fold counts for, in metres of paired error: about what a fold that went half wrong leaves."""
STEP_COST_M, SUCCESS_GAIN_M = 0.00025, 0.008
PLAIN_GAIN_M = 0.02
"""A grip that promises less is not worth an arm."""
FOLDABLE, SMOOTHABLE = 0.6, 0.3
"""Ways of the last fold below which folds, and above which touches, are worth rehearsing: in between both are."""
MISPLACED_M, LOOSE_M = 0.02, 0.04
FORECAST, PAIRED, APART_M = 20, 8, 0.05
"""Grips whose drag is forecast, how many of those are tried in pairs, and how far apart two grippers stay."""
TOUCHES, REPLAYED, SEARCHES = 8, 3, 14
"""Touches rehearsed, best skills rehearsed again with a shaken aim, and how often at most an expert searches."""
_SHAKES_M = ((0.008, 0.004, -0.006, 0.006), (-0.008, -0.006, 0.006, -0.006))
"""Offsets of grasp and place (x, y, x, y; y mirrored for the right arm), about the noise of a clean expert."""
_DRAG_ROUNDS, _DRAG_RATE = 8, 0.6


@dataclass(frozen=True, kw_only=True, slots=True)
class Hold:
    """What one gripper should hold together."""

    side: int
    rim: int
    """The vertex that stands for it, for the record."""
    wanted: frozenset[int]
    tolerated: frozenset[int] = frozenset()


Holds = tuple[Hold, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Handling:
    """How the folds of a garment are gripped."""

    folds: tuple[Holds, ...]
    """One for each fold: both layers where two lie on each other."""
    nudges: tuple[Holds, ...]
    """To put the first fold right, once it is mostly over."""
    layers: tuple[Holds, ...]
    """One layer at a time, for the last fold."""


class LayerPlanner(FoldPlanner):
    """Aimed folds while all goes well; else what a rehearsal in a copy of the simulation shows to help most."""

    def __init__(self, scenario: GarmentScenario, handling: Handling) -> None:
        super().__init__(scenario)
        garment = scenario.garment
        self._handling, self._fingers = handling, Fingers(scenario.grasp_points)
        self._all = frozenset(range(len(garment.mesh.points)))
        self._edges = np.argwhere(np.triu(adjacency(garment.mesh)))
        first, second = self._edges.T
        self._lengths = distances(garment.mesh.points[first], garment.mesh.points[second])
        self._states = [garment.mesh.points, *(fold.goal for fold in garment.folds)]
        self._rehearsal: Rehearsal | None = None
        self._searches = 0

    def next_skill(self, flaws: EpisodeFlaws) -> Skill | None:
        # A flawed operator does not look, and the stage that a hesitant one repeats is no mistake to put right.
        if not flaws.checks or (flaws.repeats and not self._repeated):
            return super().next_skill(flaws)
        scenario = self._scenario
        if scenario.good() or self._searches == SEARCHES:
            return None
        points = scenario.cloth.vertices()
        for stage, (before, holds) in enumerate(zip(self._states, self._handling.folds, strict=False)):
            if paired_error(points[:, :2], before) < READY_M and all(
                _spread(points, hold) < TOGETHER_M for hold in holds
            ):
                carries = self._aimed(holds, scenario.on_table(self._states[stage + 1]), points)
                if len(carries) == len(holds):
                    return self._skill(stage, carries)
        self._searches += 1
        best = self._search(points)
        if best is None:
            return super().next_skill(flaws)
        # Below the threshold it moves slowly: the attempt may be over before the fingers close.
        hurry = scenario.error() > scenario.garment.success_error_m
        return replace(self._skill(best.stage, best.carries), direct=hurry)

    def _search(self, points: NDArray[np.float64]) -> Skill | None:
        """The skill that leaves the garment best off; the most promising ones also with a shaken aim."""
        rated = [(self._rate(skill), skill) for skill in dict.fromkeys(self._candidates(points)) if skill.carries]
        rated.sort(key=lambda pair: pair[0])
        best, least = None, np.inf
        for rate, skill in rated[:REPLAYED]:
            mean = float(np.mean([rate, *(self._rate(_shaken(skill, shake)) for shake in _SHAKES_M)]))
            if mean < least:
                best, least = skill, mean
        return best

    def _candidates(self, points: NDArray[np.float64]) -> list[Skill]:
        scenario, ways, found = self._scenario, self._scenario.progress().ways, []

        def add(stage: int, carries: tuple[Carry, ...]) -> None:
            found.append(Skill(stage=stage, carries=carries, direct=True))

        halved, ideal = self._states[1], self._states[-1]
        last = min(ways[lift.part] for lift in scenario.garment.folds[-1].lifts)
        fits = [self._fit(ideal, points), scenario.on_table(ideal)]
        if last < FOLDABLE:
            for goal in (scenario.on_table(halved), self._fit(halved, points)):
                for holds in (self._handling.folds[0], *self._handling.nudges):
                    add(0, self._aimed(holds, goal, points))
            for goal in fits:
                add(self._smooth - 1, self._aimed(self._handling.folds[-1], goal, points))
        for holds in self._handling.layers:
            add(self._smooth, self._aimed(holds, fits[0], points))
        if last > SMOOTHABLE:
            for carries in self._touches(fits[0], points):
                add(self._smooth, carries)
        if scenario.crumple() > LOOSE_M or min(ways.values()) < SMOOTHABLE:
            add(self._spread, self._pull())
        return found

    def _rate(self, skill: Skill) -> float:
        """How far from done the garment would be after `skill`, m: less is better."""
        if self._rehearsal is None:
            self._rehearsal = Rehearsal(self._scenario)
        points, steps = self._rehearsal.play(skill)
        errors = [paired_error(points[:, :2], state) for state in self._states]
        missing = range(len(errors) - 1, -1, -1)
        left = min(error + FOLD_COST_M * folds for error, folds in zip(errors, missing, strict=True))
        # A little better than the threshold is worth much, better still is not.
        return (
            left + STEP_COST_M * steps - SUCCESS_GAIN_M * (errors[-1] < self._scenario.garment.success_error_m - 0.002)
        )

    def _fit(self, plane: PlaneArray, points: NDArray[np.float64]) -> PlaneArray:
        """[N, 2] `plane` laid where most of the garment already is, m."""
        angle, shift = align_most(plane, points[:, :2])
        return np.asarray(turn(plane, angle) + shift)

    def _aimed(self, holds: Holds, goal: PlaneArray, points: NDArray[np.float64]) -> tuple[Carry, ...]:
        carries = []
        for hold in holds:
            grips = self._fingers.rank(points, goal, sorted(hold.wanted), hold.wanted, hold.tolerated)
            if grips and grips[0].gain_m > PLAIN_GAIN_M:
                carries.append(_carry(hold.side, hold.rim, grips[0]))
        return tuple(carries)

    def _touches(self, goal: PlaneArray, points: NDArray[np.float64]) -> list[tuple[Carry, ...]]:
        """Grips of one arm or of both, by what the cloth would look like if it only dragged along what is taut."""
        misplaced = np.flatnonzero(distances(points[:, :2], goal) > MISPLACED_M)
        if not len(misplaced):
            return []
        grips = self._fingers.rank(points, goal, misplaced.tolist(), self._all, frozenset())[:FORECAST]
        singles = [(self._dragged((grip,), points), grip) for grip in grips]
        singles.sort(key=lambda pair: pair[0])
        sets: list[tuple[float, tuple[Grip, ...]]] = [(error, (grip,)) for error, grip in singles]
        for (_, one), (_, other) in combinations(singles[:PAIRED], 2):
            apart = distances(one.tool[None], other.tool[None])[0]
            if apart > APART_M and not set(one.held) & set(other.held):
                sets.append((self._dragged((one, other), points), (one, other)))
        sets.sort(key=lambda pair: pair[0])
        chosen: list[tuple[Carry, ...]] = []
        used: list[int] = []
        for _, both in sets:
            if len(chosen) < TOUCHES and all(used.count(grip.held[0]) < 2 for grip in both):
                used += [grip.held[0] for grip in both]
                chosen.append(_by_arm(both))
        return chosen

    def _dragged(self, grips: tuple[Grip, ...], points: NDArray[np.float64]) -> float:
        """Paired error if the grips moved and the rest followed only where the cloth would tear, m."""
        plane, free = points[:, :2].copy(), np.ones(len(points))
        one, other = self._edges.T
        for share in (0.5, 1.0):
            for grip in grips:
                held = list(grip.held)
                plane[held], free[held] = points[held, :2] + share * grip.shift, 0.0
            ease = np.maximum(free[one] + free[other], 1e-9)
            for _ in range(_DRAG_ROUNDS):
                along = plane[other] - plane[one]
                length = np.sqrt(np.add.reduce(along * along, axis=1))
                over = np.maximum(length - self._lengths, 0.0) / np.maximum(length, 1e-9)
                pull, move = along * (over / ease)[:, None], np.zeros_like(plane)
                np.add.at(move, one, pull * free[one][:, None])
                np.add.at(move, other, -pull * free[other][:, None])
                plane += _DRAG_RATE * move
        return paired_error(plane, self._scenario.garment.ideal)


def _spread(points: NDArray[np.float64], hold: Hold) -> float:
    """Greatest distance between vertices that should be held together, m."""
    wanted = points[sorted(hold.wanted), :2]
    return float(np.sqrt(np.add.reduce((wanted[:, None] - wanted[None]) ** 2, axis=2)).max())


def _carry(side: int, rim: int, grip: Grip) -> Carry:
    (x, y), (dx, dy) = grip.tool.tolist(), grip.shift.tolist()
    return Carry(side=side, point=rim, grasp=(x, y), place=(x + dx, y + dy))


def _by_arm(grips: tuple[Grip, ...]) -> tuple[Carry, ...]:
    """Each grip to an arm: the one farther left to the left arm, a single one to that of its side."""
    ordered = sorted(grips, key=_middle_x)
    sides = (0, 1) if len(grips) == 2 else (0 if _middle_x(ordered[0]) < 0 else 1,)
    return tuple(_carry(side, grip.held[0], grip) for side, grip in zip(sides, ordered, strict=True))


def _middle_x(grip: Grip) -> float:
    return float(grip.tool[0] + 0.5 * grip.shift[0])


def _shaken(skill: Skill, shake: tuple[float, float, float, float]) -> Skill:
    gx, gy, px, py = shake

    def aside(carry: Carry) -> Carry:
        mirror = 1 - 2 * carry.side
        grasp = (carry.grasp[0] + gx, carry.grasp[1] + gy * mirror)
        return replace(carry, grasp=grasp, place=(carry.place[0] + px, carry.place[1] + py * mirror))

    return replace(skill, carries=tuple(aside(carry) for carry in skill.carries))
