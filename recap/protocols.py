"""The seams of recap: two or three methods each. A plug-in implements one and registers itself.

Shapes as in recap.types. Randomness enters only through the seeds passed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from recap.specs import RobotSpec
from recap.types import FloatArray, FrameArray, Observation, PrivilegedTruth

JobT = TypeVar("JobT", contravariant=True)
ResultT = TypeVar("ResultT", covariant=True)


class Policy(Protocol):
    """Turns an observation into a chunk of actions."""

    @property
    def policy_id(self) -> str:
        """Identity of the weights; recorded in every episode the policy acts in."""
        ...

    @property
    def execute(self) -> int:
        """Actions of a chunk to send before the policy looks again, 1..H."""
        ...

    def act(self, observation: Observation, *, noise_seed: int) -> FloatArray:
        """[H, A] actions in robot units. The same observation and seed give the same chunk."""
        ...


class Robot(Protocol):
    """A thing that moves, simulated or real."""

    @property
    def spec(self) -> RobotSpec: ...

    def reset(self, seed: int) -> None:
        """Brings the scene to the start state of `seed` (a person does, on a real robot)."""
        ...

    def state(self) -> FloatArray:
        """[S] proprioception now."""
        ...

    def frames(self) -> dict[str, FrameArray]:
        """{camera: [h, w, 3] uint8} now."""
        ...

    def step(self, action: FloatArray) -> None:
        """Sends [A] and lets one control period pass."""
        ...

    def close(self) -> None: ...


class SimulatedRobot(Robot, Protocol):
    """A robot whose world can be asked for the truth."""

    @property
    def renderer(self) -> str: ...

    @property
    def finished(self) -> bool:
        """True once the attempt is over: success, time-out, lost object or broken physics."""
        ...

    def truth(self) -> PrivilegedTruth:
        """The truth of the attempt since reset, one entry per step taken."""
        ...


class Worker(Protocol[JobT, ResultT]):
    """Long-lived: built once, then given jobs. Owns its simulator, model copy, ..."""

    def run(self, job: JobT) -> ResultT: ...

    def close(self) -> None: ...


class Journal(Protocol):
    """Where a step or a worker says how it is getting on. Append-only; the driver reads it."""

    def progress(self, done: int, total: int, unit: str) -> None: ...

    def metrics(self, values: Mapping[str, float], *, step: int) -> None: ...


class Executor(Protocol):
    """Where work happens: in this process, or in Ray actors."""

    @property
    def name(self) -> str: ...

    def map(
        self,
        role: str,
        make_worker: Callable[..., Worker[Any, Any]],
        worker_args: tuple[Any, ...],
        jobs: Sequence[Any],
        on_result: Callable[[int, Any], None],
        *,
        num_workers: int,
    ) -> None:
        """Runs every job on a pool of workers named `{role}-0`, `{role}-1`, ...; results arrive as they finish.

        `make_worker(*worker_args)` is called once per worker, in the worker's process. A worker that dies costs the
        job in flight one attempt. `on_result(job_index, result)` runs in the calling process.
        """
        ...

    def call(self, role: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Runs `function(*args)` once in the long-lived worker named `{role}-0` and returns what it returns."""
        ...

    def close(self) -> None: ...


class RunObserver(Protocol):
    """Told by the runner what happens to each node of the graph."""

    def on_event(self, event: Mapping[str, Any]) -> None: ...


class BatchSource(Protocol):
    """Training batches, addressable by number: batch(i) is a pure function of i, so a resume needs no data state."""

    def batch(self, step: int) -> Mapping[str, Any]: ...


PathLike = str | Path
