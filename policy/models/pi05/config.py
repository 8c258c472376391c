"""Settings of the pi0.5 family: what is trained, on what, for how long. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from policy.models.pi05.sizes import NetworkSizes, small, tiny
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.specs import RobotSpec
from recap.training.config import FitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Pi05Config:
    """Settings of one policy training.

    Example:
        >>> Pi05Config().chunk
        12
    """

    network: NetworkSizes = field(default_factory=small)
    chunk: int = setting(12, minimum=1, help="actions predicted at once (H)")
    execute: int = setting(8, minimum=1, help="actions of a chunk that are sent before the policy looks again")
    batch_size: int = setting(16, minimum=1, help="observations per gradient step")
    draws: int = setting(4, minimum=1, help="(time, noise) draws per observation; the prefix is computed once for all")
    euler_steps: int = setting(5, minimum=1, help="integration steps when acting")
    relative_actions: bool = setting(False, help="predict joint targets relative to the state (grippers stay absolute)")
    shift_pixels: int = setting(2, minimum=0, help="random shift of training images, pixels each way")
    prompt_tokens: int = setting(64, minimum=8, help="longest prompt, tokens")
    candidates: int = setting(3, minimum=1, help="bundles kept, evenly over the last half of training")
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=800))

    def __post_init__(self) -> None:
        validate(self)
        if self.execute > self.chunk:
            raise ConfigError(f"Pi05Config.execute = {self.execute} exceeds chunk = {self.chunk}")


def relative_dims(config: Pi05Config, robot: RobotSpec) -> tuple[int, ...]:
    """Action dimensions that are predicted relative to the state: all but the grippers, or none."""
    if not config.relative_actions:
        return ()
    return tuple(dim for dim in range(len(robot.action_names)) if dim not in robot.gripper_dims)


def candidate_steps(config: Pi05Config) -> tuple[int, ...]:
    """Gradient steps at which a bundle is kept: increasing, the last step always among them.

    Example:
        >>> candidate_steps(Pi05Config(fit=FitConfig(steps=600)))
        (400, 500, 600)
    """
    steps, count = config.fit.steps, config.candidates
    return tuple(sorted({steps - (count - 1 - index) * steps // (2 * count) for index in range(count)}))


def base_config(config: Pi05Config, steps: int) -> Pi05Config:
    """The training of the weights that others start from: one candidate of it is enough.

    It hears no condition, so one base of words serves every way in: an embedding starts at zero.
    """
    network = replace(config.network, condition="text")
    return replace(config, network=network, fit=replace(config.fit, steps=steps), candidates=1)


def small_config(**changes: object) -> Pi05Config:
    """For simulation on one core; `changes` replace fields."""
    return replace(Pi05Config(), **changes)  # type: ignore[arg-type]


def tiny_config(**changes: object) -> Pi05Config:
    """For tests and the `micro` preset."""
    base = Pi05Config(
        network=tiny(), chunk=8, execute=4, batch_size=8, draws=2, euler_steps=3, candidates=2, fit=FitConfig(steps=4)
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def small_preset(*, steps: int, fine: bool) -> Pi05Config:
    """`small_config` of a run: `fine` keeps every pixel of the pictures, for grasps that need them."""
    detail = {"network": replace(small(), patch_size=4), "shift_pixels": 0} if fine else {}
    return small_config(fit=FitConfig(steps=steps), candidates=2, **detail)


def tiny_preset(*, steps: int, fine: bool) -> Pi05Config:
    """`tiny_config` of a run; too small for fine and coarse to differ."""
    return tiny_config(fit=FitConfig(steps=steps), candidates=2)
