"""The value of pi*0.6 (arXiv 2511.14759): a vision-language model that classifies the return into 201 bins.

Registering imports neither torch nor transformers: both wait until a model is trained or loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.training.runtime import CPU, Runtime
from value_model.models import VALUE_MODELS, ValueFamily
from value_model.models.vlm.config import (
    VlmConfig,
    check,
    full_config,
    image_size,
    small_config,
    small_preset,
    tiny_config,
    tiny_preset,
)

if TYPE_CHECKING:
    from value_model.direct import Direct

__all__ = ["VlmConfig", "full_config", "small_config", "tiny_config"]


def _train(*args: Any, **kwargs: Any) -> dict[str, float]:
    from value_model.models.vlm.train import train

    return train(*args, **kwargs)


def _load(path: Path, *, runtime: Runtime = CPU) -> Direct:
    from value_model.models.vlm.label import load

    return load(path, runtime=runtime)


VALUE_MODELS.add(
    "vlm",
    ValueFamily(
        name="vlm",
        config=VlmConfig,
        presets={"tiny": tiny_preset, "small": small_preset},
        train=_train,
        load=_load,
        networks=True,
        image_size=image_size,
        check=check,
    ),
)
