"""What a choice among candidates says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One policy that might be chosen, and how it did."""

    name: str
    step: int
    """Gradient steps of its training."""
    guidance: float
    """Strength beta that it acts with."""
    noise_scale: float
    """Factor on the flow's starting noise that it acts with."""
    attempts: int
    successes: int
    steps_used: int = 0
    """Control steps; a failure costs the whole time, however early it came, as in throughput."""
    by_task: Mapping[str, int] = field(default_factory=dict)
    """{task: successes}."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which candidate was chosen."""

    tasks: tuple[str, ...]
    split: str
    chosen: str
    """Name of a candidate."""
    candidates: tuple[Candidate, ...]

    @property
    def choice(self) -> Candidate:
        """The chosen one."""
        return next(one for one in self.candidates if one.name == self.chosen)
