"""sim: the default. Enough demonstrations and gradient steps to learn in simulation on two CPU cores."""

from dataclasses import dataclass

from data.corrections import CorrectionConfig
from pipelines.config import PRESETS, Models, PretrainConfig, RunConfig
from pipelines.presets.families import noise_scales, policy_model, value_models
from pipelines.steps.checkpoint_selection.step import CheckpointSelectionConfig
from pipelines.steps.policy.step import PolicyConfig
from pipelines.steps.record.step import RolloutsConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What learning a task takes; the defaults are shirt_folding's."""

    base_steps: int = 2000
    """Gradient steps of the starting weights."""
    steps: int = 3000
    """Gradient steps of every training after it."""
    value_steps: int = 1700
    """Gradient steps of a value model."""
    fine: bool = False
    """Its grasps are within a few pixels, so the policy needs its pictures in full."""
    max_takeovers: int = CorrectionConfig().max_takeovers
    """Take-overs per supervised attempt."""


NEEDS = {
    "toilet_paper_organization": Needs(base_steps=4000, steps=4000),
    # Five grasps in a row, each within a few pixels; and an expert that hands back after every flap is needed up to
    # five times.
    "box_assembly": Needs(base_steps=5000, steps=5000, fine=True, max_takeovers=5),
}
"""Of tasks that need other than shirt_folding. Tuned on VALIDATION starts (docs/log.md)."""


@PRESETS.register("sim")
def sim(tasks: tuple[str, ...], models: Models) -> RunConfig:
    """200 demonstrations, a small policy, 160 attempts of its own per iteration, a small value model, 120 test starts.

    With several tasks that many of each, and as many gradient steps for each; of pictures and take-overs what the most
    demanding of them needs.
    """
    needs = [NEEDS.get(one, Needs()) for one in tasks]
    correction = CorrectionConfig(max_takeovers=max(one.max_takeovers for one in needs))
    model = policy_model(
        models.policy, "small", steps=sum(one.steps for one in needs), fine=any(one.fine for one in needs)
    )
    return RunConfig(
        tasks=tasks,
        pretrain=PretrainConfig(steps=sum(one.base_steps for one in needs)),
        policy=PolicyConfig(model=model),
        checkpoint_selection=CheckpointSelectionConfig(attempts=32, noise_scale=noise_scales(models.policy)),
        rollouts=RolloutsConfig(attempts=120, corrections=40, correction=correction),
        labels=models.labels or models.value,
        values=value_models(models, "small", steps=sum(one.value_steps for one in needs)),
    )
