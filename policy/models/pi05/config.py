"""Settings of the pi0.5 family. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from policy.flow.config import FlowConfig, published_fit
from policy.flow.sizes import NetworkSizes
from policy.models.pi05.sizes import full, small, tiny
from recap.training.config import FitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Pi05Config(FlowConfig):
    """Settings of one policy training.

    Example:
        >>> Pi05Config().network.text_width
        128
    """

    network: NetworkSizes = field(default_factory=small)


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


def published_preset(*, steps: int, fine: bool) -> Pi05Config:
    """pi0.5 as openpi and LeRobot fine-tune it, less the files to name: start, tokenizer.

    Pictures are shifted and not cropped, turned and recoloured, for that is the augmentation that recap has.
    """
    return Pi05Config(
        network=full(), chunk=50, execute=25, batch_size=32, draws=1, euler_steps=10, relative_actions=True,
        shift_pixels=8, prompt_tokens=200, candidates=2, fit=published_fit(steps),
    )  # fmt: skip
