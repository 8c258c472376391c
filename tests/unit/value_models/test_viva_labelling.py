"""Values from a trained network: the formula, the noise, and independence of batches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.values import synthetic_values, train_synthetic

from recap.errors import ArtifactCorrupt, ConfigError
from recap.overrides import override
from recap.training.config import FitConfig
from recap.training.runtime import Runtime
from value_model.models import ValueData
from value_model.models.viva import tiny_config
from value_model.models.viva.bundle import Parts, read_bundle
from value_model.models.viva.frames import clean_frames, decode_value
from value_model.models.viva.label import Viva, load
from value_model.models.viva.model import velocity
from value_model.models.viva.noise import frame_noise


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ValueData:
    return synthetic_values(tmp_path_factory.mktemp("experience"))


@pytest.fixture(scope="module")
def bundle(data: ValueData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viva")
    train_synthetic(tiny_config(fit=FitConfig(steps=5)), data, folder)
    return folder / "bundle"


def changed(bundle: Path, **settings: object) -> Viva:
    parts: Parts = read_bundle(bundle)
    config = parts.config
    for name, value in settings.items():
        config = override(config, name, str(value))
    return Viva(replace(parts, config=config))


def test_one_step_from_pure_noise(bundle: Path, data: ValueData) -> None:
    model = load(bundle)
    parts, layout = model.parts, model.parts.layout
    value, _ = model.label(data, 1, draws=1, noise_seed=9)
    first = int(data.packed.offsets[1])
    state = parts.state_range.apply(torch.from_numpy(data.packed.state[first : first + 1].copy()))
    latents = parts.encoder(torch.from_numpy(data.packed.images[first : first + 1].copy()))
    flat = frame_noise(9, data.packed.episode_ids[1], 0, 1, 2 * layout.cells)
    noise = torch.from_numpy(flat).view(1, layout.channels, 2, layout.height, layout.width)
    with torch.no_grad():
        text = parts.prompts[data.prompts[1]][None]
        out = noise - velocity(parts.transformer, clean_frames(state, latents, layout), noise, torch.ones(1), text)
    assert decode_value(out[:, :, 1]).item() == pytest.approx(float(value[0]), abs=1e-5)


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
def test_bfloat16_labels_nearly_alike(bundle: Path, data: ValueData) -> None:
    whole, rounded = (
        load(bundle, runtime=Runtime(dtype=dtype)).label(data, 1, draws=2, noise_seed=9)[0]
        for dtype in ("float32", "bfloat16")
    )
    assert 0 < np.abs(rounded - whole).max() < 0.02


def test_values_do_not_depend_on_batching(bundle: Path, data: ValueData) -> None:
    whole, whole_spread = load(bundle, runtime=Runtime(label_batch=512)).label(data, 0, draws=3, noise_seed=1)
    for size in (1, 7, 64):
        value, spread = load(bundle, runtime=Runtime(label_batch=size)).label(data, 0, draws=3, noise_seed=1)
        np.testing.assert_allclose(value, whole, atol=1e-5)
        np.testing.assert_allclose(spread, whole_spread, atol=1e-5)


def test_draws_are_averaged_and_each_is_its_own(bundle: Path, data: ValueData) -> None:
    model = load(bundle)
    one, _ = model.label(data, 0, draws=1, noise_seed=1)
    two, spread = model.label(data, 0, draws=2, noise_seed=1)
    # Draw 0 is the same however many there are, so the other one is 2 * mean - draw 0.
    np.testing.assert_allclose(spread, np.abs(two - one), atol=1e-5)
    assert not np.array_equal(one, model.label(data, 0, draws=1, noise_seed=2)[0])
    with pytest.raises(ConfigError, match="draws = 0"):
        model.label(data, 0, draws=0, noise_seed=1)


def test_noise_is_normal_and_a_function_of_its_counters() -> None:
    noise = frame_noise(0, "episode", 3, 4, 5001)
    assert noise.shape == (4, 5001)
    assert abs(noise.mean()) < 0.03
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(noise)[0, 1:]).max() < 0.06
    np.testing.assert_array_equal(noise[:2], frame_noise(0, "episode", 3, 2, 5001))
    others = [(1, "episode", 3), (0, "other", 3), (0, "episode", 4)]
    assert all(not np.array_equal(noise[0], frame_noise(*where, 1, 5001)[0]) for where in others)


def test_more_euler_steps_are_another_estimate(bundle: Path, data: ValueData) -> None:
    one = load(bundle).label(data, 0, draws=1, noise_seed=1)[0]
    four = changed(bundle, euler_steps=4).label(data, 0, draws=1, noise_seed=1)[0]
    assert np.isfinite(four).all()
    assert not np.array_equal(one, four)


def test_states_ahead_are_predicted_in_robot_units(bundle: Path, data: ValueData) -> None:
    ahead = load(bundle).predicted_states(data, 2, noise_seed=0)
    assert ahead.shape == data.packed.state[data.packed.rows_of(data.packed.episode_ids[2])].shape
    assert np.isfinite(ahead).all()


def test_other_data_than_it_was_trained_on_is_refused(bundle: Path, data: ValueData, tmp_path: Path) -> None:
    model = load(bundle)
    with pytest.raises(ConfigError, match="'pack the box' was not in the training data"):
        model.label(replace(data, prompts=("pack the box",) * 4), 0, draws=1, noise_seed=0)
    larger = synthetic_values(tmp_path, episodes=1, size=64)
    with pytest.raises(ConfigError, match=r"trained on \(32, 32\)"):
        model.label(larger, 0, draws=1, noise_seed=0)
    other = replace(model.parts, views=("cam_high", "cam_chest"))
    with pytest.raises(ConfigError, match=r"\['cam_chest'\] are not among"):
        Viva(other).label(data, 0, draws=1, noise_seed=0)


def test_damaged_bundles_are_refused(bundle: Path, tmp_path: Path) -> None:
    import shutil

    for name in ("numbers.safetensors", "transformer/diffusion_pytorch_model.safetensors", "transformer/config.json"):
        torn = tmp_path / name.replace("/", "_")
        shutil.copytree(bundle, torn)
        content = (torn / name).read_bytes()
        (torn / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ArtifactCorrupt, match="value bundle"):
            load(torn)
