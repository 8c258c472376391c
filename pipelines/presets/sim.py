"""sim: the default. Enough demonstrations and gradient steps to learn in simulation on two CPU cores."""

from dataclasses import dataclass, replace

from data.corrections import CorrectionConfig
from data.task_list import task_ids
from pipelines.config import PRESETS, LoopConfig
from pipelines.steps.advantage import AdvantageConfig
from pipelines.steps.collect import CollectConfig
from pipelines.steps.evaluate import EvaluateConfig
from pipelines.steps.health import HealthConfig
from pipelines.steps.ingest import IngestConfig
from pipelines.steps.policy import PolicyConfig
from pipelines.steps.promote import PromoteConfig
from pipelines.steps.replay import ReplayConfig
from pipelines.steps.rollout import RolloutConfig
from pipelines.steps.select import SelectConfig
from pipelines.steps.value import ValueConfig
from policy.models.pi05.config import small_config
from policy.models.pi05.sizes import small
from recap.training.config import FitConfig
from value_model.models.viva.config import small_config as small_viva

BASE_SEED = 1_000_003
"""Of the base weights' training. No `--seed` that anybody would type: with an equal one, imitation would meet the very
batches and noise again that its base was trained on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """What learning a task takes; the defaults are shirt_folding's."""

    base_steps: int = 2000
    """Gradient steps of the base weights."""
    steps: int = 3000
    """Gradient steps of every training after it."""
    patch_size: int = small().patch_size
    """Pixels per cell of the image tower's first convolution."""
    shift_pixels: int = small_config().shift_pixels
    """Random shift of the policy's training images: 9 mm on the table for each pixel."""
    max_takeovers: int = CorrectionConfig().max_takeovers
    """Take-overs per supervised attempt."""


NEEDS = {
    "toilet_paper_organization": Needs(base_steps=4000, steps=4000),
    # Five grasps in a row, each within a few pixels; and an expert that hands back after every flap is needed up to
    # five times.
    "box_assembly": Needs(base_steps=5000, steps=5000, patch_size=4, shift_pixels=0, max_takeovers=5),
}
"""Of tasks that need other than shirt_folding. Tuned on VALIDATION starts (docs/log.md)."""


@PRESETS.register("sim")
def sim(task: str) -> LoopConfig:
    """200 demonstrations, a small pi0.5, 200 attempts of its own per iteration, a small ViVa, 120 test starts.

    With several tasks that many of each, and as many gradient steps for each; of patch size, image shift and take-overs
    what the most demanding of them needs.
    """
    tasks = task_ids(task)
    needs = [NEEDS.get(one, Needs()) for one in tasks]
    steps = sum(one.steps for one in needs)
    correction = CorrectionConfig(max_takeovers=max(one.max_takeovers for one in needs))
    viva = small_viva()
    base = small_config(
        network=replace(small(), patch_size=min(one.patch_size for one in needs)),
        shift_pixels=min(one.shift_pixels for one in needs),
        fit=FitConfig(steps=sum(one.base_steps for one in needs)),
        candidates=1,
    )
    return LoopConfig(
        task=task,
        collect=CollectConfig(task=task),
        pretrain=PolicyConfig(task=task, model=replace(base, seed=BASE_SEED), tags="none"),
        policy=PolicyConfig(task=task, model=replace(base, fit=FitConfig(steps=steps), candidates=2)),
        select=SelectConfig(task=task, attempts=24, guidance=(1.0, 2.0)),
        evaluate=EvaluateConfig(task=task),
        rollout=RolloutConfig(task=task, attempts=140, corrections=60, correction=correction),
        value=ValueConfig(task=task, model=replace(viva, fit=replace(viva.fit, steps=viva.fit.steps * len(tasks)))),
        health=HealthConfig(task=task),
        advantage=AdvantageConfig(task=task),
        promote=PromoteConfig(task=task),
        ingest=IngestConfig(task=task),
        replay=ReplayConfig(task=task),
    )
