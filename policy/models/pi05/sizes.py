"""The sizes of pi0.5: published, and small enough to learn on one core. Knows no torch and no LeRobot."""

from __future__ import annotations

from policy.flow.sizes import NetworkSizes


def tiny() -> NetworkSizes:
    """For tests and the `micro` preset: a few steps in well under a second."""
    return NetworkSizes(
        vision="conv", patch_size=8, vision_width=32, vision_depth=1, vision_mlp=16, text_width=32, text_mlp=64,
        expert_width=32, expert_mlp=64, depth=2, heads=8, head_dim=8,
    )  # fmt: skip


def small() -> NetworkSizes:
    """For simulation on one core, from scratch. The best of few runs (docs/log.md has them)."""
    return NetworkSizes(vision="conv", patch_size=8, vision_width=128, vision_depth=2, vision_mlp=48, depth=2)


def full() -> NetworkSizes:
    """The published pi0.5: SigLIP So400m/14, Gemma 2B, 300M action expert (FACTS: arXiv 2504.16054, openpi)."""
    return NetworkSizes(
        vision="siglip", image_size=224, patch_size=14, vision_width=1152, vision_depth=27, vision_heads=16,
        vision_mlp=4304, vocab_size=257_152, text_width=2048, text_mlp=16_384, expert_width=1024, expert_mlp=4096,
        depth=18, heads=8, kv_heads=1, head_dim=256, action_dim=32, slot_embeddings=False,
    )  # fmt: skip


SIZES = {"tiny": tiny, "small": small, "full": full}
