"""STEAM (arXiv 2606.29834): an ensemble that tells how far apart in time two frames are; its worst guess is A_t.

Reward-free: it learns from the order of frames of successful episodes and from nothing else. Registering imports no
torch: that waits until a model is trained or loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.training.runtime import CPU, Runtime
from value_model.models import VALUE_MODELS, ValueFamily
from value_model.models.steam.config import SteamConfig, check, image_size, small_config, small_preset, tiny_config
from value_model.models.steam.config import tiny_preset as tiny_preset

if TYPE_CHECKING:
    from value_model.models.steam.label import Steam

__all__ = ["SteamConfig", "small_config", "tiny_config"]


def _train(*args: Any, **kwargs: Any) -> dict[str, float]:
    from value_model.models.steam.train import train

    return train(*args, **kwargs)


def _load(path: Path, *, runtime: Runtime = CPU) -> Steam:
    from value_model.models.steam.label import load

    return load(path, runtime=runtime)


VALUE_MODELS.add(
    "steam",
    ValueFamily(
        name="steam",
        config=SteamConfig,
        presets={"tiny": tiny_preset, "small": small_preset},
        train=_train,
        load=_load,
        networks=True,
        gives_advantages=True,
        image_size=image_size,
        check=check,
    ),
)
