"""RunConfig: everything that one `recap run` is made of, and where presets are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipelines.facts import EnvConfig
from pipelines.steps.advantage.step import AdvantageConfig
from pipelines.steps.annotate.step import AnnotateConfig
from pipelines.steps.checkpoint_selection.step import CheckpointSelectionConfig
from pipelines.steps.condition_probe.step import ConditionProbeConfig
from pipelines.steps.evaluate.step import EvaluateConfig
from pipelines.steps.judge.step import JudgeConfig
from pipelines.steps.open_loop_eval.step import OpenLoopEvalConfig
from pipelines.steps.policy.step import PolicyConfig
from pipelines.steps.record.step import DemosConfig, ImportedConfig, RolloutsConfig
from pipelines.steps.value_label.step import ValueLabelConfig
from recap.config import setting, validate
from recap.errors import ConfigError, UnknownName
from recap.gate import GateConfig
from recap.registry import Registry
from recap.training.config import RuntimeConfig
from value_model.returns import ReturnConfig

_OFFLINE = "--collect none --demos DIR --rollouts DIR   (or imitation alone: --collect none --demos DIR --iterations 0)"


ROLES = ("collector", "evaluator", "trainer", "value")
"""Of the workers of a run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutorConfig:
    """Where steps run. None of it changes a result."""

    name: str = setting("ray", choices=("ray", "local"), semantic=False, help="ray or this process")
    address: str | None = setting(
        None, semantic=False, help="Ray cluster to attach to (auto, HOST:PORT); none: a private one on this machine"
    )
    num_cpus: int | None = setting(None, minimum=1, semantic=False, help="CPUs that a private Ray offers")
    role_resources: Mapping[str, Mapping[str, float]] = setting(
        default_factory=dict, semantic=False, help='Ray resources per role, e.g. {"trainer": {"num_gpus": 1}}'
    )
    dashboard: bool = setting(True, semantic=False, help="start Ray's dashboard (loopback only)")

    def __post_init__(self) -> None:
        validate(self)
        for role in self.role_resources:
            if role not in ROLES:
                raise UnknownName.among("role of ExecutorConfig.role_resources", role, ROLES)


