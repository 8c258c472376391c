"""Requests of several robots, gathered into one forward pass.

A pass begins when as many wait as there are clients or as a pass takes, or when the first has waited `max_wait_s`;
whoever asks while one runs is in the next. The policy runs in one thread of its own, so that the event loop goes on
answering. Whom a request shares its pass with does not change its answer (ServedPolicy.act_batch).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from policy.serving.contract import Request, Way, finite
from policy.serving.metrics import Metrics
from recap.errors import ActionRefused
from recap.protocols import ServedPolicy
from recap.types import FloatArray

_log = logging.getLogger(__name__)
_WAYS = 8
"""So many ways to act are kept made."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Answer:
    """What came of a request."""

    chunk: FloatArray
    """[H, A] actions in robot units."""
    batch: int
    """Requests in its pass."""
    wait_s: float
    """Until the pass began."""
    infer_s: float
    """Of the pass."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Waiting:
    request: Request
    seed: int
    since: float
    answer: asyncio.Future[Answer]


class Batcher:
    """One policy, and those who wait for it. `run` is its loop.

    Args:
        policy: acts; in a thread, never twice at once.
        clients: how many could ask.
        max_batch: requests per pass at most.
        max_wait_s: how long the first request of a pass waits for others.
        metrics: are told every pass.
    """

    def __init__(
        self,
        policy: ServedPolicy,
        *,
        clients: Callable[[], int],
        max_batch: int,
        max_wait_s: float,
        metrics: Metrics,
    ) -> None:
        self._told = lru_cache(maxsize=_WAYS)(lambda way: policy.told(way.condition, way.guidance))
        self._clients, self._max_batch, self._max_wait_s, self._metrics = clients, max_batch, max_wait_s, metrics
        self._waiting: list[_Waiting] = []
        self._acting: list[_Waiting] = []
        self._asked = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="policy")

    async def answer(self, request: Request, *, noise_seed: int) -> Answer:
        """The answer to a request, once its pass is over.

        Raises:
            Exception: what the policy raised for this request alone.
        """
        loop = asyncio.get_running_loop()
        mine = _Waiting(request=request, seed=noise_seed, since=loop.time(), answer=loop.create_future())
        self._waiting.append(mine)
        self._asked.set()
        return await mine.answer

    async def run(self) -> None:
        """Answers until it is cancelled."""
        try:
            while True:
                self._acting = await self._gather()
                await self._act()
                self._acting = []
        finally:
            self._thread.shutdown(wait=False)

    async def drain(self) -> None:
        """Waits until nobody waits."""
        while pending := [one.answer for one in (*self._acting, *self._waiting) if not one.answer.done()]:
            await asyncio.wait(pending)

    async def _gather(self) -> list[_Waiting]:
        """Those of the next pass: the one who has waited longest, and who wants to act alike."""
        loop = asyncio.get_running_loop()
        while True:
            self._waiting = [one for one in self._waiting if not one.answer.done()]
            left = self._waiting[0].since + self._max_wait_s - loop.time() if self._waiting else None
            enough = min(self._max_batch, max(1, self._clients()))
            if left is not None and (left <= 0 or len(self._waiting) >= enough):
                break
            self._asked.clear()
            try:
                async with asyncio.timeout(left):
                    await self._asked.wait()
            except TimeoutError:
                continue
        alike = [one for one in self._waiting if one.request.way == self._waiting[0].request.way]
        batch = alike[: self._max_batch]
        self._waiting = [one for one in self._waiting if one not in batch]
        return batch

    async def _act(self) -> None:
        batch, loop = self._acting, asyncio.get_running_loop()
        began, clock = loop.time(), time.perf_counter()
        chunks = await loop.run_in_executor(
            self._thread, self._chunks, batch[0].request.way, [(one.request, one.seed) for one in batch]
        )
        infer_s = time.perf_counter() - clock
        self._metrics.batch.observe(len(batch))
        self._metrics.inference.observe(infer_s)
        for one, chunk in zip(batch, chunks, strict=True):
            if one.answer.done():  # whoever asked is gone
                continue
            if isinstance(chunk, Exception):
                one.answer.set_exception(chunk)
            else:
                one.answer.set_result(Answer(chunk=chunk, batch=len(batch), wait_s=began - one.since, infer_s=infer_s))

    def _chunks(self, way: Way, asked: Sequence[tuple[Request, int]]) -> list[FloatArray | Exception]:
        """A chunk for each, or what went wrong with it; in the policy's thread."""
        try:
            chunks = self._told(way).act_batch(
                [request.observation for request, _ in asked], noise_seeds=[seed for _, seed in asked]
            )
        except Exception as error:
            if len(asked) == 1:
                return [error]
            # What one of them asks must not cost the others their answer.
            _log.warning("a pass of %d requests failed, each is tried alone: %s", len(asked), error)
            return [chunk for one in asked for chunk in self._chunks(way, [one])]
        return [
            chunk if finite(chunk) else ActionRefused("the policy's actions are not finite: none were sent")
            for chunk in chunks
        ]
