"""Values of whole episodes: every frame and every noise draw in batches, each image encoded once.

x0 = z1 - v(z1, tau = 1)   in one Euler step;   V = (mean(x0) - 1) / 2
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recap.errors import ConfigError
from recap.training.runtime import CPU, Runtime
from recap.types import FloatArray
from value_model.models import Experience
from value_model.models.viva.batches import cached_latents
from value_model.models.viva.bundle import Parts, read_bundle
from value_model.models.viva.encoder import ENCODE_BATCH
from value_model.models.viva.frames import clean_frames, decode_value, gather_numbers
from value_model.models.viva.model import velocity
from value_model.models.viva.noise import frame_noise
from value_model.views import view_positions


class Viva:
    """A trained ViVa model.

    Example:
        value, spread = load(bundle).label(data, 0, draws=4, noise_seed=0)
    """

    def __init__(self, parts: Parts, runtime: Runtime = CPU) -> None:
        self.parts, self.runtime = parts, runtime
        runtime.place(parts.transformer)
        runtime.place(parts.encoder)

    def label(self, data: Experience, episode: int, *, draws: int, noise_seed: int) -> tuple[FloatArray, FloatArray]:
        """See ValueModel.label.

        Raises:
            ConfigError: the data has other cameras, image sizes, state dimensions or prompts than the training data.
        """
        packed = data.packed
        rows = slice(int(packed.offsets[episode]), int(packed.offsets[episode + 1]))
        latents = self.encode(data, episode)
        return self.label_latents(
            latents,
            torch.from_numpy(packed.state[rows].copy()),
            data.prompts[episode],
            packed.episode_ids[episode],
            draws=draws,
            noise_seed=noise_seed,
        )

    def encode(self, data: Experience, episode: int) -> Tensor:
        """Latents [T, V, C, H, W] of one episode, on the CPU, those that training encoded where it kept them."""
        parts, packed = self.parts, data.packed
        views = np.array(view_positions(packed.cameras, parts.views, family="viva"), dtype=np.int64)
        if packed.image_size != parts.image_size or packed.state.shape[1] != parts.layout.state_dim:
            raise ConfigError(
                f"viva: images {packed.image_size} and {packed.state.shape[1]} state values, "
                f"the model was trained on {parts.image_size} and {parts.layout.state_dim}"
            )
        rows = np.arange(int(packed.offsets[episode]), int(packed.offsets[episode + 1]))
        if not parts.config.shift_pixels:  # as in training: such latents are encoded once and kept
            return torch.from_numpy(cached_latents(parts.encoder, packed, views, [episode]).take(rows))
        with torch.inference_mode():
            pieces = [rows[at : at + ENCODE_BATCH] for at in range(0, len(rows), ENCODE_BATCH)]
            return torch.cat([parts.encoder(torch.from_numpy(packed.gather(piece, views))).cpu() for piece in pieces])

    def label_latents(
        self,
        latents: Tensor,
        state: Tensor,
        prompt: str,
        episode_id: str,
        *,
        draws: int,
        noise_seed: int,
        start: int = 0,
    ) -> tuple[FloatArray, FloatArray]:
        """Values of frames `start`, `start` + 1, ... of an episode.

        Args:
            latents: [T, V, C, H, W] of those frames.
            state: [T, S] in robot units.
            prompt: the instruction, in words.
            episode_id: selects the noise, with `noise_seed` and the frame's number.
            draws: M >= 1.
            noise_seed: seed.
            start: number of the first frame.

        Returns:
            value [T], spread [T].
        """
        values = np.empty((len(latents), draws), dtype=np.float32)
        if draws < 1:
            raise ConfigError(f"viva: draws = {draws}, expected >= 1")
        for piece, denoised in self._denoised(latents, state, prompt, episode_id, draws, noise_seed, start):
            values[piece] = decode_value(denoised[:, :, -1]).unflatten(0, (-1, draws)).numpy()
        return values.mean(1), values.std(1)

    def predicted_states(self, data: Experience, episode: int, *, noise_seed: int) -> FloatArray:
        """Predicted q_{t+K} [T, S] in robot units, one draw; ConfigError for a model without future state."""
        parts, packed = self.parts, data.packed
        if not parts.layout.future_state:
            raise ConfigError("viva: this model was trained with use_future_state = false and predicts no state")
        rows = slice(int(packed.offsets[episode]), int(packed.offsets[episode + 1]))
        state = torch.from_numpy(packed.state[rows].copy())
        pieces = self._denoised(
            self.encode(data, episode), state, data.prompts[episode], packed.episode_ids[episode], 1, noise_seed, 0
        )
        numbers = torch.cat([gather_numbers(denoised[:, :, 0], state.shape[1]) for _, denoised in pieces])
        return parts.state_range.invert(numbers).numpy()

    def _denoised(
        self, latents: Tensor, state: Tensor, prompt: str, episode_id: str, draws: int, noise_seed: int, start: int
    ) -> Sequence[tuple[slice, Tensor]]:
        """(frames, denoised targets [frames * draws, C, Fn, H, W]), batch by batch."""
        parts, layout, runtime = self.parts, self.parts.layout, self.runtime
        if prompt not in parts.prompts:
            raise ConfigError(
                f"viva: prompt {prompt!r} was not in the training data, only {sorted(parts.prompts)}",
                hint="label episodes of the tasks that the model was trained on",
            )
        text = runtime.move(parts.prompts[prompt])[None]
        shape = (layout.channels, layout.noisy, layout.height, layout.width)
        per_batch = max(1, runtime.label_batch // draws)
        out = []
        with torch.inference_mode(), runtime.autocast():
            numbers = parts.state_range.apply(state)
            for first in range(0, len(latents), per_batch):
                piece = slice(first, min(first + per_batch, len(latents)))
                clean = clean_frames(numbers[piece], latents[piece], layout).repeat_interleave(draws, dim=0)
                noise = torch.from_numpy(
                    np.concatenate(
                        [
                            frame_noise(noise_seed, episode_id, start + frame, draws, layout.noisy * layout.cells)
                            for frame in range(piece.start, piece.stop)
                        ]
                    )
                ).view(-1, *shape)
                denoised = self._integrate(runtime.move(clean), runtime.move(noise), text.expand(len(noise), -1, -1))
                out.append((piece, denoised.cpu()))
        return out

    def _integrate(self, clean: Tensor, sample: Tensor, text: Tensor) -> Tensor:
        """Euler steps of equal length from tau = 1 to 0."""
        steps = self.parts.config.euler_steps
        for step in range(steps):
            tau = torch.full((len(sample),), 1 - step / steps, device=sample.device)
            sample = sample - velocity(self.parts.transformer, clean, sample, tau, text) / steps
        return sample


def load(path: Path, *, runtime: Runtime = CPU) -> Viva:
    """The model of a bundle folder; ArtifactCorrupt if it is not whole, ConfigError if there is no such device."""
    return Viva(read_bundle(path), runtime)
