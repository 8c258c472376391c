"""What the training of a policy says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyTraining:
    """One training, and what it was trained on."""

    episodes: int
    frames: int
    positive_fraction: float | None
    """Of all frames; None without labels."""
    figures: Mapping[str, float]
    """Of the family: steps, parameters, loss."""
