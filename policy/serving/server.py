"""The server: connections, tokens, replies. One WebSocket per robot; plain HTTP at /healthz and /metrics.

On connect it sends the metadata (Contract.metadata); then every binary message is an observation, and every reply
either a map with "actions", or a text that says what was wrong with the request. A text never ends the connection.
"""

from __future__ import annotations

import asyncio
import http
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from data.sim.seeds import derive
from policy.serving import access
from policy.serving.batching import Batcher
from policy.serving.codec import MAX_MESSAGE, pack, unpack
from policy.serving.contract import NAMES, Contract, ServedTask
from policy.serving.metrics import CONTENT_TYPE, Metrics
from recap.config import setting, validate
from recap.errors import ConfigError, RecapError
from recap.protocols import ServedPolicy

_log = logging.getLogger(__name__)
# Its errors are those of strangers who speak another protocol, one traceback each.
_strangers = logging.getLogger(f"{__name__}.websockets")
_strangers.setLevel(logging.CRITICAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class ServingConfig:
    """Where a server listens and how it gathers requests."""

    host: str = setting("127.0.0.1", help="address to listen on; beyond this machine only with a token")
    port: int = setting(8000, minimum=0, maximum=65535, help="port; 0 takes any that is free")
    max_batch: int = setting(8, minimum=1, help="requests per forward pass at most")
    max_wait_ms: float = setting(5.0, minimum=0, maximum=1000, help="how long a request waits for others, ms")
    seed: int = setting(0, minimum=0, help="seed of the noise of requests that name none")

    def __post_init__(self) -> None:
        validate(self)


class PolicyServer:
    """Serves one policy until it is told to stop.

    Raises:
        ConfigError: it would be reached from beyond this machine, and there is no token.
    """

    def __init__(
        self, policy: ServedPolicy, tasks: Sequence[ServedTask], config: ServingConfig, *, token: str = ""
    ) -> None:
        access.check_exposure(config.host, token)
        self.metrics = Metrics()
        self._config, self._token = config, token
        self._contract = Contract(policy, tasks)
        self._metadata = pack(self._contract.metadata())
        self._policy_id = policy.policy_id
        self._clients, self._stopping = 0, False
        self._count = itertools.count()
        self._batcher = Batcher(
            policy,
            clients=lambda: self._clients,
            max_batch=config.max_batch,
            max_wait_s=config.max_wait_ms / 1000,
            metrics=self.metrics,
        )

    def totals(self) -> tuple[int, int]:
        """Requests answered with actions, and errors, so far."""
        return self.metrics.totals()

    async def run(self, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
        """Listens, calls `ready` with "host:port", and answers until `stop`; then what was asked already.

        Raises:
            ConfigError: it cannot listen there.
        """
        server = await self._listen()
        acting = asyncio.create_task(self._batcher.run())
        stopping = asyncio.create_task(stop.wait())
        try:
            address = server.sockets[0].getsockname()
            host = f"[{address[0]}]" if ":" in address[0] else address[0]
            ready(f"{host}:{address[1]}")
            await asyncio.wait({acting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if acting.done():
                await acting
            server.close(close_connections=False)
            # Whoever goes on asking would keep it busy for ever.
            self._stopping = True
            await self._batcher.drain()
            for connection in server.connections:
                await connection.close(CloseCode.GOING_AWAY, "the server stops")
            await server.wait_closed()
        finally:
            server.close()
            stopping.cancel()
            acting.cancel()
            await asyncio.gather(acting, stopping, return_exceptions=True)

    async def _listen(self) -> Server:
        config = self._config
        try:
            return await serve(
                self._converse,
                config.host,
                config.port,
                process_request=self._greet,
                # A browser names the page that asks; no page may.
                origins=[None],
                compression=None,
                max_size=MAX_MESSAGE,
                # A client waits for its reply: what it sends before is not read ahead.
                max_queue=2,
                logger=_strangers,
            )
        except OSError as error:
            raise ConfigError(
                f"--host {config.host} --port {config.port}: cannot listen there: {error}",
                hint="recap serve --port 0   (any free port)",
            ) from error

    def _greet(self, connection: ServerConnection, request: HttpRequest) -> Response | None:
        """The answer to a plain request, or a refusal; None opens the WebSocket."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        if self._token and not access.authorised(request.headers.get("Authorization"), self._token):
            self.metrics.errors.labels("unauthorised").inc()
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Api-Key TOKEN\n")
        if request.path == "/metrics":
            response = connection.respond(http.HTTPStatus.OK, self.metrics.text())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = CONTENT_TYPE
            return response
        return None

    async def _converse(self, connection: ServerConnection) -> None:
        self._clients += 1
        self.metrics.clients.inc()
        try:
            await connection.send(self._metadata)
            async for message in connection:
                if self._stopping:
                    await connection.close(CloseCode.GOING_AWAY, "the server stops")
                    break
                began = time.perf_counter()
                reply = await self._reply(message)
                await connection.send(reply)
                self.metrics.latency.observe(time.perf_counter() - began)
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                self.metrics.errors.labels("oversized").inc()
        finally:
            self._clients -= 1
            self.metrics.clients.dec()

    async def _reply(self, message: str | bytes) -> str | bytes:
        """Actions, or a text that says what is wrong. Whatever a client sends, the others do not notice."""
        kind = "malformed"
        try:
            fields = unpack(message)
            kind = "observation"
            request = self._contract.request(fields)
            kind = "policy"
            number = next(self._count)
            seed = request.noise_seed
            if seed is None:
                seed = derive("serve", self._config.seed, number)
            answer = await self._batcher.answer(request, noise_seed=seed)
            reply: dict[str, Any] = {
                "actions": answer.chunk,
                "policy_id": self._policy_id,
                "condition": NAMES[request.way.condition],
                "guidance": request.way.guidance,
                "noise_seed": seed,
                "server_timing": {
                    "infer_ms": answer.infer_s * 1000,
                    "wait_ms": answer.wait_s * 1000,
                    "batch": answer.batch,
                },
            }
            packed = pack(reply)
        except RecapError as error:
            self.metrics.errors.labels(kind).inc()
            return f"{kind}: {error.message}"
        except Exception:  # a defect, of the policy or of this server: the robot is told, and the next one served
            self.metrics.errors.labels("internal").inc()
            _log.exception("a request failed")
            return "internal: the server failed at this request; its log says how"
        self.metrics.requests.inc()
        return packed
