"""A plain CNN that regresses the return: what pictures and state alone give a network. A control.

Registering imports no torch: it waits until a model is trained or loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recap.config import setting, validate
from recap.specs import RobotSpec
from recap.training.config import FitConfig
from recap.training.runtime import CPU, Runtime
from value_model.models import VALUE_MODELS, ValueFamily
from value_model.views import view_positions

if TYPE_CHECKING:
    from value_model.direct import Direct


@dataclass(frozen=True, kw_only=True, slots=True)
class CnnConfig:
    """Settings of one CNN training."""

    channels: int = setting(32, minimum=8, help="channels of the first convolution; the last has four times as many")
    hidden: int = setting(256, minimum=1, help="width of the layer that joins pictures, state and instruction")
    views: tuple[str, ...] = ()
    """Cameras, in the order in which they are read; empty for all, in the order of the pack."""
    shift_pixels: int = setting(4, minimum=0, help="random shift of training images, pixels each way")
    batch_size: int = setting(32, minimum=1, help="frames per gradient step")
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(steps=1700, learning_rate=1e-3, weight_decay=0.1, ema_decay=0.995)
    )

    def __post_init__(self) -> None:
        validate(self)


def small_preset(*, steps: int) -> CnnConfig:
    """The defaults, about as many parameters as ViVa's, trained for so many gradient steps."""
    config = CnnConfig()
    return replace(config, fit=replace(config.fit, steps=steps))


def tiny_preset(*, steps: int) -> CnnConfig:
    """For tests and the `micro` preset: seconds."""
    return CnnConfig(channels=8, hidden=16, shift_pixels=1, batch_size=8, fit=FitConfig(steps=steps))


def _check(config: CnnConfig, *, prompts: Sequence[str], robot: RobotSpec) -> None:
    del prompts
    view_positions(robot.camera_names, config.views, family="cnn")


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
        check=_check,
    ),
)
