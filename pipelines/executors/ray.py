"""Jobs run in long-lived named Ray actors: `collector-0`, `evaluator-1`, `trainer-0`, ...

Owns which actor does which job, and what happens when one dies. The actor's inside is host.py, the cluster session.py.
An actor outlives the step: a later step of the same role finds it warm, with its worker if the worker is the same.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.executors import session
from pipelines.executors.base import (
    ATTEMPTS_PER_JOB,
    EXECUTORS,
    ExecutorSettings,
    describe,
    signature_of,
)
from pipelines.executors.host import Reply
from pipelines.executors.replies import died, left_by_another, open_reply, shortly, telling
from pipelines.executors.seats import Seat, kill, last_words, places
from pipelines.roots import ROOT_PACKAGES, project_root
from recap.errors import ConfigError
from recap.protocols import Worker

_NAME_FREED_WITHIN_S = 20.0
_CLOSE_WITHIN_S = 10.0
_DEATH_KNOWN_WITHIN_S = 10.0
_SEATED_WITHIN_S = 600.0


@dataclass(slots=True)
class _Round:
    """The book-keeping of one `map`."""

    waiting: deque[int]
    deaths: dict[int, int] = field(default_factory=dict)
    error: BaseException | None = None


class RayExecutor:
    """Implements recap.protocols.Executor on Ray. Nothing is started before the first job.

    `address=None` starts a private cluster on loopback; an address attaches to that cluster; a process that has already
    called `ray.init` is used as it is. A private cluster ends with `close`.
    """

    name = "ray"

    def __init__(self, settings: ExecutorSettings) -> None:
        self._settings = settings
        self._seats: dict[str, Seat] = {}
        self._session: dict[str, Any] | None = None
        self._private = False
        self.dashboard_url: str | None = None

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
        """Results arrive in the order they finish.

        A job that raises ends the map: what is in flight is waited for and delivered, then its error is raised here,
        of its own type. A worker that dies is replaced and its job given again.

        Raises:
            WorkerDied: the same job's worker, or a worker under construction, died ATTEMPTS_PER_JOB times.
        """
        if num_workers < 1:
            raise ConfigError(f"{role}: {num_workers} workers, expected at least 1")
        if not jobs:
            return
        self.start()
        from ray import cloudpickle

        signature = signature_of(make_worker, worker_args)
        recipe = cloudpickle.dumps((make_worker, worker_args))
        round_ = _Round(deque(range(len(jobs))))
        seats = self._take_seats(role, min(num_workers, len(jobs)))
        try:
            for seat in seats:
                if signature is None or seat.signature != signature:
                    self._build(seat, recipe)
                else:
                    self._give(seat, jobs, round_)
            while busy := [seat for seat in seats if seat.pending is not None]:
                for seat in self._finished(busy):
                    self._settle(seat, role, recipe, signature, jobs, on_result, round_)
        finally:
            self._abandon(seats)
        if round_.error is not None:
            raise round_.error

    def call(self, role: str, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Runs it in `{role}-0`. If that process dies it is run again, from what it left on disk, in a fresh one."""
        return self._at_once(role, function, args, None)

    def together(self, role: str, function: Callable[..., Any], args: tuple[Any, ...], *, processes: int) -> Any:
        """As `call` in several processes. If one dies all are run again, from what they left on disk, in fresh ones."""
        for name, seat in list(self._seats.items()):  # idle, and reserving what these may wait for
            if (other := name.rpartition("-")[0]) != role and self._settings.role_resources.get(other):
                self._dismiss(seat)
        return self._at_once(role, function, args, processes)

    def _at_once(self, role: str, function: Callable[..., Any], args: tuple[Any, ...], processes: int | None) -> Any:
        self.start()
        what = f"{role} call {getattr(function, '__qualname__', describe(function))}"
        for attempt in range(1, ATTEMPTS_PER_JOB + 1):
            seats = self._take_seats(role, processes or 1)
            try:
                reply, lost, death = self._attempt(seats, function, args, alone=processes is None)
            finally:
                self._abandon(seats)
            if processes is not None and not (reply and reply[0]):  # what is left of a broken group
                for seat in seats:
                    self._dismiss(seat)
            if reply is not None:
                return open_reply(reply)
            self._dismiss(lost)
            if attempt == ATTEMPTS_PER_JOB:
                raise died(what, attempt, death, last_words(lost))
            self._tell_death(lost, what, death)
        raise AssertionError("unreachable")

    def _attempt(
        self, seats: list[Seat], function: Callable[..., Any], args: tuple[Any, ...], *, alone: bool
    ) -> tuple[Reply | None, Seat, str]:
        """(the reply, or None if a process was lost; that one; how)."""
        from ray import cloudpickle

        given = [args]
        if not alone:
            seats[0].pending = seats[0].actor.address.remote()
            address, death = self._collect(seats[0])
            if address is None:
                return None, seats[0], death
            given = [(*args, place) for place in places(seats, address)]
        for seat, own in zip(seats, given, strict=True):
            seat.pending = seat.actor.call.remote(cloudpickle.dumps((function, own)))
        replies, dead, death = self._replies(seats)
        if dead is not None:
            return None, dead, death
        reply = telling(replies)
        # Of a machine that is lost its peers complain long before Ray is sure of it.
        left = left_by_another(reply)
        return None if left else reply, seats[0], left

    def _replies(self, seats: list[Seat]) -> tuple[list[Reply], Seat | None, str]:
        """(what they replied, the one that died, how). Where one fails, the others are not waited for long."""
        replies: dict[str, Reply] = {}
        until = math.inf
        while (busy := [seat for seat in seats if seat.pending is not None]) and time.monotonic() < until:
            for seat in self._finished(busy, until):
                reply, death = self._collect(seat)
                if reply is None:
                    return [], seat, death
                replies[seat.name] = reply
                if not reply[0]:
                    # A process that is left by another fails before Ray knows that the other died.
                    until = min(until, time.monotonic() + _DEATH_KNOWN_WITHIN_S)
        return [replies[seat.name] for seat in seats if seat.name in replies], None, ""

    def start(self) -> None:
        """Starts or joins Ray now; does nothing if that is done."""
        if self._session is not None:
            return
        if not self._settings.address and not session.is_connected():
            self._session = session.start(self._settings)
            self._private = True
        else:
            self._session = self._attach()
        self.dashboard_url = self._session["dashboard_url"]
        self._settings.on_event(
            {
                "kind": "executor_started",
                "executor": self.name,
                "private": self._private,
                "dashboard_url": self.dashboard_url,
                "seconds": round(self._session["seconds"], 3),
            }
        )

    def close(self) -> None:
        """Closes the workers and, if it is ours, the cluster. The executor may be used again."""
        if self._session is None:
            return
        import ray

        seats = list(self._seats.values())
        try:
            if session.is_connected():
                closing = [seat.actor.close.remote() for seat in seats]
                if closing:
                    ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_WITHIN_S)
                for seat in seats:
                    ray.kill(seat.actor)
        finally:
            self._seats.clear()
            ended, self._session = self._session, None
            if self._private:
                ray.shutdown()
                session.restore_environment(ended["environment"])
            self._private = False

    def pids(self) -> dict[str, int]:
        """{actor name: process id}, for tests and for people looking for a process."""
        return {name: seat.pid for name, seat in self._seats.items()}

    def _attach(self) -> dict[str, Any]:
        import ray

        began = time.monotonic()
        if ray.is_initialized():
            url = ray._private.worker.get_dashboard_url()
        else:
            context = ray.init(
                address=self._settings.address,
                namespace=self._settings.namespace,
                log_to_driver=False,
                logging_level="error",
            )
            url = context.dashboard_url
        return {"dashboard_url": f"http://{url}" if url else None, "seconds": time.monotonic() - began}

    def _take_seats(self, role: str, count: int) -> list[Seat]:
        """`{role}-0` .. `{role}-{count - 1}`, made where they are missing, all at once."""
        names = [f"{role}-{number}" for number in range(count)]
        made = {name: self._create(name) for name in names if name not in self._seats}
        for name, actor in made.items():
            self._seats[name] = self._seated(name, actor)
        return [self._seats[name] for name in names]

    def _create(self, name: str) -> Any:
        import ray

        from pipelines.executors import host

        ray.cloudpickle.register_pickle_by_value(host)
        try:
            actor_class = ray.remote(host.Host)
            options: dict[str, Any] = {
                "name": name,
                "namespace": self._settings.namespace,
                "max_restarts": 0,
                "num_cpus": 0,
                **self._settings.role_resources.get(name.rpartition("-")[0], {}),
            }
            if not self._private:
                # Another cluster's processes do not inherit our environment.
                passed = {
                    key: os.environ[key] for key in ("MUJOCO_GL", "RECAP_FAULT", "RECAP_TASKS") if key in os.environ
                }
                options["runtime_env"] = {"env_vars": {**session.WORKER_ENV, **passed}}
            deadline = time.monotonic() + _NAME_FREED_WITHIN_S
            while True:
                try:
                    return actor_class.options(**options).remote(str(project_root()), ROOT_PACKAGES, tuple(sys.path))
                except ValueError:  # the name of an actor that just died is freed a moment later
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
        finally:
            ray.cloudpickle.unregister_pickle_by_value(host)

    def _seated(self, name: str, actor: Any) -> Seat:
        import ray

        try:
            hello = ray.get(actor.hello.remote(), timeout=_SEATED_WITHIN_S)
        except ray.exceptions.GetTimeoutError as error:
            kill(actor)
            raise ConfigError(
                f"{name} was not started within {_SEATED_WITHIN_S:.0f} s: the cluster has no room for it",
                hint="compare executor.role_resources and runtime.processes with what the cluster has: ray status",
            ) from error
        return Seat(name=name, actor=actor, **hello)

    def _build(self, seat: Seat, recipe: bytes) -> None:
        seat.signature = None
        seat.job = None
        seat.pending = seat.actor.build.remote(recipe)

    def _give(self, seat: Seat, jobs: Sequence[Any], round_: _Round) -> None:
        """The next job, if there is one and none has failed."""
        if not round_.waiting or round_.error is not None:
            return
        from ray import cloudpickle

        seat.job = round_.waiting.popleft()
        seat.pending = seat.actor.run.remote(cloudpickle.dumps(jobs[seat.job]))

    def _finished(self, busy: list[Seat], until: float = math.inf) -> list[Seat]:
        """Blocks until one of them is done or it is that late; in short waits, so that Ctrl-C is heard."""
        import ray

        ready: list[Any] = []
        while not ready and time.monotonic() < until:
            ready, _ = ray.wait([seat.pending for seat in busy], num_returns=1, timeout=1.0)
        return [seat for seat in busy if seat.pending in ready]

    def _settle(
        self,
        seat: Seat,
        role: str,
        recipe: bytes,
        signature: bytes | None,
        jobs: Sequence[Any],
        on_result: Callable[[int, Any], None],
        round_: _Round,
    ) -> None:
        """Takes what a seat brings back and gives it something else to do."""
        job, seat.job = seat.job, None
        reply, death = self._collect(seat)
        if reply is None:
            key = -1 if job is None else job
            round_.deaths[key] = round_.deaths.get(key, 0) + 1
            what = f"{role} worker under construction" if job is None else f"{role} job {job} ({describe(jobs[job])})"
            if round_.deaths[key] >= ATTEMPTS_PER_JOB:
                round_.error = round_.error or died(what, round_.deaths[key], death, last_words(seat))
                self._dismiss(seat)
                return
            if job is not None:
                round_.waiting.appendleft(job)
            self._replace(seat, what, death)
            if round_.error is None:
                self._build(seat, recipe)
            return
        try:
            result = open_reply(reply)
        except Exception as error:  # raised by `map` once the jobs in flight have come home
            round_.error = round_.error or error
            return
        if job is None:
            seat.signature = signature
        else:
            on_result(job, result)
        self._give(seat, jobs, round_)

    def _collect(self, seat: Seat) -> tuple[Any, str]:
        """(reply, "") or (None, how the process died)."""
        import ray
        from ray import exceptions

        pending, seat.pending = seat.pending, None
        try:
            return ray.get(pending), ""
        except (
            exceptions.RayActorError,
            exceptions.OutOfMemoryError,
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.LocalRayletDiedError,
        ) as error:
            return None, shortly(error)

    def _replace(self, seat: Seat, what: str, death: str) -> None:
        """A fresh process of the same name in the same seat."""
        self._tell_death(seat, what, death)
        kill(seat.actor)
        fresh = self._seated(seat.name, self._create(seat.name))
        seat.actor, seat.stderr, seat.pid, seat.node = fresh.actor, fresh.stderr, fresh.pid, fresh.node
        seat.signature = None

    def _tell_death(self, seat: Seat, what: str, death: str) -> None:
        self._settings.on_event(
            {"kind": "worker_died", "worker": seat.name, "worker_pid": seat.pid, "during": what, "detail": death}
        )

    def _abandon(self, seats: list[Seat]) -> None:
        """Ends the actors that are still at work when the driver has stopped listening (Ctrl-C, a failed callback)."""
        for seat in seats:
            if seat.pending is not None:
                seat.pending = None
                self._dismiss(seat)

    def _dismiss(self, seat: Seat) -> None:
        """Ends the process, if it still lives, and frees its name."""
        self._seats.pop(seat.name, None)
        kill(seat.actor)


@EXECUTORS.register("ray")
def make_ray(settings: ExecutorSettings) -> RayExecutor:
    """A RayExecutor that has not started anything yet."""
    return RayExecutor(settings)
