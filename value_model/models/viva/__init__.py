"""ViVa (arXiv 2604.08168): a video transformer that denoises the value of what it sees, as one more latent frame.

Registering imports neither torch nor diffusers: both wait until a model is trained or loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.hub import located
from recap.specs import RobotSpec
from recap.training.runtime import CPU, Runtime
from value_model.models import VALUE_MODELS, ValueFamily
from value_model.models.viva.checks import check, check_published, image_size
from value_model.models.viva.config import (
    VivaConfig,
    full_config,
    published_preset,
    small_config,
    small_preset,
    tiny_config,
    tiny_preset,
)

if TYPE_CHECKING:
    from recap.training.needs import Needs
    from value_model.models.viva.label import Viva

__all__ = ["VivaConfig", "full_config", "small_config", "tiny_config"]


def _train(*args: Any, **kwargs: Any) -> dict[str, float]:
    from value_model.models.viva.train import train

    return train(*args, **kwargs)


def _load(path: Path, *, runtime: Runtime = CPU) -> Viva:
    from value_model.models.viva.label import load

    return load(path, runtime=runtime)


def _needs(config: VivaConfig, *, prompts: Sequence[str], robot: RobotSpec, runtime: Runtime) -> Needs:
    from value_model.models.viva.needs import needs

    del prompts  # as many numbers whatever they say
    return needs(config, robot=robot, runtime=runtime)


def _check_files(config: VivaConfig) -> None:
    check_published(config)
    if not config.start:
        return
    import torch

    from value_model.models.viva.model import build_transformer
    from value_model.models.viva.weights import check_weights

    with torch.device("meta"):
        transformer = build_transformer(config.transformer, config.encoder.channels)
    check_weights(transformer, located(config.start))


VALUE_MODELS.add(
    "viva",
    ValueFamily(
        name="viva",
        config=VivaConfig,
        presets={"tiny": tiny_preset, "small": small_preset, "published": published_preset},
        train=_train,
        load=_load,
        networks=True,
        image_size=image_size,
        check=check,
        check_files=_check_files,
        needs=_needs,
        licences={
            "start": "Wan2.2's publisher names Apache-2.0; of ViVa's own weights no licence is known",
            "encoder.folder": "Wan2.2's publisher names Apache-2.0",
        },
    ),
)
