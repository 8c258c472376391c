"""The seams of recap: two or three methods each. A plug-in implements one and registers itself.

Shapes as in recap.types. Randomness enters only through the seeds passed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

from recap.specs import RobotSpec
from recap.types import FloatArray, Observation, PrivilegedTruth

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


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyFacts:
    """What a policy says of what it sees and does."""

    prompts: tuple[str, ...]
    """Instructions that it was trained on, in words."""
    cameras: tuple[str, ...]
    state_names: tuple[str, ...]
    """S names, in order."""
    action_names: tuple[str, ...]
    """A names, in order."""
    chunk: int | None
    """H, actions per call; None: it does not say."""
    conditions: tuple[str, ...]
    """Words of the advantage conditions that it can be told (policy.conditioning), "" for none."""
    condition: str
    """Words of the one that it acts by."""
    guidance: float
    """beta that it acts with; 1 is without guidance."""


@runtime_checkable
class ServedPolicy(Policy, Protocol):
    """A policy that answers several robots in one pass, each as if it were alone."""

    @property
    def facts(self) -> PolicyFacts: ...

    def check(self, observation: Observation) -> None:
        """ConfigError, with what is wrong, for an observation that it cannot act on. Costs no pass."""
        ...

    def told(self, condition: str, guidance: float) -> Self:
        """The same weights, told another condition and guidance. Costs no copy.

        Raises:
            ConfigError: it cannot be told so.
        """
        ...

    def act_batch(self, observations: Sequence[Observation], *, noise_seeds: Sequence[int]) -> FloatArray:
        """[B, H, A], each chunk that of `act` up to rounding, whatever else is in the batch."""
        ...


class PolicyClient(Protocol):
    """A policy, wherever it runs: in this process, in a worker, behind a socket."""

    @property
    def policy_id(self) -> str:
        """As `Policy.policy_id`."""
        ...

    @property
    def execute(self) -> int:
        """As `Policy.execute`."""
        ...

    def infer(self, observations: Sequence[Observation], seeds: Sequence[int]) -> list[FloatArray]:
        """One [H, A] chunk per observation, each a function of that observation and its noise seed alone."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Capabilities:
    """What a task's environment can do. Asked before anything runs."""

    simulated_time: bool = False
    """Time passes in `step` only, and `reset` brings the start state of its seed."""
    expert: bool = False
    """There is a scripted demonstrator."""
    takeover: bool = False
    """There is an expert that corrects a policy, and the truth has the progress that its supervisor watches."""
    progress: bool = False
    """The truth has a measure of progress."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sent:
    """What became of an action."""

    action: FloatArray
    """[A] what was sent, as the environment says."""
    asked: FloatArray
    """[A] what it was asked to do."""
    stale: str = ""
    """Why this step went on with an earlier reading; "" if it did not."""


class Env(Protocol):
    """Where attempts happen: MuJoCo, a gymnasium environment, a robot."""

    @property
    def spec(self) -> RobotSpec: ...

    @property
    def capabilities(self) -> Capabilities: ...

    @property
    def renderer(self) -> str | None:
        """Image backend in simulation; None for real cameras."""
        ...

    @property
    def software(self) -> Mapping[str, str]:
        """{package or device: version or name} that recordings rest on."""
        ...

    @property
    def finished(self) -> bool:
        """True once the attempt is over by itself: success, time-out, lost object, broken physics. Robots never are."""
        ...

    def reset(self, seed: int) -> None:
        """Brings the scene to the start state of `seed` (a person does, on a real robot)."""
        ...

    def observe(self, *, draw: bool = True) -> Observation:
        """What is seen now. Without `draw` the frames may be left out, which is quicker in simulation."""
        ...

    def step(self, action: FloatArray) -> Sent:
        """Sends [A] and lets one control period pass."""
        ...

    def close(self) -> None: ...


class SimulatedEnv(Env, Protocol):
    """An environment that can be asked for the truth."""

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """One of several processes that work on the same thing at once."""

    rank: int
    """0 .. world_size - 1."""
    world_size: int
    local_rank: int
    """Among those of the same machine."""
    address: str
    """host:port that rank 0 may listen on."""


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

    def together(self, role: str, function: Callable[..., Any], args: tuple[Any, ...], *, processes: int) -> Any:
        """Runs `function(*args, place)` at once in `{role}-0` .. `{role}-{processes - 1}`; what rank 0 returned.

        When one of them dies or fails all are ended.
        """
        ...

    def close(self) -> None: ...


class RunObserver(Protocol):
    """Told by the runner what happens to each node of the graph."""

    def on_event(self, event: Mapping[str, Any]) -> None: ...


class BatchSource(Protocol):
    """Training batches, addressable by number: batch(i) is a pure function of i, so a resume needs no data state."""

    def batch(self, step: int) -> Mapping[str, Any]: ...


PathLike = str | Path
