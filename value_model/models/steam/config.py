"""Settings of the STEAM family, and what it cannot take. Knows no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from recap.config import setting, validate
from recap.errors import ConfigError
from recap.specs import RobotSpec
from recap.training.config import FitConfig
from value_model.views import view_positions


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberSizes:
    """Sizes of one member of the ensemble."""

    patch_pixels: int = setting(8, minimum=1, help="image pixels per cell of the first convolution, each way")
    channels: int = setting(32, minimum=1, help="channels of the first convolution; the second has twice as many")
    width: int = setting(56, minimum=1, help="numbers that a frame is summed up in")
    hidden: int = setting(128, minimum=1, help="width of the hidden layer that compares two frames")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class SteamConfig:
    """Settings of one STEAM training.

    Example:
        >>> SteamConfig().members
        3
    """

    members: int = setting(3, minimum=1, help="predictors N in the ensemble; the lowest guess counts")
    bins: int = setting(33, minimum=3, help="places on [-1, 1] that an offset is classified into; odd, one is 0")
    sizes: MemberSizes = field(default_factory=MemberSizes)
    views: tuple[str, ...] = ()
    """Cameras, in the order in which they are read; empty for all, in the order of the pack."""
    near_share: float = setting(
        0.5, minimum=0, maximum=1, help="share of training pairs within the look-ahead; the rest from anywhere"
    )
    goals: int = setting(8, minimum=1, help="final frames of successes, per instruction, that a value is the way to")
    shift_pixels: int = setting(4, minimum=0, help="random shift of training images, pixels each way")
    batch_size: int = setting(32, minimum=1, help="pairs per gradient step")
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(steps=1700, learning_rate=1e-3, weight_decay=0.1, ema_decay=0.995)
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.bins % 2 == 0:
            raise ConfigError(f"SteamConfig.bins = {self.bins}, expected an odd number: offset 0 is a bin of its own")


def small_config(**changes: object) -> SteamConfig:
    """For simulation on one core, with as many parameters as ViVa's; `changes` replace fields."""
    return replace(SteamConfig(), **changes)  # type: ignore[arg-type]


def tiny_config(**changes: object) -> SteamConfig:
    """For tests and the `micro` preset: seconds."""
    base = SteamConfig(
        members=2,
        bins=9,
        sizes=MemberSizes(channels=4, width=16, hidden=16),
        goals=2,
        shift_pixels=1,
        batch_size=8,
        fit=FitConfig(steps=12, checkpoint_every=4),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def small_preset(*, steps: int) -> SteamConfig:
    """`small_config` trained for so many gradient steps."""
    config = small_config()
    return replace(config, fit=replace(config.fit, steps=steps))


def tiny_preset(*, steps: int) -> SteamConfig:
    """`tiny_config` trained for so many gradient steps."""
    return tiny_config(fit=FitConfig(steps=steps))


def image_size(config: SteamConfig, height: int, width: int) -> tuple[int, int]:
    """The smallest (h, w) that both convolutions divide and that holds pictures of a size."""
    cell = 2 * config.sizes.patch_pixels
    return -(-height // cell) * cell, -(-width // cell) * cell


def check(config: SteamConfig, *, prompts: Sequence[str], robot: RobotSpec) -> None:
    """Raises ConfigError if the model could not be trained on this robot; it takes any prompt."""
    del prompts
    view_positions(robot.camera_names, config.views, family="steam")
