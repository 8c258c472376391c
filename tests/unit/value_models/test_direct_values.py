"""VLM and CNN: what is trained, what is read, and labels that depend on neither batches nor the process."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support.policies import arm_pair
from tests.support.values import synthetic_values, train_synthetic, values_elsewhere

from recap.errors import ArtifactCorrupt, ConfigError
from recap.training.config import FitConfig
from recap.training.fit import step_generator
from recap.training.runtime import Runtime
from value_model.direct import DirectLearner, DirectNetwork, Inputs, starting_network
from value_model.metrics import spearman
from value_model.models import VALUE_MODELS, ValueData, load_value_model
from value_model.models.cnn.config import CnnConfig
from value_model.models.cnn.network import CnnNetwork
from value_model.models.viva.config import small_config as viva_small
from value_model.models.viva.model import build_transformer
from value_model.models.vlm.config import full_config, image_size, prompt_numbers, small_config, tiny_config
from value_model.models.vlm.model import VlmNetwork

FAMILIES = ("vlm", "cnn")
SEEN = Inputs(views=("left", "right", "high"), image_size=(64, 64), state_dim=14, prompts=("fold it", "pack it now"))


def small(family: str, seed: int = 0) -> DirectNetwork:
    build: Any = {"vlm": VlmNetwork, "cnn": CnnNetwork}[family]
    return starting_network(build, VALUE_MODELS.get(family).config(), SEEN, seed=seed)


def parameters(network: torch.nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def seen(count: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (count, 3, 64, 64, 3), generator=generator).to(torch.uint8)
    return images, torch.rand(count, 14, generator=generator), torch.zeros(count, dtype=torch.long)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ValueData:
    return synthetic_values(tmp_path_factory.mktemp("experience"))


@pytest.fixture(scope="module", params=FAMILIES)
def bundle(request: pytest.FixtureRequest, data: ValueData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    train_synthetic(VALUE_MODELS.get(request.param).presets["tiny"](steps=20), data, folder)
    return folder / "bundle"


def test_small_sizes_have_as_many_parameters_as_viva() -> None:
    viva = viva_small()
    expected = parameters(build_transformer(viva.transformer, viva.encoder.channels))
    assert parameters(small("vlm")) == pytest.approx(expected, rel=0.05)
    assert parameters(small("cnn")) == pytest.approx(expected, rel=0.05)


def test_the_published_sizes_are_siglip_so400m_and_gemma_270m() -> None:
    inputs = replace(SEEN, image_size=(224, 224))
    with torch.device("meta"):
        network = VlmNetwork(full_config(), inputs)
    assert 0.411e9 < parameters(network.vision) < 0.414e9
    assert parameters(network.language) == 268_098_176
    assert network.vision(torch.zeros(1, 3, 224, 224, device="meta")).last_hidden_state.shape == (1, 256, 1152)


def test_presets_train_as_long_as_vivas() -> None:
    viva = VALUE_MODELS.get("viva")
    for family in map(VALUE_MODELS.get, FAMILIES):
        for size, make in family.presets.items():
            ours, theirs = make(steps=5), viva.presets[size](steps=5)
            assert (ours.batch_size, ours.fit.steps) == (theirs.batch_size, theirs.fit.steps)
            assert ours.shift_pixels == theirs.shift_pixels


@pytest.mark.parametrize("family", FAMILIES)
def test_starting_weights_are_a_function_of_the_seed(family: str) -> None:
    torch.manual_seed(5)
    one = small(family).state_dict()
    torch.manual_seed(6)
    before = torch.get_rng_state()
    two, other = small(family).state_dict(), small(family, seed=1).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("family", FAMILIES)
def test_pictures_state_and_instruction_are_all_read(family: str) -> None:
    network = small(family).eval()
    images, state, prompt = seen()
    with torch.no_grad():
        before = network(images, state, prompt)
        for view in range(3):
            dark = images.clone()
            dark[:, view] = 0
            assert (network(dark, state, prompt) - before).abs().max() > 1e-4
        assert (network(images, state + 1, prompt) - before).abs().max() > 1e-4
        assert (network(images, state, prompt + 1) - before).abs().max() > 1e-4


def test_padding_of_the_prompt_is_not_read() -> None:
    network = small("vlm").eval()
    assert isinstance(network, VlmNetwork)
    with torch.no_grad():
        before = network(*seen())
        network.language.embed_tokens.weight[0] = 7.0
        torch.testing.assert_close(network(*seen()), before)
        network.language.embed_tokens.weight[1:] = 7.0
        assert (network(*seen()) - before).abs().max() > 1e-4


def test_words_are_rows_of_the_token_table() -> None:
    assert prompt_numbers(["Fold  the shirt", "the box"], tokens=3, vocabulary=5) == [[2, 4, 3], [4, 1, 0]]
    with pytest.raises(ConfigError, match="has 3 words, expected at most 2"):
        prompt_numbers(["fold the shirt"], tokens=2, vocabulary=8)
    with pytest.raises(ConfigError, match=r"3 different words, expected fewer than language.vocabulary 3"):
        prompt_numbers(["fold the shirt"], tokens=8, vocabulary=3)


def test_pictures_become_squares_of_whole_patches() -> None:
    assert image_size(small_config(), 60, 100) == (112, 112)
    with pytest.raises(ConfigError, match="64 x 48 pixels, expected squares"):
        VlmNetwork(small_config(), replace(SEEN, image_size=(64, 48)))


def test_what_does_not_fit_the_robot_is_refused_before_training() -> None:
    robot = arm_pair()
    for name in FAMILIES:
        family = VALUE_MODELS.get(name)
        family.check(family.config(), prompts=("fold the shirt",), robot=robot)
        with pytest.raises(ConfigError, match=rf"{name}: views \['chest'\] are not among") as refused:
            family.check(replace(family.config(), views=("chest",)), prompts=("fold it",), robot=robot)
        assert refused.value.hint.startswith(f"--set values.{name}.views=")
    with pytest.raises(ConfigError, match="9 words"):
        VALUE_MODELS.get("vlm").check(small_config(), prompts=("a b c d e f g h i",), robot=robot)
    with pytest.raises(ConfigError, match="channels = 12, expected a multiple of 8"):
        CnnConfig(channels=12)


def test_training_images_are_shifted_and_labels_are_not(data: ValueData) -> None:
    network = small("cnn")
    images, state, prompt = seen(8)
    batch = {"images": images.numpy(), "state": state, "value": -torch.rand(8), "prompt": prompt, "ahead": state}
    still, moving = DirectLearner(network, 0), DirectLearner(network, 4)
    assert "shifts" not in still.prepare(batch, step_generator(0, 0))
    rows = moving.prepare(batch, step_generator(0, 0))
    assert rows["shifts"].abs().max() > 1
    (loss, told), (unmoved, _) = moving(rows), still(still.prepare(batch, step_generator(0, 0)))
    assert loss != unmoved
    torch.testing.assert_close(loss.detach(), told["value_error"])


def test_a_return_that_no_bin_stands_for_is_refused(data: ValueData, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"returns from -1.5 to"):
        train_synthetic(tiny_config(), replace(data, returns=data.returns * 1.5), tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_network_learns_what_the_pictures_show(family: str, tmp_path: Path) -> None:
    data = synthetic_values(tmp_path, episodes=4, length=16)
    config = replace(
        VALUE_MODELS.get(family).presets["tiny"](steps=1), fit=FitConfig(steps=150, learning_rate=5e-3, ema_decay=0.9)
    )
    figures = train_synthetic(config, data, tmp_path, episodes=(0, 1, 2))
    value, spread = load_value_model(tmp_path / "bundle").label(data, 3, draws=4, noise_seed=0)
    truth = data.returns[data.packed.offsets[3] :]
    assert figures["steps"] == 150
    assert spearman(value, truth) > 0.8
    assert np.abs(value - truth).mean() < 0.2
    assert not spread.any()


def test_values_do_not_depend_on_batching(bundle: Path, data: ValueData) -> None:
    whole, _ = load_value_model(bundle, runtime=Runtime(label_batch=512)).label(data, 0, draws=1, noise_seed=0)
    assert whole.std() > 1e-3
    for size in (1, 5, 7):
        value, _ = load_value_model(bundle, runtime=Runtime(label_batch=size)).label(data, 0, draws=1, noise_seed=0)
        np.testing.assert_allclose(value, whole, rtol=0, atol=1e-5)


def test_bfloat16_labels_nearly_alike(bundle: Path, data: ValueData) -> None:
    whole, rounded = (
        load_value_model(bundle, runtime=Runtime(dtype=dtype)).label(data, 1, draws=1, noise_seed=0)[0]
        for dtype in ("float32", "bfloat16")
    )
    assert 0 < np.abs(rounded - whole).max() < 0.05


@pytest.mark.slow
def test_a_fresh_process_gives_the_same_values(bundle: Path, data: ValueData, tmp_path: Path) -> None:
    expected, _ = load_value_model(bundle).label(data, 2, draws=1, noise_seed=0)
    np.testing.assert_array_equal(values_elsewhere(bundle, tmp_path, episode=2), expected)


def test_other_data_than_it_was_trained_on_is_refused(bundle: Path, data: ValueData, tmp_path: Path) -> None:
    model = load_value_model(bundle)
    with pytest.raises(ConfigError, match="'pack the box' was not in the training data"):
        model.label(replace(data, prompts=("pack the box",) * 4), 0, draws=1, noise_seed=0)
    with pytest.raises(ConfigError, match=r"trained on \(32, 32\)"):
        model.label(synthetic_values(tmp_path, episodes=1, size=64), 0, draws=1, noise_seed=0)


def test_weights_of_another_network_are_refused_by_name(bundle: Path, tmp_path: Path) -> None:
    whole = load_file(bundle / "network.safetensors")
    name = sorted(whole)[-1]
    wrong = {
        "missing": {key: value for key, value in whole.items() if key != name},
        "unknown": {**whole, "another.weight": torch.zeros(2)},
        "misshapen": {**whole, name: torch.zeros(3, 3)},
    }
    for how, tensors in wrong.items():
        shutil.copytree(bundle, tmp_path / how)
        save_file(tensors, tmp_path / how / "network.safetensors")
        with pytest.raises(ArtifactCorrupt, match="another.weight" if how == "unknown" else name):
            load_value_model(tmp_path / how)
    shutil.copytree(bundle, tmp_path / "torn")
    content = (bundle / "network.safetensors").read_bytes()
    (tmp_path / "torn" / "network.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactCorrupt, match="unreadable"):
        load_value_model(tmp_path / "torn")
