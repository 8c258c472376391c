"""sim: the default. Enough demonstrations and gradient steps to learn in simulation on two CPU cores."""

from pipelines.config import PRESETS, LoopConfig
from pipelines.steps.collect import CollectConfig
from pipelines.steps.evaluate import EvaluateConfig
from pipelines.steps.policy import PolicyConfig
from policy.models.pi05.config import small_config
from recap.training.config import FitConfig


@PRESETS.register("sim")
def sim(task: str) -> LoopConfig:
    """200 demonstrations, a small pi0.5, 120 test starts."""
    return LoopConfig(
        task=task,
        collect=CollectConfig(task=task),
        policy=PolicyConfig(task=task, model=small_config(fit=FitConfig(steps=4000))),
        evaluate=EvaluateConfig(task=task),
    )