@dataclass(frozen=True, kw_only=True, slots=True)
class PretrainConfig:
    """The starting weights of every later training: the policy of the run, trained without advantage condition."""

    steps: int = setting(2000, minimum=0, help="gradient steps")

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """One run of the loop, complete. `--set policy.model.fit.steps=500` changes one field of it."""

    tasks: tuple[str, ...]
    """Ids; several share one policy and one value model."""
    iterations: int = setting(1, minimum=0, maximum=1000, help="RECAP iterations after imitation")
    seed: int = setting(0, minimum=0, help="of trainings, but for that of the starting weights, and of rollouts' noise")
    noise_seed: int = setting(0, minimum=0, help="of the policies' noise where success is measured")
    env: EnvConfig = field(default_factory=EnvConfig)
    demos: DemosConfig = field(default_factory=DemosConfig)
    rollouts: RolloutsConfig = field(default_factory=RolloutsConfig)
    imported: ImportedConfig = field(default_factory=ImportedConfig)
    demos_from: str = setting("", semantic=False, help="offline start: folder of recorded demonstrations")
    rollouts_from: str = setting("", semantic=False, help="offline start: folder of recorded rollouts and corrections")
    robot_from: str = setting("", semantic=False, help="real robot: file that names it and its teleoperator")
    annotate: AnnotateConfig = field(default_factory=AnnotateConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    policy: PolicyConfig
    """Of imitation and of every iteration, with the same number of gradient steps."""
    labels: str = "viva"
    """Name of the arm whose policy is the challenger: a value model of the run, whose values label, or one of
    value_model.arms.ARMS. A value model goes before an arm of its name."""
    arms: tuple[str, ...] = ()
    """Arms beside it, each trained on the same experience from the same base, and evaluated; none is gated."""
    values: Mapping[str, Any]
    """{name: settings of a value model}; those that do not label stand beside it, on the same folds."""
    cross_fit: int = setting(2, minimum=1, maximum=20, help="folds by episode; 1: a model labels what it has seen")
    returns: ReturnConfig = field(default_factory=ReturnConfig)
    value_label: ValueLabelConfig = field(default_factory=ValueLabelConfig)
    judge: JudgeConfig = field(default_factory=JudgeConfig)
    advantage: AdvantageConfig = field(default_factory=AdvantageConfig)
    checkpoint_selection: CheckpointSelectionConfig = field(default_factory=CheckpointSelectionConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    gated: bool = setting(True, help="let the gate decide who collects next; off: imitation's policy stays champion")
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    open_loop_eval: OpenLoopEvalConfig = field(default_factory=OpenLoopEvalConfig)
    condition_probe: ConditionProbeConfig = field(default_factory=ConditionProbeConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    """Where models train, label and act."""
    workers: int = setting(2, minimum=1, maximum=1024, semantic=False, help="workers of a role at once")
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    tracker: str = setting("mlflow", choices=("mlflow", "none"), semantic=False, help="where metrics are mirrored")

    def __post_init__(self) -> None:
        validate(self)
        if not self.tasks:
            raise ConfigError("RunConfig.tasks: no task, expected at least one")
        self._check_arms()
        if self.offline:
            self._check_offline()
        if self.on_robot:
            self._check_on_robot()

    @property
    def offline(self) -> bool:
        """Whether it learns from recorded episodes alone."""
        return bool(self.demos_from or self.rollouts_from)

    @property
    def on_robot(self) -> bool:
        """Whether a real robot makes its attempts."""
        return bool(self.robot_from)

    @property
    def simulated(self) -> bool:
        """Whether it makes its attempts in a world of its own."""
        return not self.offline and not self.on_robot

    def rule(self, arm: str) -> str:
        """The entry of ARMS that an arm of this run labels by; "" of a value model, whose advantage decides."""
        return "" if arm in self.values else arm

    @property
    def judged(self) -> str:
        """The value model that bounds are asked of: the one that labels, else the first; "" without any."""
        return self.labels if self.labels in self.values else next(iter(self.values), "")

    def _check_arms(self) -> None:
        every = (self.labels, *self.arms)
        for arm in every:
            if arm not in self.values:
                from value_model.arms import ARMS

                if arm not in ARMS.names():
                    raise UnknownName.among("arm of labels", arm, [*self.values, *ARMS.names()])
                if ARMS.get(arm).values and not self.values:
                    raise ConfigError(f"arm {arm} reads values, and this run has no value model", hint="--values viva")
        if len(set(every)) != len(every):
            raise ConfigError(f"arms {', '.join(every)}: one is listed twice", hint="name each arm once")
        if self.rule(self.labels) and ARMS.get(self.labels).constant:
            for arm in self.arms:
                if self.rule(arm) and ARMS.get(arm).permutes:
                    raise ConfigError(
                        f"arm {arm} permutes the labels of {self.labels}, which may all be the same",
                        hint="leave that arm out of --arms",
                    )
        if self.arms and not self.iterations:
            raise ConfigError(
                f"--arms {','.join(self.arms)} with 0 iterations: nothing would be labelled", hint="--iterations 1"
            )

    def _check_offline(self) -> None:
        if not self.demos_from:
            raise ConfigError(
                "--rollouts without --demos: the base weights are trained on demonstrations", hint=_OFFLINE
            )
        if len(self.tasks) > 1:
            raise ConfigError(
                f"--task {','.join(self.tasks)} with --collect none: an offline run learns one task",
                hint="recap run --task NAME --collect none --demos DIR --rollouts DIR",
            )
        if self.iterations > 1:
            raise ConfigError(
                f"iterations = {self.iterations} offline: expected 1, or 0 for imitation alone; "
                "a second one needs attempts by the first one's policy",
                hint="record them, then run again with --rollouts on both",
            )
        if self.iterations == 1 and not self.rollouts_from:
            raise ConfigError("--demos without --rollouts: there is nothing to improve on", hint=_OFFLINE)
        if self.iterations == 0 and self.rollouts_from:
            raise ConfigError("--rollouts with 0 iterations: nothing would read them", hint="leave --rollouts out")

    def _check_on_robot(self) -> None:
        if self.offline:
            raise ConfigError("--env with --demos or --rollouts: expected one of them", hint="leave --env out")
        if len(self.tasks) > 1:
            raise ConfigError(
                f"--task {','.join(self.tasks)} with --env: a run on a robot learns one task",
                hint="recap run --task NAME --env FILE",
            )
        if self.arms:
            raise ConfigError(
                f"--arms {','.join(self.arms)} with --env: each would need attempts of its own", hint="leave --arms out"
            )
        if not self.gated:
            raise ConfigError(
                "gated = false with --env: the gate's attempts are the only measurement", hint="--set gated=true"
            )
        if self.condition_probe.attempts:
            raise ConfigError(
                f"condition_probe.attempts = {self.condition_probe.attempts} with --env: expected 0",
                hint="--set condition_probe.attempts=0",
            )


DEFAULT_POLICY = "pi05"
"""Family of the policy where neither the command nor its preset says one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """Which families a run is made of, by name."""

    policy: str = ""
    """"": the preset's."""
    value: str = "viva"
    """Whose values label; "": none is trained for that."""
    beside: tuple[str, ...] = ("clock", "state_only")
    """Value models that stand beside it."""
    labels: str = ""
    """Arm whose labels train; "": that of the value model."""


class Preset(Protocol):
    """A size of the loop."""

    def __call__(self, tasks: tuple[str, ...], models: Models) -> RunConfig:
        """The full configuration."""
        ...


PRESETS: Registry[Preset] = Registry("preset", packages=("pipelines.presets",))
