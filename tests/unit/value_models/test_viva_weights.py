"""Published weights: the original names, and the full size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recap.errors import ArtifactCorrupt, ConfigError
from value_model.models.viva.config import TransformerSizes, wan_5b_sizes
from value_model.models.viva.model import build_transformer, initialise, velocity
from value_model.models.viva.weights import PREFIX, from_original, load_weights

SIZES = TransformerSizes(layers=2, heads=2, head_dim=12, ffn_dim=40, freq_dim=16, patch=2, text_dim=10, text_tokens=4)
CHANNELS = 6


def original_shapes(sizes: TransformerSizes, channels: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the original Wan code (wan/modules/model.py)."""
    dim, patch = sizes.heads * sizes.head_dim, sizes.patch
    linear = {
        "text_embedding.0": (dim, sizes.text_dim),
        "text_embedding.2": (dim, dim),
        "time_embedding.0": (dim, sizes.freq_dim),
        "time_embedding.2": (dim, dim),
        "time_projection.1": (6 * dim, dim),
        "head.head": (patch * patch * channels, dim),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embedding.weight": (dim, channels, 1, patch, patch),
        "patch_embedding.bias": (dim,),
        "head.modulation": (1, 2, dim),
    }
    for i in range(sizes.layers):
        block = f"blocks.{i}"
        for attention in ("self_attn", "cross_attn"):
            linear |= {f"{block}.{attention}.{part}": (dim, dim) for part in "qkvo"}
            shapes |= {f"{block}.{attention}.norm_{part}.weight": (dim,) for part in "qk"}
        linear |= {f"{block}.ffn.0": (sizes.ffn_dim, dim), f"{block}.ffn.2": (dim, sizes.ffn_dim)}
        shapes |= {f"{block}.norm3.weight": (dim,), f"{block}.norm3.bias": (dim,), f"{block}.modulation": (1, 6, dim)}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


def original_weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = original_shapes(SIZES, CHANNELS)
    return {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_original_names_are_translated_as_diffusers_translates_them(prefix: str) -> None:
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    weights = original_weights()
    theirs = convert_wan_transformer_to_diffusers(dict(weights))
    ours = from_original({prefix + name: value for name, value in weights.items()})
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_both_layouts_fill_the_transformer_alike(tmp_path: Path) -> None:
    weights = original_weights()
    save_file({PREFIX + name: value for name, value in weights.items()}, tmp_path / "original.safetensors")
    first = build_transformer(SIZES, CHANNELS)
    load_weights(first, tmp_path / "original.safetensors")
    first.save_pretrained(tmp_path / "diffusers")
    second = build_transformer(SIZES, CHANNELS)
    load_weights(second, tmp_path / "diffusers")
    clean, noisy, text = torch.randn(2, CHANNELS, 5, 4, 4), torch.randn(2, CHANNELS, 2, 4, 4), torch.randn(2, 4, 10)
    with torch.no_grad():
        out = [velocity(net, clean, noisy, torch.tensor([1.0, 0.3]), text) for net in (first, second)]
    assert out[0].shape == noisy.shape
    assert torch.equal(out[0], out[1])
    assert torch.equal(first.blocks[1].norm2.weight, weights["blocks.1.norm3.weight"])


def test_incomplete_or_foreign_weights_are_refused_by_name(tmp_path: Path) -> None:
    weights = original_weights()
    del weights["blocks.1.ffn.2.bias"]
    save_file(weights, tmp_path / "short.safetensors")
    with pytest.raises(ConfigError, match=r"missing blocks\.1\.ffn\.net\.2\.bias"):
        load_weights(build_transformer(SIZES, CHANNELS), tmp_path / "short.safetensors")
    save_file({"lm_head.weight": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ArtifactCorrupt, match=r"'lm_head.weight' has no place"):
        load_weights(build_transformer(SIZES, CHANNELS), tmp_path / "foreign.safetensors")
    with pytest.raises(ConfigError, match=r"holds no weights"):
        load_weights(build_transformer(SIZES, CHANNELS), tmp_path / "nothing")


def test_files_of_two_checkpoints_in_one_folder_are_refused(tmp_path: Path) -> None:
    transformer = build_transformer(SIZES, CHANNELS)
    transformer.save_pretrained(tmp_path)
    one = tmp_path / "diffusion_pytorch_model.safetensors"
    (tmp_path / "diffusion_pytorch_model-00001-of-00002.safetensors").write_bytes(one.read_bytes())
    with pytest.raises(ConfigError, match="every part of one set"):
        load_weights(transformer, tmp_path)


def test_the_full_size_is_the_published_one() -> None:
    sizes = wan_5b_sizes()
    with torch.device("meta"):
        transformer = build_transformer(sizes, 48)
    state = transformer.state_dict()
    assert len(state) == 825
    assert round(sum(value.numel() for value in state.values()) / 1e9, 2) == 5.00
    original = original_shapes(sizes, 48)
    translated = from_original({name: torch.empty(shape, device="meta") for name, shape in original.items()})
    assert {name: value.shape for name, value in translated.items()} == {n: v.shape for n, v in state.items()}


def test_training_from_scratch_starts_by_passing_the_noise_on() -> None:
    transformer = build_transformer(TransformerSizes(), 8)
    initialise(transformer, seed=0)
    noise = torch.randn(4, 8, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = velocity(transformer, torch.zeros(4, 8, 5, 8, 8), noise, torch.ones(4), torch.zeros(4, 8, 32))
    together = torch.corrcoef(torch.stack([out.flatten(), noise.flatten()]))[0, 1]
    assert together > 0.7
