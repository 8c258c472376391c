"""micro: the same code in one process, in seconds. For tests and a first look."""

from dataclasses import replace

from pipelines.config import PRESETS, ExecutorConfig, Models, RunConfig
from pipelines.presets.tiny import tiny
from pipelines.steps.checkpoint_selection.step import CheckpointSelectionConfig
from pipelines.steps.evaluate.step import EvaluateConfig


@PRESETS.register("micro")
def micro(tasks: tuple[str, ...], models: Models) -> RunConfig:
    """3 demonstrations, tiny networks for a few steps, one iteration of 3 attempts, 2 test starts."""
    base = tiny(tasks, models, policy_steps=12, value_steps=8)
    return replace(
        base,
        demos=replace(base.demos, episodes=3),
        rollouts=replace(base.rollouts, attempts=2, corrections=1),
        checkpoint_selection=CheckpointSelectionConfig(attempts=1),
        gate=replace(base.gate, block=1, cap=1, min_pairs=1),
        evaluate=EvaluateConfig(attempts=2, films=1),
        workers=1,
        executor=ExecutorConfig(name="local", dashboard=False),
        tracker="none",
    )
