"""A VLM value that starts from published weights of SigLIP and of Gemma 3."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support.policies import TASK, arm_pair
from tests.support.published_vlm import SIDE, published_vlm
from tests.support.values import PROMPT, synthetic_values, train_synthetic, values_elsewhere
from transformers import Gemma3TextModel, SiglipVisionModel

from recap.errors import ArtifactCorrupt, ConfigError, ResumeRefused
from value_model.direct import Inputs, starting_network
from value_model.models import VALUE_MODELS, ValueData, load_value_model
from value_model.models.vlm.config import VlmConfig, check, published_preset
from value_model.models.vlm.weights import check_weights, starting

FAMILY = VALUE_MODELS.get("vlm")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> VlmConfig:
    return published_vlm(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ValueData:
    return synthetic_values(tmp_path_factory.mktemp("experience"), size=SIDE)


@pytest.fixture
def config(original: VlmConfig, tmp_path: Path) -> VlmConfig:
    """A copy whose files may be changed."""
    shutil.copytree(Path(original.vision_start).parent, tmp_path / "files")
    files = {"vision_start": "siglip", "text_start": "gemma", "tokenizer": "tokenizer/tokenizer.json"}
    return replace(original, **{name: str(tmp_path / "files" / place) for name, place in files.items()})  # type: ignore[arg-type]


def test_both_models_compute_what_transformers_computes(original: VlmConfig) -> None:
    inputs = Inputs(views=("left",), image_size=(SIDE, SIDE), state_dim=3, prompts=(PROMPT,))
    network = starting_network(starting, original, inputs, seed=0).eval()
    again = starting_network(starting, original, inputs, seed=0)
    other = starting_network(starting, original, inputs, seed=1)
    assert torch.equal(network.head.weight, again.head.weight)
    assert not torch.equal(network.head.weight, other.head.weight)
    assert torch.equal(network.language.norm.weight, other.language.norm.weight)
    siglip = SiglipVisionModel.from_pretrained(original.vision_start).eval()
    gemma = Gemma3TextModel.from_pretrained(original.text_start).eval()
    pixels, tokens = torch.randn(2, 3, SIDE, SIDE), torch.randint(4, 250, (2, 9))
    with torch.no_grad():
        seen = [model(pixels).last_hidden_state for model in (network.vision, siglip)]
        read = [model(input_ids=tokens).last_hidden_state for model in (network.language, gemma)]
    torch.testing.assert_close(seen[0], seen[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(read[0], read[1], rtol=0, atol=1e-5)
    assert seen[0].abs().max() > 0.1
    # <bos>, then the tokens of the file, then padding.
    words = network.words[0].tolist()
    assert words[0] == 2
    assert words[-1] == 0
    assert len([word for word in words if word]) > 4


@pytest.mark.slow
def test_the_bundle_needs_none_of_the_files_here_or_in_a_fresh_process(
    config: VlmConfig, data: ValueData, tmp_path: Path
) -> None:
    figures = train_synthetic(config, data, tmp_path)
    expected, _ = load_value_model(tmp_path / "bundle").label(data, 2, draws=1, noise_seed=0)
    tokenizer = Path(config.tokenizer).read_bytes()
    shutil.rmtree(Path(config.vision_start).parent)
    assert (tmp_path / "bundle" / "tokenizer.json").read_bytes() == tokenizer
    found, _ = load_value_model(tmp_path / "bundle").label(data, 2, draws=1, noise_seed=0)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(values_elsewhere(tmp_path / "bundle", tmp_path, episode=2, size=SIDE), expected)
    assert np.ptp(expected) > 0
    assert figures["steps"] == 2


@pytest.mark.parametrize("which", ["vision_start", "text_start", "tokenizer"])
def test_a_resume_on_other_files_is_refused(which: str, config: VlmConfig, data: ValueData, tmp_path: Path) -> None:
    train_synthetic(config, data, tmp_path)
    place = Path(getattr(config, which))
    if which == "tokenizer":
        place.write_text(place.read_text() + " ")
    else:
        file = sorted(place.glob("*.safetensors"))[0]
        save_file({name: value + 1 for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    with pytest.raises(ResumeRefused, match=which):
        train_synthetic(replace(config, fit=replace(config.fit, steps=2)), data, tmp_path)


def test_every_tensor_that_does_not_fit_is_named(config: VlmConfig) -> None:
    check_weights(config)
    file = Path(config.vision_start) / "model.safetensors"
    weights = load_file(file)
    del weights["vision_model.post_layernorm.bias"]
    weights["vision_model.another"] = torch.zeros(2)
    weights["vision_model.post_layernorm.weight"] = torch.zeros(3)
    save_file(weights, file)
    said = (
        r"3 tensors, missing vision_model.post_layernorm.bias \[16\]; unknown vision_model.another \[2\]; "
        r"misshapen vision_model.post_layernorm.weight \[3\], expected \[16\]"
    )
    with pytest.raises(ConfigError, match=said):
        FAMILY.check_files(config)


def test_a_missing_part_is_refused(config: VlmConfig) -> None:
    parts = sorted(Path(config.text_start).glob("*.safetensors"))
    assert len(parts) > 1
    parts[0].unlink()
    with pytest.raises(ConfigError, match="every part of one set"):
        check_weights(config)
    for part in parts[1:]:
        part.write_bytes(b"no tensors")
        part.rename(part.with_name("model.safetensors"))
    with pytest.raises(ArtifactCorrupt):
        check_weights(config)


@pytest.mark.parametrize("prefix", ["language_model.model.", "model.language_model."])
def test_the_text_model_of_a_multimodal_checkpoint_is_found(prefix: str, config: VlmConfig) -> None:
    folder = Path(config.text_start)
    weights: dict[str, torch.Tensor] = {}
    for part in folder.glob("*.safetensors"):
        weights |= load_file(part)
        part.unlink()
    renamed = {prefix + name.removeprefix("model."): value for name, value in weights.items() if "lm_head" not in name}
    around = {"vision_tower.vision_model.x": torch.zeros(1), "multi_modal_projector.x": torch.zeros(1)}
    save_file({**renamed, **around}, folder / "model.safetensors")
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3", "text_config": stored}))
    check_weights(config)


@pytest.mark.parametrize(
    ("which", "change", "says"),
    [
        ("text_start", {"rope_parameters": None, "rope_theta": 5.0}, "rope_parameters"),
        ("text_start", {"num_attention_heads": 4}, "num_attention_heads = 4, expected 2"),
        ("vision_start", {"vision_config": {"image_size": SIDE, "patch_size": 8}}, "num_attention_heads = 12"),
    ],
)
def test_settings_that_no_shape_shows_are_compared(
    which: str, change: dict[str, object], says: str, config: VlmConfig
) -> None:
    file = Path(getattr(config, which)) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ConfigError, match=says):
        check_weights(config)
    file.unlink()
    with pytest.raises(ConfigError, match=r"no config\.json of transformers"):
        check_weights(config)


def test_the_older_spelling_of_rotary_positions_is_the_same(config: VlmConfig) -> None:
    file = Path(config.text_start) / "config.json"
    stored = json.loads(file.read_text())
    del stored["rope_parameters"]
    file.write_text(json.dumps(stored | {"rope_theta": 1_000_000.0, "rope_local_base_freq": 10_000.0}))
    check_weights(config)


def test_the_files_come_together(original: VlmConfig) -> None:
    asked = {"prompts": (TASK,), "robot": arm_pair()}
    check(original, **asked)  # type: ignore[arg-type]
    for changes, says in (
        ({"text_start": ""}, "all three or none"),
        ({"vision_start": "", "text_start": ""}, "all three or none"),
        ({"image_size": None}, "image_size is not set"),
        ({"language": replace(original.language, vocabulary=999)}, "language.vocabulary is 999"),
        ({"language": replace(original.language, text_tokens=3)}, "expected at most 3"),
    ):
        with pytest.raises(ConfigError, match=says):
            check(replace(original, **changes), **asked)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="from scratch"):
        FAMILY.check_files(published_preset(steps=1))
