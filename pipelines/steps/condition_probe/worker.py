"""How far apart a policy's actions lie under two conditions and under two noises, on recorded observations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.sim.seeds import derive
from pipelines.steps.condition_probe.outputs import ActionDistance
from recap.protocols import Journal
from recap.types import FloatArray, Observation

if TYPE_CHECKING:
    from pipelines.steps.condition_probe.step import ProbeFacts


def action_distance(
    frames: int,
    facts: ProbeFacts,
    experience: Mapping[str, Any],
    policies: Mapping[str, Path],
    episodes: Path,
    cache: Path,
    journal: Journal,
) -> ActionDistance:
    """Has the policy act on `frames` recorded observations, told positive and negative, and with two noises.

    Which frames is a function of their episodes and steps alone, as in the open-loop evaluation.

    Args:
        frames: how many.
        facts: tasks, noise seed, and where the policy computes.
        experience: JSON of the EpisodeSet to choose from.
        policies: {"positive", "negative": bundle}.
        episodes: the episode store.
        cache: where the packed frames lie.
        journal: told how it goes.
    """
    from data.episode_set import EpisodeSet
    from data.episodes import EpisodeStore
    from pipelines.experience import recorded_size, view_at, wordings_of
    from pipelines.steps.open_loop_eval.worker import choose_frames
    from policy.models import load_policy
    from recap.training.runtime import Runtime

    store, ids = EpisodeStore(episodes), EpisodeSet.from_json(experience).ids
    size = recorded_size(store, ids, facts.tasks)
    packed = view_at(store, ids, cache, facts.tasks, journal, image_size=size)
    wordings = wordings_of(store.rows(packed.episode_ids))
    runtime = Runtime.of(facts.runtime)
    positive, negative = (load_policy(policies[name], runtime=runtime) for name in ("positive", "negative"))
    scale = packed.action.std(axis=0, dtype=np.float64)
    by_condition, by_noise = [], []
    rows = choose_frames(packed, np.ones(packed.num_frames, dtype=np.bool_), frames, facts.noise_seed).tolist()
    for done, row in enumerate(rows, start=1):
        pictures = {camera: packed.images[row, place] for place, camera in enumerate(packed.cameras)}
        seen = Observation(state=packed.state[row], frames=pictures, prompt=wordings[packed.episode_of[row]])
        episode = int(packed.episode_of[row])
        at = int(packed.episode_ids[episode], 16), row - int(packed.offsets[episode])
        first, second = (derive("condition probe", facts.noise_seed, *at, draw) for draw in (0, 1))
        acted = positive.act(seen, noise_seed=first)
        by_condition.append(chunk_distance(acted, negative.act(seen, noise_seed=first), scale))
        by_noise.append(chunk_distance(acted, positive.act(seen, noise_seed=second), scale))
        journal.progress(done, len(rows), "frames")
    condition, noise = float(np.mean(by_condition)), float(np.mean(by_noise))
    return ActionDistance(
        frames=len(rows), condition=condition, noise=noise, ratio=condition / noise if noise > 0 else None
    )


def chunk_distance(first: FloatArray, second: FloatArray, scale: FloatArray) -> float:
    """Root mean square of the difference of two chunks [n, A], each dimension in units of scale [A]; 0 ones left out.

    Example:
        >>> chunk_distance(np.zeros((1, 2)), np.array([[2.0, 9.0]]), np.array([1.0, 0.0]))
        2.0
    """
    moving = scale > 0
    off = (first.astype(np.float64) - second)[:, moving] / scale[moving]
    return float(np.sqrt(np.mean(off**2)))
