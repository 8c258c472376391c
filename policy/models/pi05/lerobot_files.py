"""The JSON that LeRobot reads of a policy, written without importing LeRobot. Knows only its file format."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from policy.flow.scaling import Scaling
from policy.flow.tokenizer import LOCAL
from policy.models.pi05.prompt import PROMPT
from recap.config import to_json
from recap.types import FloatArray

if TYPE_CHECKING:
    from policy.flow.info import BundleInfo

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
POLICY_TYPE = "recap_pi05"
TOKENIZER = "recap_pi05_tokenizer"
CONTENT = "tokenizer_json"
_NORMALIZER = "normalizer_processor"
_UNNORMALIZER = "unnormalizer_processor"
_MODES = {"VISUAL": "IDENTITY", "STATE": "QUANTILES", "ACTION": "QUANTILES"}


def _features(info: BundleInfo) -> tuple[dict[str, Any], dict[str, Any]]:
    size = info.network.image_size
    inputs: dict[str, Any] = {
        f"{IMAGES}{camera}": {"type": "VISUAL", "shape": [3, size, size]} for camera in info.cameras
    }
    inputs[STATE] = {"type": "STATE", "shape": [len(info.state_names)]}
    return inputs, {ACTION: {"type": "ACTION", "shape": [len(info.action_names)]}}


def excluded_names(info: BundleInfo) -> list[str]:
    """Names of the actions that stay absolute, as LeRobot's relative-action step takes them."""
    return [name for dim, name in enumerate(info.action_names) if dim not in info.relative_dims]


def config_json(info: BundleInfo) -> dict[str, Any]:
    """config.json: a LeRobot policy config of type recap_pi05."""
    inputs, outputs = _features(info)
    size = info.network.image_size
    return {
        "type": POLICY_TYPE,
        "network": to_json(info.network),
        "n_obs_steps": 1,
        "input_features": inputs,
        "output_features": outputs,
        "normalization_mapping": _MODES,
        "device": "cpu",
        "push_to_hub": False,
        "dtype": "float32",
        "condition": info.condition,
        "guidance": info.guidance,
        "noise_scale": info.noise_scale,
        "chunk_size": info.chunk,
        "n_action_steps": info.execute,
        "max_state_dim": len(info.state_names),
        "max_action_dim": info.network.action_dim,
        "num_inference_steps": info.euler_steps,
        "image_resolution": [size, size],
        "tokenizer_max_length": info.prompt_tokens,
        "use_relative_actions": bool(info.relative_dims),
        "relative_exclude_joints": excluded_names(info),
        "action_feature_names": list(info.action_names),
        **({} if info.tokenizer is LOCAL else {"prompt_tails": _tails(info)}),
    }


def _tails(info: BundleInfo) -> list[list[int]]:
    return replace(PROMPT, tokenizer=info.tokenizer).tails(info.network.words(info.condition))


def preprocessor_files(info: BundleInfo) -> dict[str, Any]:
    """policy_preprocessor.json and the state of its normaliser."""
    inputs, outputs = _features(info)
    name = f"policy_preprocessor_step_3_{_NORMALIZER}.safetensors"
    state = f"policy_preprocessor_step_5_{TOKENIZER}.safetensors"
    # LeRobot looks a tokenizer up in the hub by its name; this one travels as the state of its step.
    content = info.tokenizer.content
    own = {state: {CONTENT: np.array(bytearray(content), np.uint8)}} if isinstance(content, bytes) else {}
    steps = [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        {
            "registry_name": "relative_actions_processor",
            "config": {
                "enabled": bool(info.relative_dims),
                "exclude_joints": excluded_names(info),
                "action_names": list(info.action_names),
            },
        },
        _normalizer(_NORMALIZER, {**inputs, **outputs}, name),
        {"registry_name": "pi05_prepare_state_tokenizer_processor_step", "config": {}},
        {
            "registry_name": TOKENIZER,
            "config": {"max_length": info.prompt_tokens, "condition": info.network.words(info.condition)},
            **({"state_file": state} if own else {}),
        },
        {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
    ]
    return {
        "policy_preprocessor.json": {"name": "policy_preprocessor", "steps": steps},
        name: _stats_tensors(info),
        **own,
    }


def postprocessor_files(info: BundleInfo) -> dict[str, Any]:
    """policy_postprocessor.json and the state of its un-normaliser."""
    name = f"policy_postprocessor_step_0_{_UNNORMALIZER}.safetensors"
    steps = [
        _normalizer(_UNNORMALIZER, _features(info)[1], name),
        {"registry_name": "absolute_actions_processor", "config": {"enabled": bool(info.relative_dims)}},
        {"registry_name": "device_processor", "config": {"device": "cpu", "float_dtype": None}},
    ]
    return {"policy_postprocessor.json": {"name": "policy_postprocessor", "steps": steps}, name: _stats_tensors(info)}


def _normalizer(registry_name: str, features: dict[str, Any], state_file: str) -> dict[str, Any]:
    return {
        "registry_name": registry_name,
        "config": {"eps": 1e-8, "features": features, "norm_map": _MODES},
        "state_file": state_file,
    }


def _stats_tensors(info: BundleInfo) -> dict[str, FloatArray]:
    def figures(key: str, scaling: Scaling) -> dict[str, FloatArray]:
        return {f"{key}.q01": np.array(scaling.q01), f"{key}.q99": np.array(scaling.q99)}

    return {**figures(STATE, info.stats.state), **figures(ACTION, info.stats.action)}
