"""micro: the same code in one process, in seconds. For tests and a first look."""

from dataclasses import replace

from pipelines.config import PRESETS, LoopConfig
from pipelines.presets.sim import sim
from pipelines.presets.tiny import tiny


@PRESETS.register("micro")
def micro(task: str) -> LoopConfig:
    """3 demonstrations, tiny networks for a few steps, one iteration of 3 attempts, 2 test starts."""
    base = tiny(sim(task), policy_steps=12, value_steps=8)
    return replace(
        base,
        collect=replace(base.collect, episodes=3, workers=1),
        rollout=replace(base.rollout, attempts=2, corrections=1, workers=1),
        select=replace(base.select, attempts=1, guidance=(1.0,), workers=1),
        value=replace(base.value, workers=1),
        promote=replace(base.promote, gate=replace(base.promote.gate, block=1, cap=1, min_pairs=1), workers=1),
        evaluate=replace(base.evaluate, attempts=2, films=1, workers=1),
        executor="local",
        tracker="none",
        dashboard=False,
    )
