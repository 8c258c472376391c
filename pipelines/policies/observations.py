"""Observations to try a policy on: recorded ones of the workspace that it could have seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recap.workspace import Workspace

if TYPE_CHECKING:
    from data.episodes import EpisodeStore
    from data.index import EpisodeRow
    from policy.models import TrainedFor
    from recap.types import Observation

COUNT = 3
_MADE_UP_SIZE = 64


def observations_for(root: Path, trained: TrainedFor) -> tuple[list[Observation], str]:
    """`COUNT` observations of one instruction, and what they are in words.

    The first, middle and last of a recorded episode with the policy's cameras and state, one of its instructions if
    there is one; where the workspace has none, made up from the statistics, and said so.
    """
    from data.episodes import EpisodeStore

    store = EpisodeStore(Workspace.open(root, create=False).episodes) if Workspace.is_at(root) else None
    fitting = [] if store is None else [(row, _prompt(row)) for row in store.rows() if _fits(row, trained)]
    known = [(row, prompt) for row, prompt in fitting if prompt in trained.prompts]
    if store is None or not known:
        return _made_up(trained), "made-up observations, for no recorded episode here has its cameras and instruction"
    row, prompt = known[-1]
    return _recorded(store, row, prompt, trained), f"steps of recorded episode {row.id[:12]} ({row.task})"


def _fits(row: EpisodeRow, trained: TrainedFor) -> bool:
    same = (row.state_dim, row.action_dim) == (len(trained.state_names), len(trained.action_names))
    return same and set(trained.cameras) <= set(row.cameras)


def _prompt(row: EpisodeRow) -> str:
    from data.tasks import TASKS

    if row.instruction is not None:
        return row.instruction
    return TASKS.get(row.task).spec.prompt if row.task in TASKS.names() else ""


def _recorded(store: EpisodeStore, row: EpisodeRow, prompt: str, trained: TrainedFor) -> list[Observation]:
    from recap.types import Observation

    episode = store.load(row.id)
    frames = {name: episode.frames[name] for name in trained.cameras}
    steps = [place * (row.length - 1) // (COUNT - 1) for place in range(COUNT)]
    return [
        Observation(state=episode.state[t], frames={name: views[t] for name, views in frames.items()}, prompt=prompt)
        for t in steps
    ]


def _made_up(trained: TrainedFor) -> list[Observation]:
    import numpy as np

    from recap.types import Observation

    rng, (low, high) = np.random.default_rng(0), trained.state_range
    shape = (_MADE_UP_SIZE, _MADE_UP_SIZE, 3)
    return [
        Observation(
            state=rng.uniform(low, high).astype(np.float32),
            frames={name: rng.integers(0, 256, shape, dtype=np.uint8) for name in trained.cameras},
            prompt=trained.prompts[0],
        )
        for _ in range(COUNT)
    ]
