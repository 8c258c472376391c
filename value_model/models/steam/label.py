"""Advantages and values of whole episodes: each frame is encoded once per member, pairs are compared from that.

    A_t = min_m d_m(o_t, o_u),  u = min(t + K, T - 1)                                (STEAM: worst of N)
    V(o_t) = min_m - mean_g E_m[d | d >= 0](o_t, g)        over final frames g of successful training episodes

A_t is in [-1, 1]. The published advantage also subtracts a constant, the offset of K steps in the longest episode:
it moves no label, since thresholds are quantiles, and is left out. Frames whose t + K lies past the end are paired
with the last frame, as in the published code, and nothing is scaled: fewer steps are left, so their A_t falls towards
0 at the last frame, whatever the outcome. The end of a failure therefore lowers nothing by itself: reward-free, the
ensemble knows failures only as frames that get nowhere or look like no success.

STEAM has no V. The one here serves curves and figures: the way that is left to where successes end, in [-1, 0]. A goal
ends its episode, so no offset to it is negative, and the distribution is taken on that condition. Its goals are of
other episodes, while training compared frames of one episode only.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recap.errors import ConfigError
from recap.training.runtime import CPU, Runtime
from recap.types import FloatArray
from value_model.models import Experience
from value_model.models.steam.bundle import Parts, read_bundle
from value_model.views import view_positions


class Steam:
    """A trained STEAM ensemble: a ValueModel that gives advantages (GivesAdvantages).

    Example:
        advantage = load(bundle).advantage(data, 0, lookahead=18)
    """

    def __init__(self, parts: Parts, runtime: Runtime = CPU) -> None:
        self.parts, self.runtime = parts, runtime
        runtime.place(parts.ensemble)
        self._goals: Tensor | None = None
        self._encoded: tuple[Experience, int, Tensor] | None = None

    def label(self, data: Experience, episode: int, *, draws: int, noise_seed: int) -> tuple[FloatArray, FloatArray]:
        """See ValueModel.label; without noise, more draws change nothing.

        Raises:
            ConfigError: the data has other cameras, image sizes, state dimensions or prompts than the training data.
        """
        del draws, noise_seed
        number = self._prompt(data, episode)
        frames, ensemble = self.frames(data, episode), self.parts.ensemble
        if self._goals is None:
            self._goals = self._encode(self.parts.goals.images, self.parts.goals.state)
        goals = self._goals[:, self.parts.goals.prompt == number]
        count = goals.shape[1]
        left = [
            ensemble.way_left(
                self._compare(
                    piece.repeat_interleave(count, dim=1), goals.repeat(1, piece.shape[1], 1), number
                )
            ).unflatten(1, (-1, count)).mean(2)
            for piece in frames.split(self.runtime.label_batch, dim=1)
        ]  # fmt: skip
        value: FloatArray = (-torch.cat(left, dim=1)).amin(0).cpu().numpy()
        return value, np.zeros_like(value)

    def advantage(self, data: Experience, episode: int, *, lookahead: int) -> FloatArray:
        """A_t [T] in [-1, 1], `lookahead` K in control steps; see GivesAdvantages.

        Raises:
            ConfigError: as `label`; a look-ahead below 1.
        """
        lowest: FloatArray = self.member_offsets(data, episode, lookahead=lookahead).min(0)
        return lowest

    def member_offsets(self, data: Experience, episode: int, *, lookahead: int) -> FloatArray:
        """d_m(o_t, o_u) [M, T] of every member, u = min(t + K, T - 1)."""
        if lookahead < 1:
            raise ConfigError(f"steam: look-ahead of {lookahead} steps, expected at least 1")
        number, frames = self._prompt(data, episode), self.frames(data, episode)
        later = torch.arange(frames.shape[1]).add(lookahead).clamp(max=frames.shape[1] - 1)
        size = self.runtime.label_batch
        pieces = zip(frames.split(size, dim=1), frames[:, later].split(size, dim=1), strict=True)
        offsets = [self.parts.ensemble.offset(self._compare(now, then, number)) for now, then in pieces]
        found: FloatArray = torch.cat(offsets, dim=1).cpu().numpy()
        return found

    def frames(self, data: Experience, episode: int) -> Tensor:
        """What each member makes of each frame, [M, T, D], on the device; kept for the episode asked for last."""
        if self._encoded is None or self._encoded[0] is not data or self._encoded[1] != episode:
            packed, inputs = data.packed, self.parts.inputs
            views = np.array(view_positions(packed.cameras, self.parts.views, family="steam"), dtype=np.int64)
            own = (inputs.height, inputs.width)
            if packed.image_size != own or packed.state.shape[1] != inputs.state_dim:
                raise ConfigError(
                    f"steam: images {packed.image_size} and {packed.state.shape[1]} state values, "
                    f"the model was trained on {own} and {inputs.state_dim}"
                )
            rows, size = data.rows(episode), self.runtime.label_batch
            numbers = np.arange(rows.start, rows.stop)
            pieces = [numbers[at : at + size] for at in range(0, len(numbers), size)]
            encoded = [
                self._encode(torch.from_numpy(packed.gather(piece, views)), torch.from_numpy(packed.state[piece]))
                for piece in pieces
            ]
            self._encoded = (data, episode, torch.cat(encoded, dim=1))
        return self._encoded[2]

    def _prompt(self, data: Experience, episode: int) -> int:
        prompt = data.prompts[episode]
        if prompt not in self.parts.prompts:
            raise ConfigError(
                f"steam: prompt {prompt!r} was in no successful training episode, only {list(self.parts.prompts)}",
                hint="label episodes of tasks that the model saw succeed, or record more demonstrations of this one",
            )
        return self.parts.prompts.index(prompt)

    def _encode(self, images: Tensor, state: Tensor) -> Tensor:
        runtime = self.runtime
        with torch.inference_mode(), runtime.autocast():
            return self.parts.ensemble.encode(runtime.move(images), runtime.move(state))

    def _compare(self, first: Tensor, second: Tensor, number: int) -> Tensor:
        prompt = torch.full((first.shape[1],), number, device=first.device)
        with torch.inference_mode(), self.runtime.autocast():
            return self.parts.ensemble.compare(first, second, prompt)


def load(path: Path, *, runtime: Runtime = CPU) -> Steam:
    """The model of a bundle folder; ArtifactCorrupt if it is not whole, ConfigError if there is no such device."""
    return Steam(read_bundle(path), runtime)
