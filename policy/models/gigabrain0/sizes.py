"""The sizes of GigaBrain-0: published, and small enough to learn on one core. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from policy.flow.sizes import NetworkSizes
from recap.config import setting
from recap.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class GigaBrain0Sizes(NetworkSizes):
    """NetworkSizes, and what GigaBrain-0 has beside them.

    Example:
        >>> published().text_width
        2304
    """

    embodiments: int = setting(1, minimum=1, help="robots that the weights started from have projections for")
    embodiment: int = setting(0, minimum=0, help="which of them this robot is")
    knowledge_insulation: bool = setting(
        False, help="the loss of the actions does not reach the prefix: only the action expert learns from it"
    )

    def __post_init__(self) -> None:
        # Spelt out: a class with slots is another class than the one that super() would look for.
        NetworkSizes.__post_init__(self)
        if self.embodiment >= self.embodiments:
            raise ConfigError(
                f"GigaBrain0Sizes.embodiment = {self.embodiment}, expected less than embodiments = {self.embodiments}",
                hint="set embodiments first",
            )

    def of_base(self) -> GigaBrain0Sizes:
        """NetworkSizes.of_base; a base is not insulated, for from scratch its prefix would learn nothing."""
        return replace(NetworkSizes.of_base(self), knowledge_insulation=False)

    def started_as(self, wanted: GigaBrain0Sizes) -> GigaBrain0Sizes:
        """NetworkSizes.started_as; insulation is a matter of each training, and a base may know several robots."""
        started = NetworkSizes.started_as(self, wanted)
        return replace(started, knowledge_insulation=wanted.knowledge_insulation, embodiment=wanted.embodiment)


def tiny() -> GigaBrain0Sizes:
    """For tests and the `micro` preset: a few steps in well under a second."""
    return GigaBrain0Sizes(
        vision="conv", patch_size=8, vision_width=32, vision_depth=1, vision_mlp=16, text_width=32, text_mlp=64,
        expert_width=32, expert_mlp=64, depth=2, heads=4, kv_heads=2, head_dim=8,
    )  # fmt: skip


def small() -> GigaBrain0Sizes:
    """For simulation on one core, from scratch: pi0.5's small sizes with two heads to a pair of keys and values."""
    return GigaBrain0Sizes(
        vision="conv", patch_size=8, vision_width=128, vision_depth=2, vision_mlp=48, depth=2, kv_heads=4
    )


def published() -> GigaBrain0Sizes:
    """GigaBrain-0-3.5B-Base: SigLIP So400m/14, Gemma 2 2B (26 layers), action expert of width 1024 (giga-models)."""
    return GigaBrain0Sizes(
        vision="siglip", image_size=224, patch_size=14, vision_width=1152, vision_depth=27, vision_heads=16,
        vision_mlp=4304, vocab_size=257_216, text_width=2304, text_mlp=9216, expert_width=1024, expert_mlp=2048,
        depth=26, heads=8, kv_heads=4, head_dim=256, action_dim=32, slot_embeddings=False, embodiments=3,
    )  # fmt: skip
