"""What the training of a value model says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldTraining:
    """One fold's model."""

    fold: int
    """The model has not seen the episodes of this fold."""
    figures: Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueTraining:
    """All folds of one value model."""

    family: str
    episodes: tuple[str, ...]
    """E ids, sorted: those with a return."""
    folds: tuple[int, ...]
    """[E] the fold whose model does not see the episode; one fold only: every model has seen every episode."""
    trainings: tuple[FoldTraining, ...]

    @property
    def cross_fit(self) -> int:
        """How many folds."""
        return len(self.trainings)
