"""What the presets that learn nothing share: tiny networks, a few steps, and no demand on how good values are."""

from dataclasses import replace

from pipelines.config import LoopConfig
from policy.models.pi05.config import tiny_config
from recap.training.config import FitConfig
from value_model.models.viva.config import tiny_config as tiny_viva


def tiny(base: LoopConfig, *, policy_steps: int, value_steps: int) -> LoopConfig:
    """`base` with tiny networks; a value model of a few steps knows nothing, so only broken values fail."""
    model = tiny_config(fit=FitConfig(steps=policy_steps))
    return replace(
        base,
        pretrain=replace(base.pretrain, model=replace(model, candidates=1, seed=base.pretrain.model.seed)),
        policy=replace(base.policy, model=replace(model, candidates=2)),
        value=replace(
            base.value,
            model=tiny_viva(fit=FitConfig(steps=value_steps)),
            sample=2,
        ),
        health=replace(base.health, bounds=replace(base.health.bounds, min_spearman=None)),
        replay=replace(base.replay, frames=6),
    )
