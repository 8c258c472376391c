"""smoke: every part at work on Ray, twice around, in a minute or two. It learns little and is not meant to."""

from dataclasses import replace

from pipelines.config import PRESETS, ExecutorConfig, Models, RunConfig
from pipelines.presets.tiny import tiny
from pipelines.steps.checkpoint_selection.step import CheckpointSelectionConfig
from pipelines.steps.evaluate.step import EvaluateConfig


@PRESETS.register("smoke")
def smoke(tasks: tuple[str, ...], models: Models) -> RunConfig:
    """16 demonstrations, tiny networks, two iterations of 6 attempts, 8 test starts."""
    base = tiny(tasks, models, policy_steps=60, value_steps=40)
    return replace(
        base,
        iterations=2,
        demos=replace(base.demos, episodes=16),
        rollouts=replace(base.rollouts, attempts=4, corrections=2),
        checkpoint_selection=CheckpointSelectionConfig(attempts=2, noise_scale=base.checkpoint_selection.noise_scale),
        gate=replace(base.gate, block=4, cap=4, min_pairs=2),
        evaluate=EvaluateConfig(attempts=8, films=2),
        executor=ExecutorConfig(dashboard=False),
    )
