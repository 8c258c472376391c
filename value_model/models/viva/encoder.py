"""Image encoders: a camera image becomes a latent frame of mean 0 and standard deviation 1 per channel. Frozen.

Letters: B observations, V views, h x w pixels, C channels, H x W latent cells, P numbers of a pixel patch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.rows import Rows
from recap.errors import ArtifactCorrupt, ConfigError
from recap.hub import located
from recap.types import FrameArray, IntArray
from value_model.models.viva.checks import check_encoder
from value_model.models.viva.config import EncoderConfig

ENCODE_BATCH = 4
"""Observations encoded at once: more of them leave the processor's cache."""
_SAMPLE_FRAMES = 1024
_ENCODING = 1
"""Raised when the code below makes other latents of the same weights."""


class Encoder(nn.Module):
    """uint8 images [B, V, h, w, 3], wherever they lie -> latents [B, V, C, H, W] on the encoder's device."""

    idle: tuple[str, ...] = ()
    """Weights that no latent depends on, by the beginnings of their names."""

    def latent_size(self, height: int, width: int) -> tuple[int, int, int]:
        """(C, H, W) for images of `height` x `width`; ConfigError if they cannot be encoded."""
        raise NotImplementedError

    def tensors(self) -> dict[str, Tensor]:
        """What a bundle has to keep to build the encoder again."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Plain JSON of what makes a latent besides the weights."""
        raise NotImplementedError

    @cached_property
    def identity(self) -> str:
        """Digest of all that makes a latent: equal for encoders of equal weights, wherever they were loaded from."""
        digest = hashlib.sha256(json.dumps([type(self).__name__, _ENCODING, self.settings()], sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            if name.startswith(self.idle):
                continue
            whole = tensor.detach().cpu().contiguous()
            digest.update(f"{name} {whole.dtype} {tuple(whole.shape)}".encode())
            digest.update(whole.flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


class LinearEncoder(Encoder):
    """Square pixel patches on the leading principal components of training patches, each scaled to deviation 1."""

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor, *, patch_pixels: int) -> None:
        """Takes weight [C, P] and bias [C], for patches in the order (row, column, colour) of bytes / 255."""
        super().__init__()
        self.patch_pixels = patch_pixels
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    @classmethod
    def fitted(cls, images: FrameArray | Rows, rows: IntArray, views: IntArray, config: EncoderConfig) -> LinearEncoder:
        """The encoder of training frames `rows` of images [N, V, h, w, 3]; a fixed, even sample of them is read."""
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(_SAMPLE_FRAMES, len(rows))).astype(np.int64))]
        size, count = config.patch_pixels, 3 * config.patch_pixels**2
        _check_divides(images.shape[2], images.shape[3], size)
        check_encoder(config)
        total, mean, second = 0, np.zeros(count), np.zeros((count, count))
        for row in chosen:
            patches = _patches(images[row][views], size).reshape(-1, count).astype(np.float64) / 255
            total += len(patches)
            mean += patches.sum(0)
            second += patches.T @ patches
        mean /= total
        values, vectors = np.linalg.eigh(second / total - np.outer(mean, mean))
        basis = vectors[:, ::-1][:, : config.channels].T
        # An eigenvector has no sign of its own.
        basis *= np.sign(basis[np.arange(len(basis)), np.abs(basis).argmax(1)])[:, None]
        # Patches that hardly vary (a black image) have nothing to scale up.
        weight = basis / np.sqrt(np.maximum(values[::-1][: config.channels], 1e-6))[:, None]
        return cls(
            torch.from_numpy(weight.astype(np.float32)),
            torch.from_numpy((-weight @ mean).astype(np.float32)),
            patch_pixels=size,
        )

    def latent_size(self, height: int, width: int) -> tuple[int, int, int]:
        _check_divides(height, width, self.patch_pixels)
        return len(self.weight), height // self.patch_pixels, width // self.patch_pixels

    def tensors(self) -> dict[str, Tensor]:
        return {"weight": self.weight, "bias": self.bias}

    def settings(self) -> dict[str, Any]:
        return {"patch_pixels": self.patch_pixels}

    def forward(self, images: Tensor) -> Tensor:
        patches = _patches(images.to(self.weight.device), self.patch_pixels).to(self.weight.dtype)
        out = nn.functional.linear(patches, self.weight / 255, self.bias)
        return out.movedim(-1, -3)


