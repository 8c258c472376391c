"""micro: the same code in one process, in seconds. For tests and a first look."""

from dataclasses import replace

from pipelines.config import PRESETS, LoopConfig
from pipelines.presets.sim import sim
from policy.models.pi05.config import tiny_config
from recap.training.config import FitConfig


@PRESETS.register("micro")
def micro(task: str) -> LoopConfig:
    """3 demonstrations, a tiny pi0.5 for a few steps, 2 test starts."""
    base = sim(task)
    return replace(
        base,
        collect=replace(base.collect, episodes=3, workers=1),
        policy=replace(base.policy, model=tiny_config(fit=FitConfig(steps=12))),
        evaluate=replace(base.evaluate, attempts=2, films=1, workers=1),
        executor="local",
        tracker="none",
        dashboard=False,
    )
