"""pi0.5 at its published sizes as LeRobot's own type `pi05`: nothing of recap is needed to run such a folder.

The condition is in the tokenizer, which puts it before the actions in whatever prompt it cuts: LeRobot's own steps have
no other place for it. LeRobot looks the tokenizer up by name, which is the place of the exported folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from policy.flow.info import BundleInfo, Layout
from policy.flow.lerobot.files import LeRobotType, Stock
from policy.flow.tokenizer import FILE_NAME
from policy.models.pi05.prompt import PROMPT
from policy.models.pi05.sizes import full

TOKENIZER_FOLDER = "tokenizer"
_OWN_SETTINGS = ("network", "condition", "guidance", "noise_scale", "prompt_tails")
_EMBEDDING = "paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
_HEADS = ("paligemma_with_expert.paligemma.lm_head.weight", "paligemma_with_expert.gemma_expert.lm_head.weight")
_TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}


def why_not(info: BundleInfo) -> str:
    """What LeRobot's own class could not do; "" where it can all."""
    if replace(info.network, cameras=0, condition="text") != full():
        return "its sizes are not the published ones"
    if info.network.condition != "text":
        return f"it hears its condition by {info.network.condition}"
    if info.guidance != 1:
        return f"it acts with guidance {info.guidance:g}"
    if info.noise_scale != 1:
        return f"it acts with noise scale {info.noise_scale:g}"
    if not isinstance(info.tokenizer.content, bytes):
        return "its tokenizer is recap's own"
    return ""


def layout(kind: LeRobotType, place: Path) -> Layout:
    """The files of a folder that will lie at `place`."""

    def files(info: BundleInfo) -> dict[str, Any]:
        made = dict(kind.layout.files(info))
        content = made.pop(FILE_NAME)
        made["config.json"] = {k: v for k, v in made["config.json"].items() if k not in _OWN_SETTINGS} | {
            "type": "pi05",
            "paligemma_variant": "gemma_2b",
            "action_expert_variant": "gemma_300m",
        }
        before = made["policy_preprocessor.json"]
        made["policy_preprocessor.json"] = {
            **before,
            "steps": [
                _tokenizer_step(info, place) if step["registry_name"] == kind.tokenizer else step
                for step in before["steps"]
            ],
        }
        made = {name: one for name, one in made.items() if kind.tokenizer not in name}
        return {
            **made,
            FILE_NAME: content,
            f"{TOKENIZER_FOLDER}/{FILE_NAME}": _conditioning(content, info.condition),
            f"{TOKENIZER_FOLDER}/tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **_TOKENS},
        }

    return replace(kind.layout, files=files, beside=_unused_heads)


STOCK = Stock(name="pi05", why_not=why_not, layout=layout)


def _tokenizer_step(info: BundleInfo, place: Path) -> dict[str, Any]:
    return {
        "registry_name": "tokenizer_processor",
        "config": {
            "tokenizer_name": str(place / TOKENIZER_FOLDER),
            "max_length": info.prompt_tokens,
            "task_key": "task",
            "padding_side": "right",
            "padding": "max_length",
            "truncation": True,
        },
    }


def _conditioning(content: bytes, condition: str) -> bytes:
    """A tokenizer.json that reads every prompt as if it had the condition."""
    if not condition:
        return content
    made = json.loads(content)
    # A line end may be a token of its own, at which texts are cut before this: only the last line comes whole for sure.
    last = PROMPT.ending.rpartition("\n")[2]
    replaced = {"type": "Replace", "pattern": {"Regex": rf"{last}\z"}}
    replaced["content"] = PROMPT.conditioned(PROMPT.ending, condition).removeprefix(PROMPT.ending.removesuffix(last))
    before = made.get("normalizer")
    made["normalizer"] = {"type": "Sequence", "normalizers": [replaced, *([before] if before else [])]}
    return json.dumps(made, ensure_ascii=False).encode()


def _unused_heads(weights: Mapping[str, Any]) -> dict[str, Any]:
    """LeRobot's class has them, says their weights are missing without, and computes nothing with them."""
    embedding = weights[_EMBEDDING]
    width = weights["action_in_proj.weight"].shape[0]
    return {_HEADS[0]: embedding.clone(), _HEADS[1]: embedding.new_zeros(full().vocab_size, width)}
