"""The server over a real socket, asked as the stock client asks. test_stock_client.py has the stock client itself."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.support.policies import TASK, make_observation
from tests.support.serving import OTHER, Robot, fields_of, running, untrained
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from policy.conditioning import NEGATIVE
from policy.flow.acting import FlowActor
from policy.serving.server import PolicyServer
from recap.errors import ConfigError

TOKEN = "0123456789abcdefXY"
ROBOTS, REQUESTS = 4, 8


@pytest.fixture(scope="module")
def policy() -> FlowActor:
    return untrained()


@pytest.fixture(scope="module")
def served(policy: FlowActor) -> Iterator[tuple[PolicyServer, str]]:
    with running(policy, max_wait_ms=20) as served:
        yield served


def figure(address: str, name: str, token: str = "") -> float:
    """Of /metrics."""
    request = urllib.request.Request(f"http://{address}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        assert reply.headers["Content-Type"].startswith("text/plain; version=")
        lines = reply.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))


def test_several_robots_get_each_their_own_answers(served: tuple[PolicyServer, str], policy: FlowActor) -> None:
    """Mixed prompts in one batch; the answer of each request is the policy's own."""
    _, address = served
    got: dict[tuple[int, int], Any] = {}

    def ask(robot: int) -> None:
        with Robot(address) as client:
            for number in range(REQUESTS):
                seen = replace(make_observation(robot), prompt=OTHER if robot % 2 else TASK)
                got[robot, number] = client.infer(fields_of(seen, noise_seed=100 * robot + number))

    threads = [threading.Thread(target=ask, args=(robot,)) for robot in range(ROBOTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(got) == ROBOTS * REQUESTS
    for (robot, number), reply in got.items():
        seen = replace(make_observation(robot), prompt=OTHER if robot % 2 else TASK)
        alone = policy.act(seen, noise_seed=100 * robot + number)
        np.testing.assert_allclose(reply["actions"], alone, rtol=0, atol=1e-5)
        assert reply["noise_seed"] == 100 * robot + number
    assert max(reply["server_timing"]["batch"] for reply in got.values()) > 1, "they shared passes"


def test_one_robot_is_told_what_it_needs_and_asks_in_any_way(
    served: tuple[PolicyServer, str], policy: FlowActor
) -> None:
    _, address = served
    seen = make_observation(7)
    with Robot(address) as robot:
        told = robot.metadata
        assert (told["policy_id"], told["execute"], told["prompt"]) == (policy.policy_id, 4, None)
        plain = robot.infer(fields_of(seen, noise_seed=3))
        np.testing.assert_array_equal(plain["actions"], policy.act(seen, noise_seed=3))
        assert (plain["condition"], plain["guidance"]) == ("positive", 1.0)
        otherwise = robot.infer(fields_of(seen, noise_seed=3, condition="negative", guidance=np.float64(2.0)))
        np.testing.assert_array_equal(
            otherwise["actions"], policy.told(NEGATIVE, 2.0).act(seen, noise_seed=3), "alone it is the same bits"
        )
        assert (otherwise["condition"], otherwise["guidance"]) == ("negative", 2.0)
        drawn = [robot.infer(fields_of(seen)) for _ in range(2)]
        assert drawn[0]["noise_seed"] != drawn[1]["noise_seed"]
        np.testing.assert_array_equal(
            drawn[0]["actions"], policy.act(seen, noise_seed=drawn[0]["noise_seed"]), "can be asked again"
        )


def test_health_and_figures(served: tuple[PolicyServer, str]) -> None:
    _, address = served
    with urllib.request.urlopen(f"http://{address}/healthz", timeout=30) as reply:
        assert (reply.status, reply.read()) == (200, b"OK\n")
    before = {
        name: figure(address, name) for name in ("recap_serve_requests_total", "recap_serve_latency_seconds_count")
    }
    wrong = figure(address, 'recap_serve_errors_total{kind="observation"}')
    with Robot(address) as robot:
        robot.infer(fields_of(make_observation(0)))
        assert figure(address, "recap_serve_clients") == 1
        with pytest.raises(RuntimeError, match="unknown key 'x'"):
            robot.infer({"x": 1})
    assert figure(address, "recap_serve_requests_total") == before["recap_serve_requests_total"] + 1
    assert figure(address, 'recap_serve_errors_total{kind="observation"}') == wrong + 1
    assert figure(address, "recap_serve_batch_size_count") > 0


def test_without_the_token_nobody_is_served(policy: FlowActor) -> None:
    with running(policy, token=TOKEN) as (_, address):
        for token in ("", "wrong-but-as-long-as", TOKEN[:-1]):
            with pytest.raises(InvalidStatus) as refused:
                Robot(address, token=token)
            assert refused.value.response.status_code == 401
            with pytest.raises(urllib.error.HTTPError, match="401"):
                figure(address, "recap_serve_requests_total", token)
        with urllib.request.urlopen(f"http://{address}/healthz", timeout=30) as reply:
            assert reply.status == 200
        with Robot(address, token=TOKEN) as robot:
            assert robot.infer(fields_of(make_observation(0)))["actions"].shape == (8, 14)
        assert figure(address, 'recap_serve_errors_total{kind="unauthorised"}', TOKEN) == 6


def test_a_page_in_a_browser_is_not_served(served: tuple[PolicyServer, str]) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://{served[1]}", origin=Origin("http://example.org")):
        pass
    assert refused.value.response.status_code == 403


def test_what_is_asked_before_the_end_is_answered(policy: FlowActor) -> None:
    """The request waits for others when the server is told to stop."""
    with running(policy, max_wait_ms=900) as (_, address):
        robot, idle = Robot(address), Robot(address)
        answers: list[Any] = []
        asking = threading.Thread(target=lambda: answers.append(robot.infer(fields_of(make_observation(0)))))
        asking.start()
        time.sleep(0.3)
    asking.join(30)
    assert len(answers) == 1
    with pytest.raises(ConnectionClosedOK, match="1001"):
        idle.socket.recv(timeout=5)


def test_robots_that_never_stop_asking_do_not_keep_it_from_ending(
    policy: FlowActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    endings: list[str] = []
    act = FlowActor.act_batch

    def slow(self: FlowActor, *given: Any, **settings: Any) -> Any:
        time.sleep(0.03)
        return act(self, *given, **settings)

    monkeypatch.setattr(FlowActor, "act_batch", slow)

    def ask(address: str, number: int) -> None:
        try:
            with Robot(address) as robot:
                time.sleep(0.01 * number)
                while True:
                    robot.infer(fields_of(make_observation(number)))
        except ConnectionClosedOK as closed:
            endings.append(str(closed))

    with running(policy, max_wait_ms=0) as (_, address):
        robots = [threading.Thread(target=ask, args=(address, number)) for number in range(3)]
        for robot in robots:
            robot.start()
        time.sleep(0.5)
    for robot in robots:
        robot.join(30)
    assert len(endings) == 3
    assert all("1001" in told for told in endings)


def test_it_says_when_it_cannot_listen(policy: FlowActor, served: tuple[PolicyServer, str]) -> None:
    port = int(served[1].rpartition(":")[2])
    with pytest.raises(AssertionError, match="cannot listen there"), running(policy, port=port):
        pass


def test_the_metadata_can_be_written_down(served: tuple[PolicyServer, str]) -> None:
    with Robot(served[1]) as robot:
        assert json.loads(json.dumps(robot.metadata)) == robot.metadata


def test_an_address_that_others_reach_needs_a_token(policy: FlowActor) -> None:
    with pytest.raises(ConfigError, match=r"--host 0\.0\.0\.0 without a token"), running(policy, host="0.0.0.0"):
        pass
