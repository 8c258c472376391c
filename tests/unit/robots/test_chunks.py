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


def test_it_holds_until_the_first_chunk_and_drops_the_actions_that_are_past(loop):
    assert [loop.step() for _ in range(3)] == [-1.0] * 3
    loop.answer()
    assert [loop.step(), loop.step()] == [3.0, 4.0], "asked for at step 0: its first three actions were in the past"
    assert loop.player.late_s == pytest.approx(3e-3)


def test_the_next_chunk_is_asked_for_while_the_last_one_plays_and_takes_over_where_it_arrives(loop):
    loop.step()
    loop.answer()
    sent = [loop.step() for _ in range(6)]
    assert sent == [1, 2, 3, 4, 5, 6], "asked at step 4 (execute), still computing: the last one goes on"
    loop.answer()
    assert [loop.step(), loop.step()] == [403, 404]


def test_blending_mixes_the_two_over_the_steps_asked_for():
    loop = Loop(Slow(), blend_steps=1, late_steps=50)
    loop.step()
    loop.answer()
    for _ in range(4):
        loop.step()
    loop.answer()
    assert [loop.step(), loop.step()] == [(5 + 401) / 2, 402]
    loop.close()


def test_an_answer_from_before_a_take_over_is_of_no_use_after_it(loop):
    loop.step()
    loop.player.begin()
    loop.answer()
    assert loop.step() == -1.0
    loop.answer()
    assert loop.step() == 102.0 - 1


def test_the_watchdog_ends_the_attempt_when_no_action_comes():
    loop = Loop(Slow(), late_steps=2)
    assert [loop.step(), loop.step()] == [-1.0, -1.0]
    with pytest.raises(ActionRefused, match="step 2: policy slow gave no action for 2 steps"):
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
def test_whatever_inference_takes_each_action_sent_was_meant_for_that_step(waits, execute):
    loop = Loop(Slow(execute=execute), late_steps=10_000)
    for steps in waits:
        for _ in range(steps):
            sent, at = loop.step(), loop.at - 1
            assert sent == -1.0 or sent % 100 + sent // 100 == at
        if loop.player._asked is not None:
            loop.answer()
    loop.close()
