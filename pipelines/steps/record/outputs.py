"""What a recording leaves: one line per attempt, beside the EpisodeSet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recap.types import Outcome, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedAttempt:
    """One episode and how it ended."""

    episode_id: str
    source: Source
    outcome: Outcome | None
    """None: nobody has judged it yet."""
    steps: int
    human_steps: int
    """Steps in which a person, or the expert that stands in for one, acted."""
    start_seed: int | None = None
    supervised: bool = False
    """Somebody stood by who could take over."""
    flaw: str = ""
    """The structured flaw of a scripted demonstration."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """All attempts of one recording."""

    task: str
    attempts: tuple[RecordedAttempt, ...]
    """Aborted ones too: nothing is learned from those."""
    imported: bool = False
    """Its episodes were recorded elsewhere, and their outcomes are what people said when they were taken."""
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{reason: ids} of episodes that lay there and were not meant here."""
