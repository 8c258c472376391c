"""LoopConfig: everything that one `recap run` is made of, and where presets are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from pipelines.steps.advantage import AdvantageConfig
from pipelines.steps.annotate import AnnotateConfig
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
from recap.config import setting, validate
from recap.errors import ConfigError
from recap.registry import Registry

_OFFLINE = "--collect none --demos DIR --rollouts DIR   (or imitation alone: --collect none --demos DIR --iterations 0)"


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
    health: HealthConfig
    advantage: AdvantageConfig
    promote: PromoteConfig
    ingest: IngestConfig
    replay: ReplayConfig
    demos: str = setting("", semantic=False, help="offline start: folder of recorded demonstrations")
    rollouts: str = setting("", semantic=False, help="offline start: folder of recorded rollouts and corrections")
    gate: bool = setting(True, help="let the gate decide who collects next; off: imitation's policy stays champion")
    executor: str = setting("ray", choices=("ray", "local"), semantic=False, help="where steps run")
    tracker: str = setting("mlflow", choices=("mlflow", "none"), semantic=False, help="where metrics are mirrored")
    dashboard: bool = setting(True, semantic=False, help="start Ray's dashboard (loopback only)")

    def __post_init__(self) -> None:
        validate(self)
        if self.offline:
            self._check_offline()

    @property
    def offline(self) -> bool:
        """Whether it learns from recorded episodes alone (pipelines/offline.py)."""
        return bool(self.demos or self.rollouts)

    def _check_offline(self) -> None:
        if not self.demos:
            raise ConfigError(
                "--rollouts without --demos: the base weights are trained on demonstrations", hint=_OFFLINE
            )
        if self.iterations > 1:
            raise ConfigError(
                f"iterations = {self.iterations} offline: expected 1, or 0 for imitation alone; "
                "a second one needs attempts by the first one's policy",
                hint="record them, then run again with --rollouts on both",
            )
        if self.iterations == 1 and not self.rollouts:
            raise ConfigError("--demos without --rollouts: there is nothing to improve on", hint=_OFFLINE)
        if self.iterations == 0 and self.rollouts:
            raise ConfigError("--rollouts with 0 iterations: nothing would read them", hint="leave --rollouts out")


PRESETS: Registry[Callable[[str], LoopConfig]] = Registry("preset", packages=("pipelines.presets",))
"""Preset name -> function from a task id to the full configuration."""
