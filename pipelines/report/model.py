"""What a report says, as plain frozen data.

Owns the shape of a report as a whole; its numbers are in `figures`, its films in `pictures`. Knows no file, no store
and no HTML: `collect` fills it from a workspace, `write` turns it into a page. Whatever a killed run has not produced
is None or an empty tuple here, and is named in `ReportData.missing`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.report.figures import Iteration
from pipelines.report.pictures import Film, ValueStrip
from recap.graph import NodeName


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
    strips: tuple[ValueStrip, ...]
    data: DataFacts | None
    settings: Mapping[str, Mapping[str, Any]]
    """{node or group: semantic config as JSON values}"""
    provenance: Provenance
    commands: tuple[Command, ...]
    tasks: tuple[str, ...] = ()
    """In a run of several tasks all of them; this page tells of `task`, and what is of all stands on the first page."""
    missing: tuple[str, ...] = ()
    """One sentence for each thing that a finished run would show and this one cannot."""

    @property
    def best_known(self) -> Iteration | None:
        """The latest iteration that was evaluated: what the headline speaks of."""
        return next((i for i in reversed(self.iterations) if i.evaluation is not None), None)

    def plans(self, stage: str) -> bool:
        """Whether the run's graph holds this stage in some iteration, begun or not."""
        return any(NodeName.parse(node.name).stage == stage for node in self.nodes)
