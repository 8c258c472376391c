"""Settings of a training of such networks: on what, for how long. Knows no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from policy.flow.sizes import NetworkSizes
from policy.flow.tokenizer import LOCAL, Tokenizer
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.hub import located
from recap.specs import RobotSpec
from recap.training.config import FitConfig
from recap.training.tokenizer import opened


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Low-rank adapters (policy.flow.lora), or none."""

    rank: int = setting(0, minimum=0, help="rank of adapters at attention and MLP; 0: none, all weights are trained")
    alpha: float = setting(0.0, minimum=0, help="what adapters add counts alpha / rank; 0: as much as the rank")

    def __post_init__(self) -> None:
        validate(self)
        if self.alpha and not self.rank:
            raise ConfigError(
                f"lora.alpha = {self.alpha:g} while lora.rank is 0: there are no adapters to scale",
                hint="set the rank first: --set policy.model.lora.rank=16",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowConfig:
    """Settings of one policy training; a family adds its network, and what it has of its own.

    Example:
        >>> FlowConfig().chunk
        12
    """

    sizes_type: ClassVar[type[NetworkSizes]] = NetworkSizes
    network: NetworkSizes = field(default_factory=NetworkSizes)
    chunk: int = setting(12, minimum=1, help="actions predicted at once (H)")
    execute: int = setting(8, minimum=1, help="actions of a chunk that are sent before the policy looks again")
    batch_size: int = setting(16, minimum=1, help="observations per gradient step")
    draws: int = setting(4, minimum=1, help="(time, noise) draws per observation; the prefix is computed once for all")
    euler_steps: int = setting(5, minimum=1, help="integration steps when acting")
    relative_actions: bool = setting(False, help="predict joint targets relative to the state (grippers stay absolute)")
    shift_pixels: int = setting(2, minimum=0, help="random shift of training images, pixels each way")
    prompt_tokens: int = setting(64, minimum=8, help="longest prompt, tokens")
    candidates: int = setting(3, minimum=1, help="bundles kept, evenly over the last half of training")
    start: str = setting(
        "",
        content=True,
        hub=".",
        help="folder of published weights that the first training starts from, or its name on a hub; empty: drawn",
    )
    tokenizer: str = setting(
        "",
        content=True,
        hub="tokenizer.json",
        help="tokenizer.json that those weights were trained with, or its name on a hub",
    )
    lora: LoraConfig = setting(LoraConfig(), later=True)  # noqa: RUF009 - frozen
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=800))

    def __post_init__(self) -> None:
        validate(self)
        if type(self.network) is not self.sizes_type:
            raise ConfigError(
                f"{type(self).__name__}.network is of type {type(self.network).__name__}, expected "
                f"{self.sizes_type.__name__}"
            )
        if self.execute > self.chunk:
            raise ConfigError(f"{type(self).__name__}.execute = {self.execute} exceeds chunk = {self.chunk}")


def relative_dims(config: FlowConfig, robot: RobotSpec) -> tuple[int, ...]:
    """Action dimensions that are predicted relative to the state: all but the grippers, or none."""
    if not config.relative_actions:
        return ()
    return tuple(dim for dim in range(len(robot.action_names)) if dim not in robot.gripper_dims)


def tokenizer_of(config: FlowConfig) -> Tokenizer:
    """What cuts the prompts of a training."""
    return opened(located(config.tokenizer)) if config.tokenizer else LOCAL


def network_sizes(config: FlowConfig, robot: RobotSpec, cameras: Sequence[str]) -> NetworkSizes:
    """The sizes of the network, with those that are the robot's filled in."""
    sizes = config.network
    return replace(sizes, action_dim=sizes.action_dim or len(robot.action_names), cameras=sizes.cameras or len(cameras))


def candidate_steps(config: FlowConfig) -> tuple[int, ...]:
    """Gradient steps at which a bundle is kept: increasing, the last step always among them.

    Example:
        >>> candidate_steps(FlowConfig(fit=FitConfig(steps=600)))
        (400, 500, 600)
    """
    steps, count = config.fit.steps, config.candidates
    return tuple(sorted({steps - (count - 1 - index) * steps // (2 * count) for index in range(count)}))


def base_config[C: FlowConfig](config: C, steps: int) -> C:
    """The training of the weights that others start from: one candidate of it is enough."""
    return replace(config, network=config.network.of_base(), fit=replace(config.fit, steps=steps), candidates=1)


def published_fit(steps: int) -> FitConfig:
    """How openpi and LeRobot optimise a published network on one robot's data."""
    return FitConfig(
        steps=steps, learning_rate=2.5e-5, warmup_steps=1000, final_share=0.1, weight_decay=0.01, ema_decay=0.99,
        checkpoint_every=1000,
    )  # fmt: skip
