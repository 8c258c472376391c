"""The value of pi*0.6 (arXiv 2511.14759): a vision-language model that classifies the return into 201 bins.

Registering imports neither torch nor transformers: both wait until a model is trained or loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.specs import RobotSpec
from recap.training.runtime import CPU, Runtime
from value_model.models import VALUE_MODELS, ValueFamily
from value_model.models.vlm.config import (
    VlmConfig,
    check,
    check_published,
    full_config,
    image_size,
    published_preset,
    small_config,
    small_preset,
    tiny_config,
    tiny_preset,
)
from value_model.views import largest

if TYPE_CHECKING:
    from recap.training.needs import Needs
    from value_model.direct import Direct

__all__ = ["VlmConfig", "full_config", "small_config", "tiny_config"]


def _train(*args: Any, **kwargs: Any) -> dict[str, float]:
    from value_model.models.vlm.train import train

    return train(*args, **kwargs)


def _load(path: Path, *, runtime: Runtime = CPU) -> Direct:
    from value_model.models.vlm.label import load

    return load(path, runtime=runtime)


def _needs(config: VlmConfig, *, prompts: Sequence[str], robot: RobotSpec, runtime: Runtime) -> Needs:
    from value_model.direct_needs import direct_needs
    from value_model.models.vlm.model import VlmNetwork

    size = image_size(config, *largest(robot))
    return direct_needs("vlm", VlmNetwork, config, size, prompts=prompts, robot=robot, runtime=runtime)


def _check_files(config: VlmConfig) -> None:
    check_published(config)
    if config.vision_start:
        from value_model.models.vlm.weights import check_weights

        check_weights(config)


VALUE_MODELS.add(
    "vlm",
    ValueFamily(
        name="vlm",
        config=VlmConfig,
        presets={"tiny": tiny_preset, "small": small_preset, "published": published_preset},
        train=_train,
        load=_load,
        networks=True,
        image_size=image_size,
        check=check,
        check_files=_check_files,
        needs=_needs,
        licences={
            "vision_start": "SigLIP's card names Apache-2.0",
            "text_start": "Gemma 3's card names the Gemma Terms of Use (ai.google.dev/gemma/terms)",
            "tokenizer": "Gemma 3's card names the Gemma Terms of Use (ai.google.dev/gemma/terms)",
        },
    ),
)
