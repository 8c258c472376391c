"""A client that breaks the protocol, sends nonsense or dies gets its error; the others do not notice."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from tests.support.policies import make_observation
from tests.support.serving import Robot, fields_of, packed, running, untrained
from websockets.exceptions import ConnectionClosedError

from policy.flow.acting import FlowActor
from policy.serving.codec import MAX_MESSAGE
from policy.serving.server import PolicyServer
from recap.types import FloatArray, Observation

Served = tuple[PolicyServer, str]
POISON = 999
"""Noise seed at which the policy below fails."""


class Fragile(FlowActor):
    """Fails a whole batch for one of its rows, and gives a NaN for another."""

    def act_batch(self, observations: Sequence[Observation], *, noise_seeds: Sequence[int]) -> FloatArray:
        if POISON in noise_seeds:
            raise ValueError("poisoned")
        chunks = super().act_batch(observations, noise_seeds=noise_seeds)
        for chunk, seed in zip(chunks, noise_seeds, strict=True):
            if seed == POISON + 1:
                chunk[0, 0] = np.nan
        return chunks

    def told(self, condition: str, guidance: float) -> Fragile:
        return self


@pytest.fixture(scope="module")
def policy() -> FlowActor:
    plain = untrained()
    return Fragile(plain.network, plain.info)


@pytest.fixture(scope="module")
def served(policy: FlowActor) -> Iterator[Served]:
    with running(policy, max_wait_ms=50) as served:
        yield served


@pytest.fixture
def good(served: Served, policy: FlowActor) -> Iterator[list[int]]:
    """A robot that asks all the while, and whose answers are all right."""
    over, asked = threading.Event(), [0]
    wrong: list[Any] = []
    seen = make_observation(11)
    expected = policy.act(seen, noise_seed=1)

    def ask() -> None:
        try:
            with Robot(served[1]) as robot:
                while not over.is_set():
                    reply = robot.infer(fields_of(seen, noise_seed=1))["actions"]
                    if np.abs(reply - expected).max() > 1e-5:
                        wrong.append(reply)
                    asked[0] += 1
        except Exception as error:
            wrong.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: asked[0] > 0)
    yield asked
    before = asked[0]
    wait_for(lambda: asked[0] > before)
    over.set()
    thread.join(60)
    assert not wrong


def wait_for(condition: Any) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def fields(**more: Any) -> dict[str, Any]:
    return fields_of(make_observation(0), **more)


CAMERA = "observation/images/cam_high"


BAD: dict[str, tuple[Any, str]] = {
    "no-msgpack": (b"\xc1 no msgpack", "malformed: a message of 12 bytes is not msgpack"),
    "text": ("a text", "malformed: a text message"),
    "torn": (packed(fields())[:-7], "malformed: .*not msgpack"),
    "shape": (packed(fields(**{"observation/state": np.zeros(3, "f4")})), r"observation: .*\[3\] float32"),
    "nan": (packed(fields(**{"observation/state": np.full(14, np.nan)})), "observation: .*nan, expected finite"),
    "grey": (packed(fields(**{CAMERA: np.zeros((64, 64), "u1")})), r"observation: .*cam_high: \[64, 64\] uint8"),
    "no-camera": (
        packed({name: x for name, x in fields().items() if name != CAMERA}),
        "observation: no .*cam_high",
    ),
    "policy-raises": (packed(fields(noise_seed=POISON)), "internal: the server failed"),
    "policy-nan": (packed(fields(noise_seed=POISON + 1)), "policy: the policy's actions are not finite"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_request_costs_its_sender_one_answer(served: Served, good: list[int], kind: str) -> None:
    message, told = BAD[kind]
    with Robot(served[1]) as robot:
        robot.socket.send(message)
        with pytest.raises(RuntimeError, match=told):
            robot.reply()
        assert robot.infer(fields(noise_seed=2))["actions"].shape == (8, 14), "the same connection goes on"


def test_a_message_too_large_ends_its_connection(served: Served, good: list[int]) -> None:
    with Robot(served[1]) as robot:
        # The server may hang up before all of it is sent.
        with suppress(ConnectionClosedError):
            robot.socket.send(b"\0" * (MAX_MESSAGE + 1))
        with pytest.raises(ConnectionClosedError, match="1009"):
            robot.socket.recv()
    with Robot(served[1]) as robot:
        robot.infer(fields())
    assert 'recap_serve_errors_total{kind="oversized"} 1.0' in served[0].metrics.text()


CLIENT = """
import sys
from websockets.sync.client import connect
with connect(sys.argv[1], compression=None) as socket:
    socket.recv()
    socket.send(sys.stdin.buffer.read())
    print("sent", flush=True)
    socket.recv()
    socket.recv()
"""


def test_a_client_that_is_killed_in_the_middle_of_a_request(served: Served, good: list[int]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, f"ws://{served[1]}"], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdout, process.stdin:
        process.stdin.write(packed(fields()))
        process.stdin.close()
        assert process.stdout.readline() == b"sent\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_for(lambda: "recap_serve_clients 1.0" in served[0].metrics.text())


def test_strangers_on_the_port(served: Served, good: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    """Another protocol, half a message, and a connection that says nothing."""
    host, _, port = served[1].rpartition(":")
    with socket.create_connection((host, int(port))) as silent:
        tls, plain = b"\x16\x03\x01\x02\x00\x01\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        for first in (tls, plain, b"POST / HTTP/1.1\r\n\r\n"):
            with socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(first)
                stranger.settimeout(10)
                assert not stranger.recv(100_000).startswith(b"HTTP/1.1 101")
        silent.sendall(b"GET")
    assert "Traceback" not in capfd.readouterr().err
