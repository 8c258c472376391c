"""A plain CNN that regresses the return: what pictures and state alone give a network. A control.

Registering imports no torch: it waits until a model is trained or loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.training.runtime import CPU, Runtime
from value_model.models import VALUE_MODELS, ValueFamily
from value_model.models.cnn.config import CnnConfig, check, small_preset, tiny_preset

if TYPE_CHECKING:
    from value_model.direct import Direct

__all__ = ["CnnConfig"]


def _train(*args: Any, **kwargs: Any) -> dict[str, float]:
    from value_model.direct import train_direct
    from value_model.models.cnn.network import CnnNetwork

    return train_direct("cnn", CnnNetwork, *args, **kwargs)


def _load(path: Path, *, runtime: Runtime = CPU) -> Direct:
    from value_model.direct import load_direct
    from value_model.models.cnn.network import CnnNetwork

    return load_direct(path, "cnn", CnnConfig, CnnNetwork, runtime=runtime)


VALUE_MODELS.add(
    "cnn",
    ValueFamily(
        name="cnn",
        config=CnnConfig,
        presets={"tiny": tiny_preset, "small": small_preset},
        train=_train,
        load=_load,
        networks=True,
        check=check,
    ),
)
