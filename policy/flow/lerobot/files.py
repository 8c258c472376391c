"""The files of a LeRobot pretrained folder, written without importing LeRobot. Knows only their format.

    config.json                    LeRobot policy config, all sizes inside
    model.safetensors              weights
    policy_preprocessor.json ...   LeRobot processors with the statistics they need
    policy_postprocessor.json ...
    tokenizer.json                 the prompt's tokens, for the `tokenizers` library

The JSON is written here rather than by LeRobot's own savers, because importing those costs seconds; a contract test
loads the folder with LeRobot, saves it again with LeRobot, and compares.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from policy.flow.info import Layout
from policy.flow.prompt import PromptForm
from policy.flow.scaling import PolicyStats, Scaling
from policy.flow.tokenizer import FILE_NAME, LOCAL
from recap.config import to_json
from recap.types import FloatArray

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from policy.flow.info import BundleInfo

STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."
CONTENT = "tokenizer_json"
FRAMES = "frames/"
"""Begins the names of pictures in a file of observations (act.py)."""
WEIGHTS, PREFIX = "model.safetensors", "model."
"""Where LeRobot looks for weights, and what their names begin with."""
_NORMALIZER = "normalizer_processor"
_UNNORMALIZER = "unnormalizer_processor"
_MODES = {"VISUAL": "IDENTITY", "STATE": "QUANTILES", "ACTION": "QUANTILES"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Stock:
    """A policy type that LeRobot has itself, for those of a family's policies that it can run."""

    name: str
    why_not: Callable[[BundleInfo], str]
    """What LeRobot's class could not do of a policy; "" where it can run it."""
    layout: Callable[[LeRobotType, Path], Layout]
    """The files of a folder that will lie at a place."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeRobotType:
    """A policy type of LeRobot's over a family of flow policies."""

    name: str
    """As config.json and LeRobot's commands call it."""
    form: PromptForm
    prompt: str
    """Registered name of the processor step that writes the prompt of the scaled state."""
    tokenizer: str
    """That of the step that puts the condition into the prompt and cuts it."""
    stats: Callable[[PolicyStats], PolicyStats] = lambda stats: stats
    """The statistics under which LeRobot's QUANTILES scale as the family does."""

    stock: Stock | None = None

    @property
    def layout(self) -> Layout:
        """The files of a folder that LeRobot loads, beside recap.json."""
        return Layout(weights=WEIGHTS, prefix=PREFIX, files=self._files)

    def _files(self, info: BundleInfo) -> dict[str, Any]:
        scaled = replace(info, stats=self.stats(info.stats))
        return {
            "config.json": config_json(self, scaled),
            **preprocessor_files(self, scaled),
            **postprocessor_files(scaled),
            FILE_NAME: info.tokenizer.content,
        }


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


def config_json(kind: LeRobotType, info: BundleInfo) -> dict[str, Any]:
    """config.json: a LeRobot policy config of that type."""
    inputs, outputs = _features(info)
    size = info.network.image_size
    return {
        "type": kind.name,
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
        **({} if info.tokenizer is LOCAL else {"prompt_tails": _tails(kind, info)}),
    }


def _tails(kind: LeRobotType, info: BundleInfo) -> list[list[int]]:
    return replace(kind.form, tokenizer=info.tokenizer).tails(info.network.words(info.condition))


def preprocessor_files(kind: LeRobotType, info: BundleInfo) -> dict[str, Any]:
    """policy_preprocessor.json and the state of its normaliser."""
    inputs, outputs = _features(info)
    name = f"policy_preprocessor_step_3_{_NORMALIZER}.safetensors"
    state = f"policy_preprocessor_step_5_{kind.tokenizer}.safetensors"
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
        {"registry_name": kind.prompt, "config": {}},
        {
            "registry_name": kind.tokenizer,
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
