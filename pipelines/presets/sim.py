"""sim: the default. Enough demonstrations and gradient steps to learn in simulation on two CPU cores."""

from dataclasses import replace

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
from recap.training.config import FitConfig
from value_model.models.viva.config import small_config as small_viva

BASE_SEED = 1_000_003
"""Of the base weights' training. No `--seed` that anybody would type: with an equal one, imitation would meet the very
batches and noise again that its base was trained on."""

USUAL_STEPS = (2000, 3000)
"""Gradient steps of the base weights, and of every training after it: shirt_folding's."""
STEPS = {"toilet_paper_organization": (4000, 4000)}
"""The same for tasks that need others. Tuned on VALIDATION starts (docs/log.md)."""


@PRESETS.register("sim")
def sim(task: str) -> LoopConfig:
    """200 demonstrations, a small pi0.5, 200 attempts of its own per iteration, a small ViVa, 120 test starts.

    With several tasks that many of each, and as many gradient steps for each.
    """
    tasks = task_ids(task)
    base_steps, steps = (sum(both) for both in zip(*(STEPS.get(one, USUAL_STEPS) for one in tasks), strict=True))
    viva = small_viva()
    base = small_config(fit=FitConfig(steps=base_steps), candidates=1)
    return LoopConfig(
        task=task,
        collect=CollectConfig(task=task),
        pretrain=PolicyConfig(task=task, model=replace(base, seed=BASE_SEED), tags="none"),
        policy=PolicyConfig(task=task, model=replace(base, fit=FitConfig(steps=steps), candidates=2)),
        select=SelectConfig(task=task, attempts=24, guidance=(1.0, 2.0)),
        evaluate=EvaluateConfig(task=task),
        rollout=RolloutConfig(task=task, attempts=140, corrections=60),
        value=ValueConfig(task=task, model=replace(viva, fit=replace(viva.fit, steps=viva.fit.steps * len(tasks)))),
        health=HealthConfig(task=task),
        advantage=AdvantageConfig(task=task),
        promote=PromoteConfig(task=task),
        ingest=IngestConfig(task=task),
        replay=ReplayConfig(task=task),
    )
