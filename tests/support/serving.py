"""Policies to serve, a server in a thread of its own, and a client that speaks as the stock openpi-client does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import msgpack
import numpy as np
from websockets.sync.client import connect

from policy.conditioning import POSITIVE
from policy.flow.acting import FlowActor
from policy.flow.gemma import RmsNorm
from policy.flow.info import PROMPT_SEPARATOR, BundleInfo
from policy.flow.initialise import initialise
from policy.flow.network import FlowNetwork
from policy.flow.scaling import PolicyStats
from policy.flow.sizes import NetworkSizes
from policy.flow.vocabulary import FIRST_BIN
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.sizes import tiny
from policy.serving.contract import ServedTask
from policy.serving.server import PolicyServer, ServingConfig
from recap.protocols import ServedPolicy
from recap.types import Observation
from tests.support.policies import CAMERAS, NAMES, TASK, synthetic_stats

OTHER = "organize the toilet paper rolls and then tidy up"
"""Longer than TASK, so that a batch of both is padded."""


def untrained(
    kind: type[FlowNetwork] = Pi05Network,
    sizes: NetworkSizes | None = None,
    *,
    prompts: tuple[str, ...] = (TASK, OTHER),
    condition: str = POSITIVE,
    guidance: float = 1.0,
) -> FlowActor:
    """A policy of seeded weights that hears its prompt and its condition."""
    import torch

    # As whoever loads a bundle does: sums on several threads come out otherwise.
    torch.set_num_threads(1)
    sizes = replace(sizes or tiny(), action_dim=len(NAMES), cameras=len(CAMERAS))
    network = kind(sizes)
    initialise(network, seed=0, first_bin=FIRST_BIN)
    with torch.no_grad():
        # As after a training: what leaves the expert is of the size of actions, and time and condition mean something.
        network.action_out_proj.get_parameter("weight").mul_(10)
        generator = torch.Generator().manual_seed(1)
        for module in network.modules():
            if isinstance(module, RmsNorm) and module.dense is not None:
                module.dense.weight.normal_(0.0, 0.05, generator=generator)
        if network.condition is not None:
            network.condition.table.normal_(generator=generator)
    info = BundleInfo(
        network=sizes, task=PROMPT_SEPARATOR.join(prompts), chunk=8, execute=4, euler_steps=4, prompt_tokens=64,
        cameras=CAMERAS, state_names=NAMES, action_names=NAMES, relative_dims=(), condition=condition,
        guidance=guidance, policy_id="5e" * 32,
        stats=PolicyStats.from_json(synthetic_stats(8, ()), relative=False),
    )  # fmt: skip
    return FlowActor(network, info)


@contextmanager
def running(policy: ServedPolicy, *, token: str = "", **config: Any) -> Iterator[tuple[PolicyServer, str]]:
    """(the server, its "host:port"), until the block ends."""
    tasks = [ServedTask(id=None, prompt=prompt, rate_hz=10.0) for prompt in policy.facts.prompts]
    server = PolicyServer(policy, tasks, ServingConfig(**{"port": 0, **config}), token=token)
    begun, where, failed = threading.Event(), [""], []
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def ready(address: str) -> None:
        where[0] = address
        begun.set()

    def serve() -> None:
        try:
            loop.run_until_complete(server.run(stop, ready))
        except BaseException as error:
            failed.append(error)
        finally:
            begun.set()

    thread = threading.Thread(target=serve, name="server")
    thread.start()
    assert begun.wait(30)
    try:
        assert not failed, failed
        yield server, where[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        assert not thread.is_alive(), "the server does not end"
        loop.close()
        assert not failed, failed


class Robot:
    """Speaks as openpi_client.websocket_client_policy does: the same msgpack, headers and order of messages."""

    def __init__(self, address: str, *, token: str = "") -> None:
        headers = {"Authorization": f"Api-Key {token}"} if token else None
        self._open = ExitStack()
        self.socket = self._open.enter_context(
            connect(f"ws://{address}", compression=None, max_size=None, additional_headers=headers)
        )
        self.metadata: dict[str, Any] = unpacked(self.socket.recv())

    def __enter__(self) -> Robot:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def infer(self, fields: dict[str, Any]) -> dict[str, Any]:
        self.socket.send(packed(fields))
        return self.reply()

    def reply(self) -> dict[str, Any]:
        """The next one; RuntimeError with the text of an error."""
        response = self.socket.recv()
        if isinstance(response, str):
            raise RuntimeError(f"Error in inference server:\n{response}")
        found: dict[str, Any] = unpacked(response)
        return found


def fields_of(observation: Observation, **more: Any) -> dict[str, Any]:
    """A request."""
    images = {f"observation/images/{name}": frame for name, frame in observation.frames.items()}
    return {"observation/state": observation.state, **images, "prompt": observation.prompt, **more}


def packed(value: Any) -> bytes:
    """As openpi_client.msgpack_numpy writes it."""

    def written(found: Any) -> Any:
        if isinstance(found, np.ndarray):
            return {b"__ndarray__": True, b"data": found.tobytes(), b"dtype": found.dtype.str, b"shape": found.shape}
        if isinstance(found, np.generic):
            return {b"__npgeneric__": True, b"data": found.item(), b"dtype": found.dtype.str}
        return found

    message: bytes = msgpack.packb(value, default=written)
    return message


def unpacked(message: Any) -> Any:
    """As openpi_client.msgpack_numpy reads it."""

    def read(found: dict[Any, Any]) -> Any:
        if b"__ndarray__" in found:
            return np.ndarray(buffer=found[b"data"], dtype=np.dtype(found[b"dtype"]), shape=found[b"shape"])
        if b"__npgeneric__" in found:
            return np.dtype(found[b"dtype"]).type(found[b"data"])
        return found

    return msgpack.unpackb(message, object_hook=read)
