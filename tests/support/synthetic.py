"""Made-up episodes for tests and benchmarks: right in every shape, meaningless in content. No physics, no file."""

from __future__ import annotations

import numpy as np

from recap.types import EpisodeDraft, Event, FrameArray, Outcome, PrivilegedTruth, Source

CAMERAS = ("cam_high", "cam_left_wrist", "cam_right_wrist")


def synthetic_draft(
    seed: int,
    *,
    length: int = 12,
    state_dim: int = 14,
    action_dim: int = 14,
    height: int = 16,
    width: int = 16,
    cameras: tuple[str, ...] = CAMERAS,
    source: Source = Source.DEMO,
    task: str = "shirt_folding",
    robot: str = "sim_bimanual",
    renderer: str | None = "ray",
) -> EpisodeDraft:
    """An episode that is a function of its arguments: a random walk, and a noisy square moving over a gradient."""
    rng = np.random.default_rng(seed)
    intervened = np.full(length, source is Source.DEMO)
    if source is Source.CORRECTION:
        intervened[length // 2 :] = True
    return EpisodeDraft(
        task=task,
        robot=robot,
        source=source,
        policy_id=None if source is Source.DEMO else "synthetic-policy",
        rate_hz=10.0,
        start_seed=seed,
        renderer=renderer,
        state=np.cumsum(rng.normal(size=(length, state_dim)), axis=0).astype(np.float32),
        action=rng.normal(size=(length, action_dim)).astype(np.float32),
        intervened=intervened,
        frames={camera: _film(rng, length, height, width) for camera in cameras},
        software={"recap": "synthetic"},
    )


def synthetic_truth(draft: EpisodeDraft, outcome: Outcome = Outcome.SUCCESS) -> PrivilegedTruth:
    """A truth that fits `draft`."""
    return PrivilegedTruth(
        progress=np.linspace(0, 1, draft.length, dtype=np.float32),
        stage=np.arange(draft.length, dtype=np.int64) // 4,
        events=(Event(t=0, name="start", kind=0), Event(t=draft.length - 1, name="end", kind=1)),
        outcome=outcome,
        metrics={"error_m": 0.1 + (draft.start_seed or 0), "undefined": float("nan")},
    )


def _film(rng: np.random.Generator, length: int, height: int, width: int) -> FrameArray:
    gradient = (np.add.outer(np.arange(height) * 2, np.arange(width))[..., None] + np.arange(3) * 20).astype(np.uint8)
    film = np.repeat(gradient[None], length, axis=0)
    side = max(1, height // 8)
    for t in range(length):
        top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, max(1, width - side + 1)))
        square = film[t, top : top + side, left : left + side]
        square[...] = rng.integers(0, 256, square.shape, dtype=np.uint8)
    return film
