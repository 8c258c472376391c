"""Prompt embeddings for the transformer's cross-attention: hashed words, or embeddings computed beforehand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recap.types import FloatArray
from value_model.models.viva.checks import check_prompt_file, prompt_words


def embed_prompts(prompts: Iterable[str], *, tokens: int, dim: int, file: str) -> dict[str, Tensor]:
    """{prompt: [tokens, dim]} of every distinct prompt, zero-padded.

    Args:
        prompts: instructions, in words.
        tokens: length, padding included.
        dim: width.
        file: safetensors file of {prompt: [n, dim]} with n <= tokens; empty for hashed words: each word is a fixed
            random vector, and so is its place, so that different prompts differ and equal ones are equal anywhere.

    Raises:
        ConfigError: a prompt is not in the file or has another size there; or it has too many words.
    """
    distinct = sorted(set(prompts))
    if file:
        return _from_file(distinct, tokens, dim, Path(file))
    embedded = {}
    for prompt in distinct:
        rows = np.zeros((tokens, dim), dtype=np.float32)
        for place, word in enumerate(prompt_words(prompt, tokens)):
            rows[place] = _hashed(f"word:{word}", dim) + 0.5 * _hashed(f"place:{place}", dim)
        embedded[prompt] = torch.from_numpy(rows)
    return embedded


def _hashed(text: str, dim: int) -> FloatArray:
    key = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype="<u8")
    # Signs of raw bits: the same under every version of numpy.
    bits = np.random.Philox(key=key).random_raw(dim) & np.uint64(1)
    return bits.astype(np.float32) * 2 - 1


def _from_file(prompts: list[str], tokens: int, dim: int, file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    check_prompt_file(file, prompts, tokens, dim)
    stored = load_file(file)
    embedded = {}
    for prompt in prompts:
        rows = torch.zeros(tokens, dim)
        rows[: len(stored[prompt])] = stored[prompt].float()
        embedded[prompt] = rows
    return embedded
