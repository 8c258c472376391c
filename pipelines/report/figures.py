"""The numbers of a report: what each turn of the loop measured, as plain frozen data.

Owns the shape of evaluations, recordings, trainings, labels, values, advantages and gates. Knows no file, no picture
and no HTML. What a run has not produced is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recap.errors import ConfigError
from recap.types import Outcome, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A measured figure with its 95 % interval; None where no attempt was counted."""

    value: float | None
    low: float | None
    high: float | None


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
    metrics: Mapping[str, Any] = field(default_factory=dict)

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
    mean_steps: float | None
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
class Recording:
    """One attempt of a collection step."""

    start_seed: int | None
    episode_id: str
    outcome: Outcome
    steps: int
    source: Source
    flaw: str | None
    """The structured flaw of the scripted expert; None when it acted cleanly, or none acted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How the policy was trained."""

    steps: int
    seconds: float | None
    """Of all attempts at it in this run; None where another run had trained it."""
    frames: int
    episodes: int
    parameters: int
    loss: tuple[tuple[int, float], ...]
    """(step, loss) pairs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValueTraining:
    """How the labelling value model was trained."""

    model: str
    folds: tuple[Mapping[str, Any], ...]
    """Figures of each fold's model."""
    seconds: float | None
    """Of all attempts at the step in this run; None where another run had made it."""
    loss: Mapping[str, tuple[tuple[int, float], ...]]
    """{curve: (step, loss) pairs}"""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """How the promotion of a challenger was decided."""

    verdict: str
    """PROMOTED, KEPT or UNDECIDED."""
    reason: str
    pairs: int | None
    """Starts that both policies attempted."""
    difference: Estimate | None
    """Challenger minus champion, success in [-1, 1]."""
    champion_id: str
    """Policy that held the place before."""
    challenger_id: str
    by_task: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """{task: pairs, and successes of champion and challenger} where several tasks were asked about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One checkpoint and guidance that was tried on the validation starts."""

    name: str
    guidance: float | None
    successes: int
    attempts: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which candidate the iteration went on with."""

    candidates: tuple[Candidate, ...]
    chosen: str
    split: str


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
    """What the value models were found to be worth."""

    model: str
    figures: Mapping[str, Mapping[str, Any]]
    """{model or control: {figure: JSON value}}, the model first."""
    held_out: bool
    """Taken on episodes that the models had not seen."""
    problems: tuple[str, ...]


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
    """Advantages of one source in B bins."""

    source: str
    negative: tuple[int, ...]
    """[B] frames at or below the threshold."""
    positive: tuple[int, ...]
    """[B] frames above it."""
    forced: tuple[int, ...]
    """[B] frames that are positive because a person acted."""

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
    """N of the task, control steps."""
    edges: tuple[float, ...]
    """[B + 1] ends of the bins; the outer bins also hold what lies beyond."""
    histograms: tuple[Histogram, ...]
    shares: tuple[AdvantageShare, ...]
    beyond: int
    """Frames outside of the edges, counted in the outer bins."""
    not_finite: int
    """Frames without a finite advantage: in no bin."""
    health: Mapping[str, Any]
    """Other figures that the step recorded, as JSON values."""
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayGroup:
    """How closely a policy repeats one group of recorded frames, over the action dimensions of one unit."""

    name: str
    """demos, positive, ..."""
    frames: int
    unit: str
    error: float
    """Mean absolute, in `unit`."""
    keep_state_error: float | None
    """The same of commanding the present state; None where no state stands for the action."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayFacts:
    """What a policy would have done in recorded situations."""

    statement: str
    """What the figures can say, in the step's own words."""
    frames: int
    episodes: int
    groups: tuple[ReplayGroup, ...]
    outside_fraction: float | None
    """Fraction of actions beyond the recorded range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Iteration:
    """One turn of the loop, as far as it came."""

    index: int
    recordings: tuple[Recording, ...] | None = None
    labels: LabelFacts | None = None
    value_training: ValueTraining | None = None
    value: ValueFacts | None = None
    advantage: AdvantageFacts | None = None
    pretraining: Training | None = None
    """Of the weights that every training of the run starts from; in iteration 0 only."""
    training: Training | None = None
    selection: Selection | None = None
    gate: Gate | None = None
    """None where no promotion was at stake."""
    replay: ReplayFacts | None = None
    evaluation: Evaluation | None = None
    difference: Difference | None = None
    """To the first iteration that was evaluated; None for that one, and where the starts were others."""
