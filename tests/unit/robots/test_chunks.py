"""A policy that computes while its last chunk plays: which action is sent at which step, however long it takes."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.robots.chunks import AsyncChunkPlayer
from recap.errors import ActionRefused, RecapError
from recap.types import Observation

HELD = np.array([-1.0], np.float32)


def seen(step):
    return Observation(state=np.array([step], np.float32), frames={}, prompt="")


class Slow:
    """Answers when it is let; action j of the chunk asked for at step s is 100 s + j."""

    policy_id = "slow"

    def __init__(self, execute=4, length=10):
        self.execute, self.length = execute, length
        self.let = threading.Semaphore(0)

    def infer(self, observations, seeds):
        (step,) = observations[0].state
        self.let.acquire()
        return [(100 * step + np.arange(self.length, dtype=np.float32))[:, None]]


def player_of(client, **settings):
    return AsyncChunkPlayer(client, rate_hz=1000, channels=1, hold=lambda: HELD, noise_seed=0, number=0, **settings)


class Loop:
    """Steps a player; `answer` lets the inference under way end, and waits until it has."""

    def __init__(self, client, **settings):
        self.client, self.player, self.at = client, player_of(client, **settings), 0

    def step(self):
        sent = float(self.player.act(seen(self.at), self.at)[0])
        self.at += 1
        return sent

    def answer(self):
        asked = self.player._asked
        self.client.let.release()
        asked.answer.result(timeout=10)
        # How long the test took is no matter: only `execute` says when the next is asked for.
        self.player._longest_s = 0.0

    def close(self):
        self.client.let.release()
        self.player.close()


@pytest.fixture
def loop():
    made = Loop(Slow(), late_steps=50)
    yield made
    made.close()


def test_it_holds_until_the_first_chunk_which_then_begins_where_the_robot_is(loop):
    assert [loop.step() for _ in range(3)] == [-1.0] * 3
    loop.answer()
    assert [loop.step(), loop.step()] == [0.0, 1.0], "it stood still meanwhile: nothing of the chunk is past"
    assert loop.player.late_s == pytest.approx(3e-3)


def test_the_next_chunk_is_asked_for_while_the_last_one_plays_and_takes_over_where_it_arrives(loop):
    loop.step()
    loop.answer()
    sent = [loop.step() for _ in range(6)]
    assert sent == [0, 1, 2, 3, 4, 5], "asked at step 5 (execute: action 4), still computing: the last one goes on"
    loop.answer()
    assert [loop.step(), loop.step()] == [502, 503]


def test_a_chunk_that_comes_late_goes_on_where_the_robot_stopped():
    loop = Loop(Slow(execute=4, length=6), late_steps=50)
    loop.step()
    loop.answer()
    assert [loop.step() for _ in range(8)] == [0, 1, 2, 3, 4, 5, -1, -1], "asked at step 5 (action 4)"
    loop.answer()
    assert [loop.step(), loop.step()] == [502, 503], "two actions of the last were sent since it was asked, not four"
    loop.close()


def test_blending_mixes_the_two_over_the_steps_asked_for():
    loop = Loop(Slow(), blend_steps=1, late_steps=50)
    loop.step()
    loop.answer()
    for _ in range(5):
        loop.step()
    loop.answer()
    assert [loop.step(), loop.step()] == [(5 + 501) / 2, 502]
    loop.close()


def test_an_answer_from_before_a_take_over_is_of_no_use_after_it(loop):
    loop.step()
    loop.player.begin()
    loop.answer()
    assert loop.step() == -1.0
    loop.answer()
    assert loop.step() == 100.0


def test_the_watchdog_ends_the_attempt_when_no_action_comes():
    loop = Loop(Slow(), late_steps=2)
    assert [loop.step(), loop.step()] == [-1.0, -1.0]
    with pytest.raises(ActionRefused, match="step 2: the policy gave no action for 2 steps"):
        loop.step()
    loop.close()


def test_a_policy_that_fails_or_gives_another_shape_is_heard_of():
    class Broken(Slow):
        def infer(self, observations, seeds):
            return [np.zeros((2, 1), np.float32)]

    loop = Loop(Broken(), late_steps=10_000)
    loop.player.act(seen(0), 0)
    loop.player._asked.answer.exception(timeout=10)
    with pytest.raises(RecapError, match=r"has shape \(2, 1\), expected at least \(4, 1\)"):
        loop.player.act(seen(1), 1)
    loop.player.close()


@given(waits=st.lists(st.integers(0, 9), min_size=1, max_size=12), execute=st.integers(1, 10))
def test_whatever_inference_takes_each_action_sent_was_meant_for_that_time(waits, execute):
    loop, times = Loop(Slow(execute=execute), late_steps=10_000), [0]
    for steps in waits:
        for _ in range(steps):
            sent = loop.step()
            assert sent == -1.0 or sent % 100 + times[int(sent // 100)] == times[-1]
            times.append(times[-1] + (sent != -1.0))
        if loop.player._asked is not None:
            loop.answer()
    loop.close()
