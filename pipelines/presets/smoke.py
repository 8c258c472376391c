"""smoke: every part at work on Ray, twice around, in a minute or two. It learns little and is not meant to."""

from dataclasses import replace

from pipelines.config import PRESETS, LoopConfig
from pipelines.presets.sim import sim
from pipelines.presets.tiny import tiny
from recap.training.config import FitConfig


@PRESETS.register("smoke")
def smoke(task: str) -> LoopConfig:
    """16 demonstrations, tiny networks, two iterations of 6 attempts, 8 test starts."""
    base = tiny(sim(task), policy_steps=60, value_steps=40)
    return replace(
        base,
        iterations=2,
        collect=replace(base.collect, episodes=16),
        pretrain=replace(base.pretrain, model=replace(base.pretrain.model, fit=FitConfig(steps=60))),
        rollout=replace(base.rollout, attempts=4, corrections=2),
        select=replace(base.select, attempts=2, guidance=(1.0, 2.0)),
        promote=replace(base.promote, gate=replace(base.promote.gate, block=4, cap=4, min_pairs=2)),
        evaluate=replace(base.evaluate, attempts=8, films=2),
        dashboard=False,
    )
