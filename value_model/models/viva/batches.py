"""Batches of training frames by number, with the state K steps ahead; images, or latents of the frame cache."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch

from data.batches import epoch_order
from data.framecache import FrameView
from data.rows import Rows
from recap.types import FloatArray, FrameArray, IntArray
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
        latents: Rows | None,
    ) -> None:
        """Takes rows [n] of the view; its latents [N, V, C, H, W], or None for raw images."""
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
            batch["images"] = packed.gather(rows, self._views)
        else:
            batch["latents"] = self._latents.take(rows)
        return batch

    def _order(self, epoch: int) -> IntArray:
        if epoch not in self._orders:
            self._orders = {e: order for e, order in self._orders.items() if e >= epoch - 1}
            self._orders[epoch] = epoch_order(self._seed, epoch, len(self._rows))
        return self._orders[epoch]


def cached_latents(
    encoder: Encoder,
    packed: FrameView,
    views: IntArray,
    episodes: Iterable[int],
    progress: Callable[[int, int], None] | None = None,
) -> Rows:
    """Latents [N, V, C, H, W] float32 of `episodes` from the frame cache; what nobody has encoded yet is encoded."""

    def encode(images: FrameArray) -> FloatArray:
        with torch.inference_mode():
            latents: FloatArray = encoder(torch.from_numpy(images)).float().cpu().numpy()
        return latents

    channels, height, width = encoder.latent_size(*packed.image_size)
    # Devices round differently: what a run computes must not depend on where another one encoded.
    device = next(encoder.buffers()).device.type
    return packed.latents(
        f"{encoder.identity} {device}",
        encode,
        shape=(channels, height, width),
        views=views,
        episodes=episodes,
        batch=ENCODE_BATCH,
        progress=progress,
    )
