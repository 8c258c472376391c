"""Small made-up episode facts for tests. Nothing outside tests imports it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recap.types import Outcome, Source
from value_model.episodes import EpisodeFacts

S, F, A = Outcome.SUCCESS, Outcome.FAILURE, Outcome.ABORTED


def make_facts(
    lengths: Sequence[int],
    outcomes: Sequence[Outcome],
    *,
    sources: Sequence[Source] | None = None,
    tasks: Sequence[str] | None = None,
    current: Sequence[bool] | None = None,
    human: Sequence[int] = (),
    max_steps: int | Sequence[int] = 20,
) -> EpisodeFacts:
    """Episodes e000, e001, ...: rollouts of one task collected now, unless told otherwise; `human` lists rows [N]."""
    count = len(lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    intervened = np.zeros(int(offsets[-1]), dtype=np.bool_)
    intervened[list(human)] = True
    return EpisodeFacts(
        ids=tuple(f"e{place:03d}" for place in range(count)),
        offsets=offsets,
        tasks=tuple(tasks or ["fold"] * count),
        sources=tuple(sources or [Source.ROLLOUT] * count),
        outcomes=tuple(outcomes),
        max_steps=np.full(count, max_steps, dtype=np.int64),
        current=np.array([True] * count if current is None else current, dtype=np.bool_),
        intervened=intervened,
    )
