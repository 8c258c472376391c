"""What a report says, as plain frozen data: what a turn of the loop measured, and what became of the run.

`read` and `collect` fill it from a workspace, `write` turns it into a page. Where a step's own output says it, that
output stands here. Whatever a killed run has not produced is None or empty, and is named in `ReportData.missing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pipelines.report.pictures import Film, ValueStrip
from pipelines.steps.checkpoint_selection.outputs import Selection
from pipelines.steps.condition_probe.outputs import ConditionProbe
from pipelines.steps.gate.outputs import GateResult
from pipelines.steps.open_loop_eval.outputs import OpenLoopEval
from pipelines.steps.record.outputs import RecordedAttempt
from recap.errors import ConfigError
from recap.graph import NodeName
from recap.stats import Estimate
from recap.types import Outcome
from value_model.metrics import Figure

Curve = tuple[tuple[int, float], ...]
"""(gradient step, loss) pairs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One evaluation attempt."""

    start_seed: int
    outcome: Outcome
    steps: int
    """Control steps used."""
    inference_s: float | None
    """Seconds of inference beyond the control period; None where it was not kept."""
    human_steps: int

    @property
    def counts_as_success(self) -> bool:
        """An attempt with any human action is not a success."""
        return self.outcome is Outcome.SUCCESS and self.human_steps == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What a policy achieved on start states that no choice was made on."""

    split: str
    policy_id: str
    attempts: int
    """Attempts that `success` is a share of."""
    successes: int
    success: Estimate
    """Share of attempts in [0, 1], Wilson interval."""
    throughput: Estimate
    """Successes per hour of robot time."""
    mean_steps: float
    trials: tuple[Trial, ...]

    def __post_init__(self) -> None:
        counted = sum(trial.counts_as_success for trial in self.trials)
        if counted != self.successes:
            raise ConfigError(
                f"evaluation of policy '{self.policy_id}': the summary says {self.successes} successes, "
                f"its list of attempts holds {counted} without human action",
                hint="recap verify",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How the policy was trained."""

    steps: int
    seconds: float | None
    """Of all attempts at it in this run; None where another run had trained it."""
    frames: int
    episodes: int
    parameters: int
    loss: Curve


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueTraining:
    """How the labelling value model was trained."""

    folds: tuple[Mapping[str, float], ...]
    """Figures of each fold's model."""
    seconds: float | None
    """Of all attempts at the step in this run; None where another run had made it."""
    loss: Mapping[str, Curve]
    """{curve: pairs}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Success of one iteration minus that of another over the same starts."""

    since: int
    """The iteration that is subtracted."""
    estimate: Estimate
    """In [-1, 1], paired score interval."""
    starts: int
    same_policy: bool
    """Whether both evaluated one and the same policy, so that nothing could differ but chance."""

    @property
    def base(self) -> str:
        """What the other iteration is called."""
        return "imitation" if self.since == 0 else f"iteration {self.since}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFacts:
    """Where the labels of episodes came from."""

    sources: Mapping[str, int]
    """{detector | imported | human: episodes}"""
    skipped: int
    """Episodes without a label: nothing is learned from them."""
    outcomes: Mapping[str, int]
    """{outcome: episodes}"""
    milestones: int
    errors: int
    """Key frames of either kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueFacts:
    """What the value models were found to be worth on the task."""

    model: str
    figures: Mapping[str, Mapping[str, Figure]]
    """{model or control: {name: figure}}, the labelling model first."""
    held_out: bool
    """Taken on episodes that the models had not seen."""
    problems: tuple[str, ...]
    differences: Mapping[str, Figure] = field(default_factory=dict)
    """{"FIGURE_minus_OTHER": a flaw AUC of the labelling model minus the other's}."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvantageShare:
    """Labels of one part of the data."""

    source: str
    """demo, rollout or correction."""
    iteration: int | None
    """That recorded it; None where the run does not say."""
    episodes: int
    frames: int
    positive: int
    """Frames, forced ones among them."""
    forced: int
    """Frames that are positive because a person acted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Histogram:
    """Advantages of one source: frames in each of B bins."""

    source: str
    negative: tuple[int, ...]
    """At or below the threshold."""
    positive: tuple[int, ...]
    """Above it."""
    forced: tuple[int, ...]
    """Positive because a person acted."""

    @property
    def frames(self) -> int:
        """All of them."""
        return sum(self.negative) + sum(self.positive) + sum(self.forced)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvantageFacts:
    """Advantages and the labels made of them."""

    threshold: float | None
    """Of the run's task."""
    lookahead: int | None
    """N of the task, control steps; None where an advantage looks to the end of the episode or at all horizons."""
    edges: tuple[float, ...]
    """[B + 1] ends of the bins; the outer bins also hold what lies beyond."""
    histograms: tuple[Histogram, ...]
    shares: tuple[AdvantageShare, ...]
    beyond: int
    """Frames outside of the edges, counted in the outer bins."""
    not_finite: int
    """Frames without a finite advantage: in no bin."""
    health: Mapping[str, float]
    """Other figures that the step recorded."""
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Iteration:
    """One turn of the loop, as far as it came."""

    index: int
    recordings: tuple[RecordedAttempt, ...] | None = None
    """Those that somebody judged."""
    labels: LabelFacts | None = None
    value_training: ValueTraining | None = None
    value: ValueFacts | None = None
    advantage: AdvantageFacts | None = None
    pretraining: Training | None = None
    """Of the weights that every training of the run starts from; in iteration 0 only."""
    training: Training | None = None
    selection: Selection | None = None
    gate: GateResult | None = None
    """None where no promotion was at stake."""
    open_loop: OpenLoopEval | None = None
    evaluation: Evaluation | None = None
    difference: Difference | None = None
    """To the first iteration that was evaluated; None for that one, and where the starts were others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmResult:
    """What the labels of one arm gave, or imitation."""

    iteration: int
    arm: str
    beside: bool
    """Trained and evaluated beside the main arm, never gated."""
    success: Estimate | None
    """On the starts of `split`; None where it was not evaluated."""
    split: str
    positive: float | None
    """Share of all frames that are positive; None of imitation, which has no labels."""
    probe: ConditionProbe | None


class NodeState(StrEnum):
    """How far a node of the run's graph has come."""

    DONE = "done"
    """Its outputs are committed; this run executed it."""
    CACHED = "cached"
    """Its outputs are committed; another run computed them."""
    RUNNING = "running"
    FAILED = "failed"
    """The last attempt raised an error."""
    INTERRUPTED = "interrupted"
    """A person stopped it."""
    KILLED = "killed"
    """Its process died."""
    WAITING = "waiting"
    """It needs a person's labels."""
    PENDING = "pending"
    """Not begun."""

    @property
    def finished(self) -> bool:
        """Whether its outputs are there."""
        return self in (NodeState.DONE, NodeState.CACHED)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One step of the run's graph and what became of it."""

    name: NodeName
    step: str
    """The registered step, e.g. "policy"."""
    state: NodeState
    seconds: float | None = None
    """Wall clock of the attempts that this run made; None when none ended."""
    attempts: int = 0
    key: str = ""
    progress: str = ""
    """Last reported progress of an unfinished attempt, e.g. "300 of 2000 steps"."""
    error: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataFacts:
    """The episodes behind the report."""

    episodes: int
    frames: int
    """Control steps, each with one frame per camera."""
    bytes: int
    cameras: tuple[str, ...]
    renderers: tuple[str, ...]
    """Image backends in simulation; empty for real cameras."""
    sources: Mapping[str, int]
    """{source: episodes}"""
    software: Mapping[str, str]
    """Versions that recorded them (simulator, recap)."""
    rate_hz: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where the numbers come from."""

    facts: tuple[tuple[str, str], ...]
    """(label, value) pairs: git commit, host, times, command line."""
    versions: Mapping[str, str]
    """{library: version}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """A line to type next."""

    purpose: str
    line: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReportData:
    """Everything a report shows."""

    run_name: str
    task: str
    prompt: str
    """The instruction, in words."""
    success_definition: str
    simulated: bool | None
    """None while no episode says so."""
    generated: float
    """Seconds since the epoch, UTC."""
    iterations: tuple[Iteration, ...]
    nodes: tuple[Node, ...]
    films: tuple[Film, ...]
    strips: tuple[ValueStrip, ...]
    data: DataFacts | None
    settings: Mapping[str, Mapping[str, Any]]
    """{node or group: semantic config as JSON values}"""
    provenance: Provenance
    commands: tuple[Command, ...]
    tasks: tuple[str, ...] = ()
    """In a run of several tasks all of them; this page tells of `task`, and what is of all stands on the first page."""
    arms: tuple[ArmResult, ...] = ()
    """Imitation and the arms of labels, where there are several or their condition was probed."""
    missing: tuple[str, ...] = ()
    """One sentence for each thing that a finished run would show and this one cannot."""

    @property
    def evaluated(self) -> list[Iteration]:
        """The iterations that were evaluated; the headline speaks of the last."""
        return [i for i in self.iterations if i.evaluation is not None]

    def plans(self, stage: str) -> bool:
        """Whether the run's graph holds this stage in some iteration, begun or not."""
        return any(node.name.stage == stage for node in self.nodes)
