"""The nouns of recap: what an episode is, what a person says of it, what the simulator knows of it.

Plain frozen records; no file, no torch, no policy. Array fields state shape, dtype, unit.

Letters: T steps of one episode, S state dimensions, A action dimensions, H action-chunk length, h w image size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
FrameArray = NDArray[np.uint8]
IntArray = NDArray[np.int64]


class Source(StrEnum):
    """Who acted while an episode was recorded."""

    DEMO = "demo"
    """A human, or the scripted expert that stands in for one, acted throughout."""
    ROLLOUT = "rollout"
    """A policy acted throughout."""
    CORRECTION = "correction"
    """A policy acted and a human took over for the spans marked in `intervened`."""


class Outcome(StrEnum):
    """How an attempt ended. A time-out is a FAILURE; ABORTED attempts get no return, label or advantage."""

    SUCCESS = "success"
    FAILURE = "failure"
    ABORTED = "aborted"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EpisodeDraft:
    """One attempt as recorded, before it has an id. Observation t is what was seen before action t was sent."""

    task: str
    """Task id, e.g. "shirt_folding"."""
    robot: str
    """Robot id, e.g. "sim_bimanual"."""
    source: Source
    policy_id: str | None
    """Identity of the policy that acted; None when none did."""
    rate_hz: float
    """Control rate, > 0."""
    start_seed: int | None
    """Seed of the start state in simulation; None on a real robot."""
    renderer: str | None
    """Image backend in simulation ("egl", "osmesa", "ray"); None for real cameras."""
    state: FloatArray
    """[T, S] proprioception, in the units of the RobotSpec."""
    action: FloatArray
    """[T, A] command sent at each step, in the units of the RobotSpec."""
    intervened: BoolArray
    """[T] True where a human or the expert acted."""
    frames: Mapping[str, FrameArray]
    """{camera: [T, h, w, 3] uint8 RGB}. Lazy in a stored episode: decoded on access."""
    instruction: str | None = None
    """What the robot was told, in words; None: the prompt of its task, as the task says it today."""
    software: Mapping[str, str] = field(default_factory=dict)
    """Versions that made it (simulator, recap). Recorded, not part of the identity."""
    asked: FloatArray | None = None
    """[T, A] what the robot was asked to do, where it sent something else; None: it sent what it was asked."""
    stale: BoolArray | None = None
    """[T] True where a reading of the robot or the teleoperator failed and an earlier one stood in; None: nowhere."""

    @property
    def length(self) -> int:
        """T, the number of control steps."""
        return int(self.state.shape[0])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Episode(EpisodeDraft):
    """A committed attempt. `id` is the sha256 (hex) of the recorded content; labels never change it."""

    id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened at step `t`, as the simulator knows it (e.g. "missed_grasp_left")."""

    t: int
    name: str
    kind: int
    """+1 milestone, -1 error, 0 neither."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PrivilegedTruth:
    """What only the simulator knows. No model may read it.

    A sidecar for tests, for the evaluation of value models and for the oracle control.
    """

    progress: FloatArray
    """[T] true task progress in [0, 1]; NaN throughout where the world has no measure of it."""
    stage: IntArray
    """[T] index of the sub-stage being worked on."""
    events: tuple[Event, ...]
    outcome: Outcome
    """The task detector's verdict."""
    metrics: Mapping[str, float]
    """Detector figures at the end (e.g. paired_vertex_error_m)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyFrame:
    """A moment that a person marked: +1 milestone, -1 error."""

    t: int
    kind: int
    text: str = ""


JUDGED = (Outcome.SUCCESS, Outcome.FAILURE)
"""Outcomes with which an attempt counts: it has a return."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """What a person (or an importer, or the task detector) says of an episode. Absent is absent, never assumed."""

    episode_id: str
    outcome: Outcome
    key_frames: tuple[KeyFrame, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Observation:
    """What a policy sees before it acts."""

    state: FloatArray
    """[S]"""
    frames: Mapping[str, FrameArray]
    """{camera: [h, w, 3] uint8 RGB}"""
    prompt: str
    """The task in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """Result of one evaluation attempt."""

    start_seed: int
    outcome: Outcome
    steps: int
    """Control steps used."""
    inference_s: float
    """Seconds of inference beyond the control period, summed over the attempt."""
    human_steps: int = 0
    """Steps with a human acting; an attempt with any is not a success."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
