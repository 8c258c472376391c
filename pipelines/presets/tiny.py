"""What the presets that learn nothing share: tiny networks, a few steps, and no demand on how good values are."""

from dataclasses import replace

from pipelines.config import Models, PretrainConfig, RunConfig
from pipelines.presets.families import policy_model, value_models
from pipelines.presets.sim import sim
from pipelines.steps.open_loop_eval.step import OpenLoopEvalConfig
from pipelines.steps.policy.step import PolicyConfig
from pipelines.steps.value_label.step import ValueLabelConfig


def tiny(tasks: tuple[str, ...], models: Models, *, policy_steps: int, value_steps: int) -> RunConfig:
    """`sim` with tiny networks; a value model of a few steps knows nothing, so only broken values fail."""
    base = sim(tasks, models)
    bounds = replace(base.judge.bounds, min_flaw_auc=None, min_skill=None, min_value_spread=None, min_spearman=None)
    return replace(
        base,
        pretrain=PretrainConfig(steps=policy_steps),
        policy=PolicyConfig(model=policy_model(models.policy, "tiny", steps=policy_steps, fine=False)),
        values=value_models(models, "tiny", steps=value_steps),
        value_label=ValueLabelConfig(sample=2),
        judge=replace(base.judge, bounds=bounds),
        open_loop_eval=OpenLoopEvalConfig(frames=6),
    )
