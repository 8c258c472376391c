"""Made-up experience with returns, for tests of value models, here and in plug-ins. Tiny, seeded, learnable.

The data has one rule that a model can find: the brighter the pictures and the larger the first state, the higher the
return.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.episodes import EpisodeStore
from data.framecache import FrameCache
from recap.types import FloatArray
from tests.support.fakes import MemoryJournal
from tests.support.synthetic import synthetic_draft
from value_model.models import ValueData, family_of

PROMPT = "fold the shirt"


def synthetic_values(
    folder: Path, *, episodes: int = 4, length: int = 12, size: int = 32, lookahead: int | Sequence[int] = 3
) -> ValueData:
    """`episodes` episodes of about `length` frames with three cameras, packed under `folder`; truth included."""
    store = EpisodeStore(folder / "episodes")
    for seed in range(episodes):
        steps = length + seed % 3
        draft = synthetic_draft(seed, length=steps, height=size, width=size)
        light = np.linspace(20, 220, steps).astype(np.uint8)[:, None, None, None]
        state = draft.state.copy()
        state[:, 0] = np.linspace(-1, 1, steps)
        frames = {name: np.maximum(film // 8, light) for name, film in draft.frames.items()}
        store.commit(replace(draft, state=state, frames=frames))
    packed = FrameCache(folder / "cache").view(store, store.ids())
    lengths = np.diff(packed.offsets)
    progress = {
        episode_id: np.linspace(0, 1, int(steps), dtype=np.float32)
        for episode_id, steps in zip(packed.episode_ids, lengths, strict=True)
    }
    return ValueData(
        packed=packed,
        returns=np.concatenate([curve - 1 for curve in progress.values()]).astype(np.float32),
        prompts=(PROMPT,) * episodes,
        lookahead=np.broadcast_to(np.array(lookahead, dtype=np.int64), episodes),
        success=np.ones(episodes, dtype=np.bool_),
        truth=progress.__getitem__,
    )


def values_elsewhere(bundle: Path, folder: Path, *, episode: int, size: int = 32) -> FloatArray:
    """Values [T] that a fresh process gives to an episode of `synthetic_values(size=size)`, from a bundle alone.

    It has one thread and works in `folder`.
    """
    code = (
        "import sys, numpy as np, torch; from pathlib import Path; from tests.support.values import synthetic_values; "
        "from value_model.models import load_value_model; torch.set_num_threads(1); "
        "folder, bundle, episode, size = *map(Path, sys.argv[1:3]), *map(int, sys.argv[3:]); "
        "data = synthetic_values(folder, size=size); "
        "values, _ = load_value_model(bundle).label(data, episode, draws=1, noise_seed=0); "
        "np.save(folder / 'values.npy', values)"
    )
    command = [sys.executable, "-c", code, str(folder), str(bundle), str(episode), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: FloatArray = np.load(folder / "values.npy")
    return found


def train_synthetic(
    config: Any, data: ValueData, folder: Path, *, episodes: tuple[int, ...] = (0, 1), seed: int = 0
) -> dict[str, float]:
    """Trains on `episodes` of `data`: scratch in `folder`/scratch, the bundle in `folder`/bundle."""
    return family_of(config).train(
        config,
        data,
        np.array(episodes, dtype=np.int64),
        seed=seed,
        scratch=folder / "scratch",
        out=folder / "bundle",
        journal=MemoryJournal(),
        data_identity="synthetic",
    )
