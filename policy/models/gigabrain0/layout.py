"""The files of a GigaBrain-0 bundle: named and laid out as a released checkpoint and the statistics of its pipeline.

giga-models builds its class at the published sizes only, so of those alone it could load a bundle.

config.json                              settings of giga-models' policy class
diffusion_pytorch_model.safetensors      weights under the released names
norm_stats.json                          quantiles of state and action, the latter after deltas and padding
tokenizer.json                           the prompt's tokens, for the `tokenizers` library

LeRobot has no such class: for its tools a bundle is exported as type recap_gigabrain0 (policy.flow.lerobot).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from policy.flow.info import BundleInfo, Layout
from policy.flow.lerobot.files import LeRobotType
from policy.flow.scaling import PolicyStats, Scaling
from policy.flow.tokenizer import FILE_NAME
from policy.models.gigabrain0.prompt import PROMPT
from policy.models.gigabrain0.scaling import ADDED
from policy.models.gigabrain0.sizes import GigaBrain0Sizes


def _config(info: BundleInfo) -> dict[str, Any]:
    sizes = info.network
    assert isinstance(sizes, GigaBrain0Sizes)
    return {
        "_class_name": "GigaBrain0Policy",
        "max_state_dim": max(sizes.action_dim, len(info.state_names)),
        "max_action_dim": sizes.action_dim,
        "proj_width": sizes.expert_width,
        "vlm_type": "paligemma2",
        "vlm_hidden_size": sizes.text_width,
        "n_action_steps": info.chunk,
        "num_steps": info.euler_steps,
        "vision_in_channels": 3,
        "enable_knowledge_insulation": sizes.knowledge_insulation,
        "enable_next_token_prediction": False,
        "enable_learnable_traj_token": False,
        "num_embodiments": sizes.embodiments,
    }


def _files(info: BundleInfo) -> dict[str, Any]:
    padded = info.network.action_dim
    stats = {"observation.state": _quantiles(info.stats.state, padded), "action": _quantiles(info.stats.action, padded)}
    return {"config.json": _config(info), "norm_stats.json": {"norm_stats": stats}, FILE_NAME: info.tokenizer.content}


def _quantiles(scaling: Scaling, width: int) -> dict[str, list[float]]:
    """Padded with zeros to `width`, as the released code pads before it computes them."""
    beyond = max(0, width - len(scaling.q01))
    return {"q01": np.pad(scaling.q01, (0, beyond)).tolist(), "q99": np.pad(scaling.q99, (0, beyond)).tolist()}


LAYOUT = Layout(weights="diffusion_pytorch_model.safetensors", files=_files)


def _widened(stats: PolicyStats) -> PolicyStats:
    return PolicyStats(
        state=Scaling(q01=stats.state.q01, q99=stats.state.q99 + np.float32(ADDED)),
        action=Scaling(q01=stats.action.q01, q99=stats.action.q99 + np.float32(ADDED)),
    )


LEROBOT = LeRobotType(
    name="recap_gigabrain0",
    form=PROMPT,
    prompt="recap_gigabrain0_prompt",
    tokenizer="recap_gigabrain0_tokenizer",
    stats=_widened,
)
