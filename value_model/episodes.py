"""What returns, labels and their checks need to know of the episodes behind a flat array of frames.

Owns the description of E episodes whose N frames stand one after the other. It must not know where frames are stored,
nor what a value is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recap.errors import ConfigError
from recap.types import BoolArray, IntArray, Outcome, Source


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EpisodeFacts:
    """E episodes with N frames in all; episode e holds rows offsets[e] to offsets[e + 1].

    Example:
        facts = EpisodeFacts(ids=table.ids, offsets=table.offsets, tasks=..., sources=..., outcomes=...,
                             max_steps=..., current=..., intervened=packed.intervened)
    """

    ids: tuple[str, ...]
    """E episode ids."""
    offsets: IntArray
    """[E + 1], from 0, strictly increasing."""
    tasks: tuple[str, ...]
    """E task ids."""
    sources: tuple[Source, ...]
    """E."""
    outcomes: tuple[Outcome, ...]
    """E, as annotated."""
    max_steps: IntArray
    """[E] T_max of each episode's task, control steps."""
    current: BoolArray
    """[E] True for the episodes that this iteration collected."""
    intervened: BoolArray
    """[N] True where a human or the expert acted."""

    def __post_init__(self) -> None:
        check_offsets(self.offsets)
        count = len(self.ids)
        sizes = {
            "offsets": len(self.offsets) - 1,
            "tasks": len(self.tasks),
            "sources": len(self.sources),
            "outcomes": len(self.outcomes),
            "max_steps": len(self.max_steps),
            "current": len(self.current),
        }
        for name, size in sizes.items():
            if size != count:
                raise ConfigError(f"episode facts: {name} describe {size} episodes, expected {count} as there are ids")
        if self.intervened.shape != (self.num_frames,):
            raise ConfigError(
                f"episode facts: intervened has shape {self.intervened.shape}, expected ({self.num_frames},)"
            )

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.ids)

    @property
    def num_frames(self) -> int:
        """N."""
        return int(self.offsets[-1])

    @property
    def lengths(self) -> IntArray:
        """[E] T of each episode."""
        return np.diff(self.offsets)

    @property
    def success(self) -> BoolArray:
        """[E]."""
        return split_outcomes(self.outcomes)[0]

    @property
    def aborted(self) -> BoolArray:
        """[E] True for attempts that get no return, advantage or label."""
        return split_outcomes(self.outcomes)[1]

    @property
    def usable(self) -> BoolArray:
        """[N] True on the frames of episodes that were not aborted."""
        return self.rows(~self.aborted)

    def rows(self, per_episode: BoolArray) -> BoolArray:
        """[N] the flag of each frame's episode, from one flag per episode [E]."""
        return np.repeat(per_episode, self.lengths)

    def of_source(self, *sources: Source) -> BoolArray:
        """[E] True for episodes recorded in one of these ways."""
        return np.array([source in sources for source in self.sources], dtype=np.bool_)

    def of_task(self, task: str) -> BoolArray:
        """[E] True for episodes of this task."""
        return np.array([name == task for name in self.tasks], dtype=np.bool_)

    def per_task(self, numbers: Mapping[str, int], what: str) -> IntArray:
        """[E] the number of each episode's task, from {task: number}; `what` says in the error what is missing."""
        missing = sorted(set(self.tasks) - set(numbers))
        if missing:
            raise ConfigError(
                f"task {', '.join(missing)}: no {what}, only of {', '.join(sorted(numbers)) or 'no task'}"
            )
        return np.array([numbers[task] for task in self.tasks], dtype=np.int64)

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The tasks that occur, sorted."""
        return tuple(sorted(set(self.tasks)))

    def subset(self, keep: BoolArray) -> EpisodeFacts:
        """The episodes with keep [E], in the same order; their frames are the rows `rows(keep)`."""
        places = np.flatnonzero(keep)
        return EpisodeFacts(
            ids=tuple(self.ids[place] for place in places),
            offsets=np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(self.lengths[places], dtype=np.int64)]),
            tasks=tuple(self.tasks[place] for place in places),
            sources=tuple(self.sources[place] for place in places),
            outcomes=tuple(self.outcomes[place] for place in places),
            max_steps=self.max_steps[places],
            current=self.current[places],
            intervened=self.intervened[self.rows(keep)],
        )


def check_offsets(offsets: IntArray) -> None:
    """ConfigError unless offsets start at 0 and every episode has at least one frame."""
    if offsets.ndim != 1 or len(offsets) < 1 or offsets[0] != 0 or np.any(np.diff(offsets) < 1):
        raise ConfigError(
            f"offsets of {max(len(offsets) - 1, 0)} episodes: expected to start at 0 and to grow with every episode"
        )


def split_outcomes(outcomes: Sequence[Outcome]) -> tuple[BoolArray, BoolArray]:
    """(success [E], aborted [E]) of a list of outcomes, as `returns` and `advantages` take them."""
    success = np.array([outcome is Outcome.SUCCESS for outcome in outcomes], dtype=np.bool_)
    aborted = np.array([outcome is Outcome.ABORTED for outcome in outcomes], dtype=np.bool_)
    return success, aborted
