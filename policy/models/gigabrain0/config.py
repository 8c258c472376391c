"""Settings of the GigaBrain-0 family. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from policy.flow.config import FlowConfig, published_fit
from policy.models.gigabrain0.sizes import GigaBrain0Sizes, published, small, tiny
from recap.training.config import FitConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class GigaBrain0Config(FlowConfig):
    """Settings of one policy training.

    The released models predict arm joints relative to the state (`relative_actions=true`, their delta mask); the small
    one does not: from scratch that was worse with pi0.5 (docs/log.md).

    Example:
        >>> GigaBrain0Config().network.text_width
        128
    """

    sizes_type = GigaBrain0Sizes
    network: GigaBrain0Sizes = field(default_factory=small)


def small_preset(*, steps: int, fine: bool) -> GigaBrain0Config:
    """For simulation on one core: `fine` keeps every pixel of the pictures, for grasps that need them."""
    detail = {"network": replace(small(), patch_size=4), "shift_pixels": 0} if fine else {}
    return GigaBrain0Config(fit=FitConfig(steps=steps), candidates=2, **detail)  # type: ignore[arg-type]


def tiny_preset(*, steps: int, fine: bool) -> GigaBrain0Config:
    """For tests and the `micro` preset; too small for fine and coarse to differ."""
    return GigaBrain0Config(
        network=tiny(), chunk=8, execute=4, batch_size=8, draws=2, euler_steps=3, candidates=2,
        fit=FitConfig(steps=steps),
    )  # fmt: skip


def published_preset(*, steps: int, fine: bool) -> GigaBrain0Config:
    """GigaBrain-0 as giga-models fine-tunes it on one robot of its three, less the files to name: start, tokenizer.

    Pictures are shifted and not cropped, turned and recoloured, for that is the augmentation that recap has.
    """
    return GigaBrain0Config(
        network=published(), chunk=50, execute=25, batch_size=32, draws=1, euler_steps=10, relative_actions=True,
        shift_pixels=8, prompt_tokens=200, candidates=2, fit=replace(published_fit(steps), weight_decay=1e-10),
    )  # fmt: skip