class WanVaeEncoder(Encoder):
    """A pretrained AutoencoderKLWan; every view is a video of one frame, encoded on its own."""

    idle = ("vae.decoder.", "vae.post_quant_conv.")

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae = vae.eval().requires_grad_(requires_grad=False)
        _drop_time(self.vae)
        settings: Any = vae.config
        shape = (1, settings.z_dim, 1, 1, 1)
        self.register_buffer("mean", torch.tensor(settings.latents_mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(settings.latents_std).view(shape), persistent=False)

    @classmethod
    def from_folder(cls, folder: str) -> WanVaeEncoder:
        """Loads a folder in diffusers layout; ConfigError if there is none."""
        from diffusers import AutoencoderKLWan

        try:
            return cls(AutoencoderKLWan.from_pretrained(located(folder), local_files_only=True))
        except OSError as error:
            raise ConfigError(f"viva: encoder.folder {folder}: no AutoencoderKLWan there ({error})") from error

    def latent_size(self, height: int, width: int) -> tuple[int, int, int]:
        settings: Any = self.vae.config
        factor = int(settings.scale_factor_spatial)
        _check_divides(height, width, factor)
        return int(settings.z_dim), height // factor, width // factor

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def settings(self) -> dict[str, Any]:
        vae: Any = self.vae
        means = {name: list(getattr(vae.config, name)) for name in ("latents_mean", "latents_std")}
        return {**means, "patch_size": vae.config.patch_size, "diffusers": version("diffusers")}

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

        parameter = next(self.vae.parameters())
        video = images.flatten(0, 1).permute(0, 3, 1, 2)[:, :, None].to(parameter) / 127.5 - 1
        vae: Any = self.vae
        if vae.config.patch_size is not None:
            video = patchify(video, patch_size=vae.config.patch_size)
        # As vae.encode does, less its cache of earlier frames; channels last halves the time of small convolutions.
        moments = vae.quant_conv(vae.encoder(video.contiguous(memory_format=torch.channels_last_3d)))
        mode = moments.chunk(2, dim=1)[0]
        scaled = (mode.float() - self.mean) / self.std
        latents: Tensor = scaled[:, :, 0].unflatten(0, images.shape[:2])
        return latents


class _FrameConv(nn.Module):
    """A causal 3D convolution applied to the only frame of a video: a 2D convolution with its last slice in time."""

    weight: Tensor
    bias: Tensor

    def __init__(self, conv: Any) -> None:
        super().__init__()
        # diffusers keeps (left, right, top, bottom, before, after).
        left, _, top = conv._padding[:3]
        self.padding, self.stride = (top, left), conv.stride[1:]
        self.register_buffer("weight", conv.weight.detach()[:, :, -1].clone())
        self.register_buffer("bias", conv.bias.detach().clone())

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        assert cache_x is None
        assert x.shape[2] == 1
        out = nn.functional.conv2d(x[:, :, 0], self.weight, self.bias, stride=self.stride, padding=self.padding)
        return out[:, :, None]


def _drop_time(vae: Any) -> None:
    """Makes the encoder of an AutoencoderKLWan fit for single frames only, with a third of the arithmetic.

    Before the first frame a causal convolution sees zeros, so that all but its last slice in time multiply nothing.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

    for parent in [*vae.encoder.modules(), vae]:
        for name, child in list(parent.named_children()):
            if parent is vae and name != "quant_conv":
                continue
            # The convolutions that halve the frame rate look at no zeros; a single frame never reaches them.
            if isinstance(child, WanCausalConv3d) and child._padding[4] == child.kernel_size[0] - 1:
                setattr(parent, name, _FrameConv(child))


def make_encoder(config: EncoderConfig, images: FrameArray | Rows, rows: IntArray, views: IntArray) -> Encoder:
    """The encoder to train with: fitted to the training frames, or loaded."""
    if config.kind == "linear":
        return LinearEncoder.fitted(images, rows, views, config)
    return WanVaeEncoder.from_folder(config.folder)


def restore_encoder(config: EncoderConfig, tensors: Mapping[str, Tensor], *, where: str) -> Encoder:
    """The encoder of a bundle."""
    if config.kind == "wan_vae":
        return WanVaeEncoder.from_folder(config.folder)
    try:
        return LinearEncoder(tensors["weight"], tensors["bias"], patch_pixels=config.patch_pixels)
    except KeyError as error:
        raise ArtifactCorrupt(f"{where}: encoder tensor {error} is missing") from error


def _patches(images: Any, size: int) -> Any:
    """[..., h, w, 3] -> [..., H, W, size * size * 3], an array or a tensor."""
    height, width = images.shape[-3] // size, images.shape[-2] // size
    lead = images.shape[:-3]
    split = images.reshape(*lead, height, size, width, size * 3).swapaxes(-3, -2)
    return split.reshape(*lead, height, width, size * size * 3)


def _check_divides(height: int, width: int, size: int) -> None:
    if height % size or width % size:
        raise ConfigError(
            f"viva: images of {height} x {width} pixels, expected multiples of {size} (one latent cell)",
            hint="open the frame cache with such an image_size",
        )
