"""A robot's answer does not depend on whom it shares its forward pass with, whatever the others are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.policies import TASK, make_observation
from tests.support.serving import OTHER, untrained

from policy.conditioning import NEGATIVE, POSITIVE
from policy.flow.acting import FlowActor
from policy.models.gigabrain0.network import GigaBrain0Network
from policy.models.gigabrain0.sizes import tiny as tiny_gigabrain
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.sizes import tiny
from recap.errors import ConfigError
from recap.protocols import ServedPolicy
from recap.types import Observation

KINDS: dict[str, Callable[[], FlowActor]] = {
    "text": lambda: untrained(Pi05Network, tiny()),
    "embedding": lambda: untrained(Pi05Network, replace(tiny(), condition="embedding")),
    "both": lambda: untrained(Pi05Network, replace(tiny(), condition="both")),
    "gigabrain0": lambda: untrained(GigaBrain0Network, tiny_gigabrain()),
}
TOLERANCE = 1e-5
asked = st.tuples(st.integers(0, 5), st.integers(-(2**63), 2**63 - 1), st.sampled_from([TASK, OTHER]))


@cache
def actor(kind: str) -> FlowActor:
    return KINDS[kind]()


def seen(scene: int, prompt: str) -> Observation:
    return replace(make_observation(scene), prompt=prompt)


@pytest.mark.parametrize("kind", KINDS)
@given(
    batch=st.lists(asked, min_size=2, max_size=4),
    condition=st.sampled_from([POSITIVE, NEGATIVE]),
    guidance=st.sampled_from([1.0, 2.0]),
)
@settings(max_examples=6)
def test_each_answer_is_the_one_alone(kind: str, batch: list[Any], condition: str, guidance: float) -> None:
    policy = actor(kind).told(condition, guidance)
    observations = [seen(scene, prompt) for scene, _, prompt in batch]
    together = policy.act_batch(observations, noise_seeds=[seed for _, seed, _ in batch])
    for chunk, observation, (_, seed, _) in zip(together, observations, batch, strict=True):
        np.testing.assert_allclose(chunk, policy.act(observation, noise_seed=seed), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_told_apart_is_told_apart_by_far_more(kind: str) -> None:
    """Else the tolerance above would hide a batch that mixes its rows up."""
    policy, observation = actor(kind), seen(0, TASK)
    here = policy.act(observation, noise_seed=1)
    others = (
        policy.act(seen(1, TASK), noise_seed=1),
        policy.act(seen(0, OTHER), noise_seed=1),
        policy.act(observation, noise_seed=2),
        policy.told(NEGATIVE, 1.0).act(observation, noise_seed=1),
        policy.told(POSITIVE, 2.0).act(observation, noise_seed=1),
        policy.told("", 1.0).act(observation, noise_seed=1),
    )
    assert min(float(np.abs(other - here).max()) for other in others) > 20 * TOLERANCE


def test_told_is_the_policy_told_so_from_the_start() -> None:
    policy, observation = actor("text"), seen(3, OTHER)
    assert isinstance(policy, ServedPolicy)
    told = policy.told(NEGATIVE, 2.0)
    assert told.network is policy.network
    from_the_start = untrained(condition=NEGATIVE, guidance=2.0)
    np.testing.assert_array_equal(told.act(observation, noise_seed=5), from_the_start.act(observation, noise_seed=5))
    assert (policy.info.condition, policy.info.guidance) == (POSITIVE, 1.0), "the policy itself stays what it is"


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(ConfigError, match="trained without advantage conditions, cannot hear 'Advantage: positive'"):
        untrained(condition="").told(POSITIVE, 1.0)
    with pytest.raises(ConfigError, match="guidance 2 without a condition, expected 1"):
        actor("text").told("", 2.0)
    with pytest.raises(ConfigError, match="condition 'loud'"):
        actor("text").told("loud", 1.0)


def test_an_observation_is_checked_without_a_pass() -> None:
    policy, good = actor("text"), make_observation(0)
    policy.check(good)
    short = {name: frame for name, frame in good.frames.items() if name != "cam_high"}
    for bad, told in (
        (replace(good, state=good.state[:3]), "state of 3 numbers, expected 14"),
        (replace(good, frames=short), "no frame of cam_high"),
        (replace(good, prompt="tidy " * 60), "tokens, expected at most 64"),
    ):
        with pytest.raises(ConfigError, match=told):
            policy.check(bad)
