"""SigLIP and Gemma 3 as transformers publishes them, at tiny sizes, and a VLM value that starts from them."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, SiglipConfig, SiglipModel

from recap.training.config import FitConfig
from tests.support.published import tokenizer_file, vocab_size
from value_model.models.vlm.config import LanguageSizes, VisionSizes, VlmConfig

SIDE = 32


def published_vlm(folder: Path, *, steps: int = 2, seed: int = 0) -> VlmConfig:
    """Settings that start from a SiglipModel with its text tower and head, and from a Gemma 3 with head, in parts."""
    torch.manual_seed(seed)
    text = {"vocab_size": 20, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    whole = SiglipConfig(text_config=text, vision_config={**vision, "image_size": SIDE, "patch_size": 8})
    SiglipModel(whole).save_pretrained(folder / "siglip")
    gemma = Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=vocab_size(),
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=7,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=12,
            query_pre_attn_scalar=12,
            layer_types=[*["sliding_attention"] * 5, "full_attention", "full_attention"],
        )
    )
    with torch.no_grad():
        for value in gemma.parameters():  # norms that start at zero would hide mistakes
            value.normal_(0.0, 0.2)
    gemma.save_pretrained(folder / "gemma", max_shard_size="40KB")
    return VlmConfig(
        vision=VisionSizes(layers=2, width=16, heads=2, ffn_dim=32, patch=8),
        language=LanguageSizes(
            layers=7, width=24, heads=2, kv_heads=1, head_dim=12, ffn_dim=48, vocabulary=vocab_size(), text_tokens=32
        ),
        vision_start=str(folder / "siglip"),
        text_start=str(folder / "gemma"),
        tokenizer=str(tokenizer_file(folder / "tokenizer")),
        image_size=SIDE,
        shift_pixels=0,
        batch_size=4,
        fit=FitConfig(steps=steps),
    )
