"""How the expert folds a garment: which part next, and spreading or smoothing where that is needed.

Owns the order of the skills, from how the garment lies. Knows no particular garment.
"""

from __future__ import annotations

import numpy as np

from data.sim.cloth import PlaneArray, distances
from data.sim.expert import Carry, Skill
from data.sim.flaws import EpisodeFlaws
from data.sim.garment import Fold, GarmentScenario, Lift

CRUMPLED_M = 0.05
"""Mean distance of the still part from its flat shape above which the expert spreads the garment first."""
SPREAD_M = 0.015
"""How far beyond the flat shape a pull goes."""
SMOOTH_TRIES, SPREAD_TRIES = 3, 4


class FoldPlanner:
    """Which part to fold next, from how the garment lies."""

    def __init__(self, scenario: GarmentScenario) -> None:
        self._scenario = scenario
        folds = scenario.garment.folds
        self._smooth, self._spread = len(folds), len(folds) + 1
        self._limits = [*(fold.max_tries for fold in folds), SMOOTH_TRIES, SPREAD_TRIES]
        self._tries = [0] * len(self._limits)
        self._repeated = False

    def next_skill(self, flaws: EpisodeFlaws) -> Skill | None:
        scenario = self._scenario
        garment, found = scenario.garment, scenario.progress()
        place = flaws.skipped_of(len(garment.parts))
        skipped = None if place is None else garment.parts[place].name
        if flaws.checks and scenario.crumple() > CRUMPLED_M and self._left(self._spread, flaws):
            return self._skill(self._spread, self._pull())
        for stage, fold in enumerate(garment.folds):
            wanted = [lift for lift in fold.lifts if not found.folded(lift.part) and lift.part != skipped]
            if wanted and self._left(stage, flaws):
                return self._skill(stage, tuple(self._lift(lift, fold) for lift in wanted))
            if flaws.repeats and not self._repeated and stage == 0 and self._tries[1] == 0:
                self._repeated = True
                return self._skill(stage, tuple(self._lift(lift, fold) for lift in fold.lifts))
        if flaws.checks and not scenario.good() and self._left(self._smooth, flaws):
            return self._skill(self._smooth, (self._worst(),))
        return None

    def _left(self, stage: int, flaws: EpisodeFlaws) -> bool:
        return self._tries[stage] < (self._limits[stage] if flaws.checks else 1)

    def _skill(self, stage: int, carries: tuple[Carry, ...]) -> Skill:
        skill = Skill(stage=stage, carries=carries, attempt=self._tries[stage])
        self._tries[stage] += 1
        return skill

    def _pull(self) -> tuple[Carry, ...]:
        """Both ends of the pair that lies worst, out to where they lie when the garment is flat."""
        flat = self._scenario.flat_on_table()
        points = self._scenario.cloth.vertices()[:, :2]
        pair = max(
            self._scenario.garment.pairs,
            key=lambda ends: float(np.sum(distances(points[list(ends)], flat[list(ends)]))),
        )
        if points[pair[0], 0] > points[pair[1], 0] + 0.05:
            # The ends lie crossed: one arm after the other, the worse end first.
            worse = max(pair, key=lambda rim: float(np.sum((points[rim] - flat[rim]) ** 2)))
            return (self._outward(worse, 0 if points[worse, 0] < 0 else 1, flat),)
        return tuple(self._outward(rim, side, flat) for side, rim in enumerate(pair))

    def _outward(self, rim: int, side: int, flat: PlaneArray) -> Carry:
        point = self._scenario.cloth.vertices()[rim, :2]
        outward = flat[rim] - flat[self._scenario.garment.behind[rim]]
        place = flat[rim] + SPREAD_M * outward / np.sqrt(np.sum(outward**2))
        return Carry(side=side, point=rim, grasp=_pair(point), place=_pair(place), arc=0.2)

    def _lift(self, lift: Lift, fold: Fold) -> Carry:
        return self._carry(lift.rim, lift.side, self._scenario.on_table(fold.goal))

    def _worst(self) -> Carry:
        garment = self._scenario.garment
        points, ideal = self._scenario.cloth.vertices()[:, :2], self._scenario.on_table(garment.ideal)
        rims = [rim for pair in garment.pairs for rim in pair]
        worst = max(rims, key=lambda index: float(np.sum((points[index] - ideal[index]) ** 2)))
        return self._carry(worst, 0 if points[worst, 0] < 0 else 1, ideal)

    def _carry(self, rim: int, side: int, goal: PlaneArray) -> Carry:
        """Takes a rim vertex to where it belongs.

        The gripper closes just outside the cloth, so that it holds the edge and not the sheet behind it, which could
        not turn over.
        """
        garment, points = self._scenario.garment, self._scenario.cloth.vertices()[:, :2]
        outward = points[rim] - points[garment.behind[rim]]
        length = float(np.sqrt(np.sum(outward**2)))
        reach = garment.outside_m[rim] * outward / max(length, 1e-6)
        return Carry(side=side, point=rim, grasp=_pair(points[rim] + reach), place=_pair(goal[rim] + reach))


def _pair(point: PlaneArray) -> tuple[float, float]:
    return (float(point[0]), float(point[1]))
