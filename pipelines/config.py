"""LoopConfig: everything that one `recap run` is made of, and where presets are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.steps.advantage import AdvantageConfig
from pipelines.steps.annotate import AnnotateConfig
from pipelines.steps.collect import CollectConfig
from pipelines.steps.evaluate import EvaluateConfig
from pipelines.steps.policy import PolicyConfig
from pipelines.steps.promote import PromoteConfig
from pipelines.steps.rollout import RolloutConfig
from pipelines.steps.select import SelectConfig
from pipelines.steps.value import ValueConfig
from recap.config import setting, validate
from recap.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """One run of the loop, complete. `--set policy.model.fit.steps=500` changes one field of it."""

    task: str
    """Task id."""
    iterations: int = setting(1, minimum=0, maximum=1000, help="RECAP iterations after imitation")
    collect: CollectConfig
    pretrain: PolicyConfig
    """Training of the base weights, without tags; every later training starts from them."""
    policy: PolicyConfig
    """Every other training: imitation and each iteration, with the same number of gradient steps."""
    select: SelectConfig
    evaluate: EvaluateConfig
    rollout: RolloutConfig
    annotate: AnnotateConfig = field(default_factory=AnnotateConfig)
    value: ValueConfig
    advantage: AdvantageConfig
    promote: PromoteConfig
    gate: bool = setting(True, help="let the gate decide who collects next; off: imitation's policy stays champion")
    executor: str = setting("ray", choices=("ray", "local"), semantic=False, help="where steps run")
    tracker: str = setting("mlflow", choices=("mlflow", "none"), semantic=False, help="where metrics are mirrored")
    dashboard: bool = setting(True, semantic=False, help="start Ray's dashboard (loopback only)")

    def __post_init__(self) -> None:
        validate(self)


PRESETS: Registry[Callable[[str], LoopConfig]] = Registry("preset", packages=("pipelines.presets",))
"""Preset name -> function from a task id to the full configuration."""
