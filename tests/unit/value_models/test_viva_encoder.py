"""Image encoders: the linear one, and the pretrained autoencoder in a small size."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.published import wan_vae
from tests.support.values import synthetic_values, train_synthetic

from recap.errors import ConfigError
from recap.training.config import FitConfig
from value_model.models import load_value_model
from value_model.models.viva import tiny_config
from value_model.models.viva.batches import cached_latents
from value_model.models.viva.config import EncoderConfig
from value_model.models.viva.encoder import LinearEncoder, WanVaeEncoder

VIEWS = np.array([0, 1])


def pictures(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (20, 2, 4, 4, 3))
    return np.clip(np.kron(coarse, np.ones((1, 1, 4, 4, 1))) + rng.normal(0, 8, (20, 2, 16, 16, 3)), 0, 255).astype(
        np.uint8
    )


def test_latents_are_standardised_principal_components() -> None:
    images = pictures()
    encoder = LinearEncoder.fitted(images, np.arange(20), VIEWS, EncoderConfig(channels=3, patch_pixels=4))
    latents = encoder(torch.from_numpy(images))
    assert latents.shape == (20, 2, 3, 4, 4) == (20, 2, *encoder.latent_size(16, 16))
    channels = latents.transpose(0, 2).flatten(1)
    torch.testing.assert_close(channels.mean(1), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(channels), torch.eye(3), atol=5e-3, rtol=0)


def test_a_patch_keeps_its_place() -> None:
    images = pictures()
    encoder = LinearEncoder.fitted(images, np.arange(20), VIEWS, EncoderConfig(channels=3, patch_pixels=4))
    touched = images[:1].copy()
    touched[0, 1, 9, 14] = 255 - touched[0, 1, 9, 14]
    difference = (encoder(torch.from_numpy(touched)) - encoder(torch.from_numpy(images[:1]))).abs().sum(2)
    assert difference.nonzero().tolist() == [[0, 1, 2, 3]]


def test_a_black_film_is_encoded_finitely() -> None:
    images = np.zeros((4, 2, 16, 16, 3), dtype=np.uint8)
    encoder = LinearEncoder.fitted(images, np.arange(4), VIEWS, EncoderConfig(channels=3, patch_pixels=4))
    assert torch.isfinite(encoder(torch.from_numpy(images))).all()


def test_images_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ConfigError, match="16 x 16 pixels, expected multiples of 5"):
        LinearEncoder.fitted(pictures(), np.arange(4), VIEWS, EncoderConfig(channels=3, patch_pixels=5))


@pytest.fixture(scope="module")
def vae_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wan_vae(tmp_path_factory.mktemp("vae"))


def test_each_view_is_a_video_of_one_frame(vae_folder: Path) -> None:
    from diffusers import AutoencoderKLWan

    encoder = WanVaeEncoder.from_folder(str(vae_folder))
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32, 3), dtype=np.uint8))
    latents = encoder(images)
    assert latents.shape == (2, 3, 4, 2, 2) == (2, 3, *encoder.latent_size(32, 32))
    alone = encoder(images[1:, 2:])
    torch.testing.assert_close(latents[1, 2], alone[0, 0])
    # Ours replaces convolutions over time by what they do to a single frame; diffusers' own has to agree.
    untouched = AutoencoderKLWan.from_pretrained(vae_folder)
    with torch.no_grad():
        video = images[1, 2].permute(2, 0, 1)[None, :, None] / 127.5 - 1
        mode = untouched.encode(video).latent_dist.mode()[0, :, 0]
    expected = (mode - torch.tensor([0.1, 0.2, 0.3, 0.4])[:, None, None]) / torch.tensor([0.5, 1, 1.5, 2])[
        :, None, None
    ]
    torch.testing.assert_close(alone[0, 0], expected, atol=1e-5, rtol=1e-4)


def test_a_single_frame_costs_no_convolution_over_time(vae_folder: Path) -> None:
    encoder = WanVaeEncoder.from_folder(str(vae_folder))
    left = [m for m in encoder.vae.encoder.modules() if type(m).__name__ == "WanCausalConv3d"]
    assert all(conv.stride[0] == 2 for conv in left)


def test_what_training_encoded_is_not_encoded_again(
    vae_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    forward = WanVaeEncoder.forward
    monkeypatch.setattr(
        WanVaeEncoder, "forward", lambda self, images: encoded.append(len(images)) or forward(self, images)
    )
    data = synthetic_values(tmp_path, size=64)
    config = tiny_config(
        encoder=EncoderConfig(kind="wan_vae", channels=4, patch_pixels=16, folder=str(vae_folder)),
        shift_pixels=0,
        fit=FitConfig(steps=2),
    )
    train_synthetic(config, data, tmp_path, episodes=(0, 1))
    assert sum(encoded) == int(data.packed.offsets[2])
    encoded.clear()
    # Another fold, another seed: only what no training had seen. Labelling: nothing, for both folds were encoded.
    train_synthetic(config, data, tmp_path / "other", episodes=(1, 2), seed=1)
    assert sum(encoded) == int(data.packed.offsets[3] - data.packed.offsets[2])
    encoded.clear()
    model = load_value_model(tmp_path / "bundle")
    kept, _ = model.label(data, 2, draws=1, noise_seed=0)
    assert encoded == []
    # Values from kept latents are those of a cache that holds nothing.
    fresh = synthetic_values(tmp_path / "fresh", size=64)
    anew, _ = model.label(fresh, 2, draws=1, noise_seed=0)
    assert sum(encoded) == int(data.packed.offsets[3] - data.packed.offsets[2])
    np.testing.assert_array_equal(kept, anew)
    wrong = replace(config, encoder=replace(config.encoder, channels=5))
    with pytest.raises(ConfigError, match=r"4 channels, encoder.channels is 5"):
        train_synthetic(wrong, data, tmp_path / "wrong")


def test_an_encoder_is_known_by_all_that_makes_its_latents(vae_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(vae_folder, copy)
    loaded = WanVaeEncoder.from_folder(str(vae_folder))
    assert loaded.identity == WanVaeEncoder.from_folder(str(copy)).identity
    changed = WanVaeEncoder.from_folder(str(copy))
    with torch.no_grad():
        next(iter(changed.vae.decoder.parameters())).add_(1)  # encodes nothing
        assert changed.identity == loaded.identity
        del changed.identity
        next(iter(changed.vae.encoder.parameters())).add_(1e-6)
    assert changed.identity != loaded.identity
    config = (copy / "config.json").read_text()
    (copy / "config.json").write_text(config.replace("0.4", "0.5"))
    assert WanVaeEncoder.from_folder(str(copy)).identity != loaded.identity
    images = pictures()
    fitted = [
        LinearEncoder.fitted(images, np.arange(n), VIEWS, EncoderConfig(channels=3, patch_pixels=4)).identity
        for n in (20, 20, 19)
    ]
    assert fitted[0] == fitted[1] != fitted[2]


def test_latents_of_one_device_are_not_taken_for_those_of_another() -> None:
    asked: list[str] = []
    packed: Any = SimpleNamespace(image_size=(16, 16), latents=lambda encoder, *_, **__: asked.append(encoder))
    encoder = LinearEncoder.fitted(pictures(), np.arange(9), VIEWS, EncoderConfig(channels=3, patch_pixels=4))
    for device in ("cpu", "meta"):
        cached_latents(encoder.to(device), packed, VIEWS, [0])
    assert asked == [f"{encoder.identity} cpu", f"{encoder.identity} meta"]


def test_shifted_pictures_have_no_latents_to_keep(tmp_path: Path) -> None:
    data = synthetic_values(tmp_path)
    for shift in (1, 0):
        train_synthetic(tiny_config(shift_pixels=shift, fit=FitConfig(steps=1)), data, tmp_path / str(shift))
        load_value_model(tmp_path / str(shift) / "bundle").label(data, 3, draws=1, noise_seed=0)
        assert bool(list((tmp_path / "cache").glob("latents-*"))) == (shift == 0)


def test_a_missing_autoencoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no AutoencoderKLWan there"):
        WanVaeEncoder.from_folder(str(tmp_path))
