"""Batches of training frames by number, with the state K steps ahead; images, or latents encoded once beforehand."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.batches import epoch_order
from data.framecache import PackedExperience
from recap.protocols import Journal
from recap.types import FloatArray, IntArray
from value_model.models import ValueData
from value_model.models.viva.encoder import ENCODE_BATCH, Encoder


class ValueBatches:
    """batch(step) is a pure function of (seed, step). Each epoch visits every training frame once."""

    def __init__(
        self,
        data: ValueData,
        rows: IntArray,
        *,
        views: IntArray,
        prompt_numbers: IntArray,
        batch_size: int,
        seed: int,
        latents: FloatArray | None,
    ) -> None:
        """Takes rows [n] of the pack; latents [n, V, C, H, W] in the order of `rows`, or None for raw images."""
        self._data, self._rows, self._views, self._latents = data, rows, views, latents
        self._prompts = prompt_numbers
        self._batch_size, self._seed = batch_size, seed
        episode = data.packed.episode_of[rows]
        self._ahead = np.minimum(rows + data.lookahead[episode], data.packed.offsets[episode + 1] - 1)
        self._orders: dict[int, IntArray] = {}

    def batch(self, step: int) -> Mapping[str, Any]:
        """Batch number `step`, counted over all epochs; arrays as VivaLearner.forward takes them."""
        place = np.arange(step * self._batch_size, (step + 1) * self._batch_size, dtype=np.int64)
        epochs = place // len(self._rows)
        chosen = np.empty(self._batch_size, dtype=np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            chosen[here] = self._order(epoch)[place[here] - epoch * len(self._rows)]
        packed, rows = self._data.packed, self._rows[chosen]
        batch: dict[str, Any] = {
            "state": packed.state[rows],
            "ahead": packed.state[self._ahead[chosen]],
            "value": self._data.returns[rows].astype(np.float32),
            "prompt": self._prompts[packed.episode_of[rows]],
        }
        if self._latents is None:
            batch["images"] = packed.images.take(rows, axis=0)[:, self._views]
        else:
            batch["latents"] = self._latents[chosen]
        return batch

    def _order(self, epoch: int) -> IntArray:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e >= epoch - 1}
            self._orders[epoch] = epoch_order(self._seed, epoch, len(self._rows))
        return self._orders[epoch]


def cached_latents(
    encoder: Encoder, packed: PackedExperience, rows: IntArray, views: IntArray, scratch: Path, journal: Journal
) -> FloatArray:
    """Latents [n, V, C, H, W] float32 of `rows`, memory-mapped from `scratch`, encoded on the first attempt only."""
    final = scratch / "latents.npy"
    if not final.exists():
        scratch.mkdir(parents=True, exist_ok=True)
        temporary = scratch / f".latents-{os.getpid()}.npy"
        shape = (len(rows), len(views), *encoder.latent_size(*packed.images.shape[2:4]))
        latents = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        with torch.inference_mode():
            for start in range(0, len(rows), ENCODE_BATCH):
                images = packed.images.take(rows[start : start + ENCODE_BATCH], axis=0)[:, views]
                latents[start : start + ENCODE_BATCH] = encoder(torch.from_numpy(images)).cpu().numpy()
                journal.progress(min(start + ENCODE_BATCH, len(rows)), len(rows), "frames encoded")
        latents.flush()
        del latents
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.rename(final)
    mapped: FloatArray = np.load(final, mmap_mode="r", allow_pickle=False)
    return mapped
