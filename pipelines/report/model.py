"""What a report says, as plain frozen data.

Owns the shape of a report: every number, name and picture that the page shows. Knows no file, no store and no HTML:
`collect` fills it from a workspace, `write` turns it into a page. Whatever a killed run has not produced is None or
an empty tuple here, and is named in `ReportData.missing`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from recap.errors import ConfigError
from recap.types import FrameArray, Outcome, Source

_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]*")


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
class Iteration:
    """One turn of the loop, as far as it came."""

    index: int
    recordings: tuple[Recording, ...] | None = None
    training: Training | None = None
    evaluation: Evaluation | None = None
    promotion: str | None = None
    """Verdict of the gate between champion and challenger (PROMOTED, KEPT, UNDECIDED); None where none was held."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """An event at control step `t`: kind +1 milestone, -1 error, 0 neither."""

    t: int
    name: str
    kind: int


def merge_sides(marks: Iterable[Mark]) -> list[Mark]:
    """Marks with the left and the right hand's event of one step and name written as one.

    Example:
        >>> left, right = Mark(t=3, name="grasped_left", kind=0), Mark(t=3, name="grasped_right", kind=0)
        >>> [mark.name for mark in merge_sides([left, right])]
        ['grasped_both']
    """
    groups: dict[Mark, list[Mark]] = {}
    for mark in marks:
        both = Mark(t=mark.t, name=_SIDE.sub("both", mark.name), kind=mark.kind)
        groups.setdefault(both, []).append(mark)
    merged: list[Mark] = []
    for both, group in groups.items():
        merged += [both] if len({mark.name for mark in group}) > 1 else group
    return merged


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FilmRow:
    """The shown frames of one camera."""

    camera: str
    frames: FrameArray
    """[n, h, w, 3] uint8 RGB, one for each of `Film.steps`."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Film:
    """Evenly spaced frames of one attempt."""

    slug: str
    """Name of the picture file: lower-case letters, digits, dashes."""
    title: str
    episode_id: str
    start_seed: int | None
    outcome: Outcome
    length: int
    """T, control steps of the whole attempt."""
    rate_hz: float
    steps: tuple[int, ...]
    """n control steps that are shown."""
    rows: tuple[FilmRow, ...]
    marks: tuple[Mark, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if not _SLUG.fullmatch(self.slug):
            raise ConfigError(
                f"film slug {self.slug!r} cannot name a file: expected lower-case letters, digits, dashes"
            )
        for row in self.rows:
            frames = row.frames
            if frames.ndim != 4 or frames.shape[0] != len(self.steps) or frames.shape[3] != 3:
                raise ConfigError(
                    f"film '{self.slug}', camera '{row.camera}': frames of shape {frames.shape}, "
                    f"expected [{len(self.steps)}, h, w, 3]"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One step of the run's graph and what became of it."""

    name: str
    """E.g. "0/policy"."""
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
    data: DataFacts | None
    settings: Mapping[str, Mapping[str, Any]]
    """{node or group: semantic config as JSON values}"""
    provenance: Provenance
    commands: tuple[Command, ...]
    missing: tuple[str, ...] = ()
    """One sentence for each thing that a finished run would show and this one cannot."""

    @property
    def best_known(self) -> Iteration | None:
        """The latest iteration that was evaluated: what the headline speaks of."""
        return next((i for i in reversed(self.iterations) if i.evaluation is not None), None)
