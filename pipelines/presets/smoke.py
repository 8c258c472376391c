"""smoke: every part at work on Ray, in a minute or two. It learns little and is not meant to."""

from dataclasses import replace

from pipelines.config import PRESETS, LoopConfig
from pipelines.presets.sim import sim
from policy.models.pi05.config import tiny_config
from recap.training.config import FitConfig


@PRESETS.register("smoke")
def smoke(task: str) -> LoopConfig:
    """16 demonstrations, a tiny pi0.5, 8 test starts."""
    base = sim(task)
    return replace(
        base,
        collect=replace(base.collect, episodes=16),
        policy=replace(base.policy, model=tiny_config(fit=FitConfig(steps=60))),
        evaluate=replace(base.evaluate, attempts=8, films=2),
        dashboard=False,
    )
