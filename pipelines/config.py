"""LoopConfig: everything that one `recap run` is made of, and where presets are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.steps.collect import CollectConfig
from pipelines.steps.evaluate import EvaluateConfig
from pipelines.steps.policy import PolicyConfig
from recap.config import setting, validate
from recap.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class LoopConfig:
    """One run of the loop, complete. `--set policy.model.fit.steps=500` changes one field of it."""

    task: str
    """Task id."""
    collect: CollectConfig
    policy: PolicyConfig
    evaluate: EvaluateConfig
    executor: str = setting("ray", choices=("ray", "local"), semantic=False, help="where steps run")
    tracker: str = setting("mlflow", choices=("mlflow", "none"), semantic=False, help="where metrics are mirrored")
    dashboard: bool = setting(True, semantic=False, help="start Ray's dashboard (loopback only)")

    def __post_init__(self) -> None:
        validate(self)


PRESETS: Registry[Callable[[str], LoopConfig]] = Registry("preset", packages=("pipelines.presets",))
"""Preset name -> function from a task id to the full configuration."""
