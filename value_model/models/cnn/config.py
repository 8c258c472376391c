"""Settings of the CNN control, and what it cannot take. Knows no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from recap.config import setting, validate
from recap.errors import ConfigError
from recap.specs import RobotSpec
from recap.training.config import FitConfig
from value_model.views import view_positions

GROUPS = 8
"""Groups of channels that are normalised together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CnnConfig:
    """Settings of one CNN training."""

    channels: int = setting(
        32, minimum=GROUPS, help="channels of the first convolution; the last has four times as many"
    )
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
        if self.channels % GROUPS:
            raise ConfigError(f"CnnConfig.channels = {self.channels}, expected a multiple of {GROUPS} (group norm)")


def small_preset(*, steps: int) -> CnnConfig:
    """The defaults, about as many parameters as ViVa's, trained for so many gradient steps."""
    config = CnnConfig()
    return replace(config, fit=replace(config.fit, steps=steps))


def tiny_preset(*, steps: int) -> CnnConfig:
    """For tests and the `micro` preset: seconds."""
    return CnnConfig(channels=8, hidden=16, shift_pixels=1, batch_size=8, fit=FitConfig(steps=steps))


def check(config: CnnConfig, *, prompts: Sequence[str], robot: RobotSpec) -> None:
    """Raises ConfigError if the model could not be trained on this robot; it takes any prompt."""
    del prompts
    view_positions(robot.camera_names, config.views, family="cnn")
