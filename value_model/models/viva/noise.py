"""Counter-based normal noise: a function of (seed, episode, frame, draw), so that values depend on nothing else."""

from __future__ import annotations

import hashlib

import numpy as np

from recap.types import FloatArray


def frame_noise(noise_seed: int, episode_id: str, frame: int, draws: int, count: int) -> FloatArray:
    """[draws, count] standard normal numbers of one frame; draw d is the same whatever `draws` is."""
    key = np.frombuffer(hashlib.sha256(f"viva-noise:{noise_seed}:{episode_id}".encode()).digest()[:16], dtype="<u8")
    pairs = -(-count // 2)
    words = np.empty((draws, pairs), dtype=np.uint64)
    for draw in range(draws):
        counter = np.array([0, 0, frame, draw], dtype=np.uint64)
        words[draw] = np.random.Philox(key=key, counter=counter).random_raw(pairs)
    # Box-Muller on the two halves of each word. Raw words, because numpy promises no stream of normal numbers.
    high = ((words >> np.uint64(32)).astype(np.float32) + 0.5) * np.float32(2.0**-32)
    angle = (words & np.uint64(0xFFFFFFFF)).astype(np.float32) * np.float32(2 * np.pi * 2.0**-32)
    # The top word rounds to 1 in float32, whose logarithm is 0 exactly: still a finite number.
    radius = np.sqrt(-2 * np.log(high))
    noise: FloatArray = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]
    return noise
