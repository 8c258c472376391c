"""What a request must be, and what a client is told of it beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.support.policies import CAMERAS, NAMES, TASK, arm_pair, make_observation
from tests.support.serving import OTHER, fields_of, packed, unpacked, untrained

from policy.conditioning import NEGATIVE, POSITIVE
from policy.serving.alone import OneByOne
from policy.serving.codec import pack
from policy.serving.contract import Contract, ServedTask, Way
from recap.errors import ConfigError
from recap.types import FloatArray, Observation


def contract(*prompts: str, **how: Any) -> Contract:
    tasks = [ServedTask(id=None, prompt=prompt, rate_hz=None) for prompt in prompts or (TASK,)]
    return Contract(untrained(**how), tasks)


def fields(**more: Any) -> dict[str, Any]:
    return fields_of(make_observation(0), **more)


def test_the_metadata_says_what_is_expected() -> None:
    told = unpacked(pack(contract(TASK, OTHER, guidance=1.5).metadata()))
    assert told["observation"]["observation/state"] == {"shape": [14], "dtype": "float32", "names": list(NAMES)}
    assert {f"observation/images/{name}" for name in CAMERAS} < set(told["observation"])
    assert (told["actions"]["shape"], told["execute"], told["cameras"]) == ([8, 14], 4, list(CAMERAS))
    assert [one["prompt"] for one in told["tasks"]] == [TASK, OTHER]
    assert (told["prompt"], told["condition"], told["guidance"]) == (None, "positive", 1.5)
    assert told["conditions"] == ["absent", "positive", "negative"]
    assert told["guidance_range"] == [0.0, 3.0]
    assert contract(guidance=4.0).metadata()["guidance_range"] == [0.0, 4.0], "how it acts by itself is never refused"
    untold = contract(condition="").metadata()
    assert (untold["conditions"], untold["guidance_range"], untold["prompt"]) == (["absent"], [1.0, 1.0], TASK)


def test_a_whole_request() -> None:
    seen = make_observation(0)
    asked = contract().request(fields(noise_seed=-5, condition="negative", guidance=2))
    np.testing.assert_array_equal(asked.observation.state, seen.state)
    for name, frame in seen.frames.items():
        np.testing.assert_array_equal(asked.observation.frames[name], frame)
    assert (asked.observation.prompt, asked.noise_seed) == (TASK, -5)
    assert asked.way == Way(condition=NEGATIVE, guidance=2.0)


def test_what_is_left_out_is_as_the_bundle_says() -> None:
    short = {name: value for name, value in fields().items() if name != "prompt"}
    asked = contract(guidance=1.5).request(short)
    assert (asked.observation.prompt, asked.noise_seed, asked.way) == (
        TASK,
        None,
        Way(condition=POSITIVE, guidance=1.5),
    )
    absent = contract(guidance=1.5).request({**short, "condition": "absent"})
    assert absent.way == Way(condition="", guidance=1.0), "nothing to mix"
    with pytest.raises(ConfigError, match="no prompt: this policy knows several tasks: 'fold the shirt'; 'organize"):
        contract(TASK, OTHER).request(short)


def test_numbers_of_another_type_are_numbers() -> None:
    state = np.arange(14)
    np.testing.assert_array_equal(contract().request(fields(**{"observation/state": state})).observation.state, state)
    assert contract().request(fields(**{"observation/state": state / 7})).observation.state.dtype == np.float32


HIGH = "observation/images/cam_high"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"observation/state": np.zeros(13, "f4")}, r"observation/state: \[13\] float32, expected \[14\] numbers"),
        ({"observation/state": np.zeros((1, 14), "f4")}, r"observation/state: \[1, 14\] float32"),
        ({"observation/state": [0.0] * 14}, "observation/state: a list, no array"),
        ({"observation/state": np.zeros(14, "b1")}, "observation/state: .* bool"),
        ({"observation/state": np.array([0.0] * 13 + [np.nan])}, "right_gripper = nan, expected finite"),
        ({"observation/state": np.array([1e300] + [0.0] * 13)}, r"left_joint_0 = 1e\+300, expected finite"),
        ({HIGH: np.zeros((64, 64), "u1")}, r"cam_high: \[64, 64\] uint8, expected \[height, width, 3\] uint8"),
        ({HIGH: np.zeros((64, 64, 4), "u1")}, r"cam_high: \[64, 64, 4\] uint8"),
        ({HIGH: np.zeros((3, 64, 64), "u1")}, r"cam_high: \[3, 64, 64\] uint8"),
        ({HIGH: np.zeros((0, 64, 3), "u1")}, r"cam_high: \[0, 64, 3\] uint8"),
        ({HIGH: np.zeros((64, 64, 3), "f4")}, "cam_high: .* float32"),
        ({HIGH: None}, "cam_high: a NoneType, no array"),
        ({"observation/image": 1}, "unknown key 'observation/image'"),
        ({"conditon": "positive"}, "unknown key 'conditon': did you mean 'condition'"),
        ({"prompt": ""}, "prompt '', expected an instruction"),
        ({"prompt": 3}, "prompt 3, expected an instruction"),
        ({"prompt": "fold it " * 90}, "a prompt of up to .* tokens, expected at most 64"),
        ({"noise_seed": 2**63}, "noise_seed 9223372036854775808, expected an integer of 64 bits"),
        ({"noise_seed": 1.5}, "noise_seed 1.5"),
        ({"noise_seed": True}, "noise_seed True"),
        ({"condition": "Advantage: positive"}, "condition .*, expected one of absent, positive, negative"),
        ({"condition": ["positive"]}, "condition .*, expected one of"),
        ({"guidance": 3.5}, r"guidance 3.5 with condition positive, expected within 0 \.\. 3"),
        ({"guidance": -0.1}, "guidance -0.1"),
        ({"guidance": float("nan")}, "guidance nan"),
        ({"guidance": "2"}, "guidance '2'"),
        ({"guidance": True}, "guidance True"),
        ({"condition": "absent", "guidance": 2.0}, r"guidance 2.0 with condition absent, expected within 1 \.\. 1"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        contract().request({**fields(), **changes})


def test_what_is_missing_is_named() -> None:
    few = {name: value for name, value in fields().items() if "wrist" not in name}
    with pytest.raises(
        ConfigError, match="no observation/images/cam_left_wrist, observation/images/cam_right_wrist; got"
    ):
        contract().request(few)
    with pytest.raises(ConfigError, match=r"no observation/state, .*; got nothing"):
        contract().request({})
    for message in ([], 3, None, "prompt", np.zeros(3)):
        with pytest.raises(ConfigError, match="expected a map of observation/state"):
            contract().request(message)


class Halves:
    """One of a third party: it says nothing of itself and knows one observation."""

    policy_id, execute = "halves", 2

    def act(self, observation: Observation, *, noise_seed: int) -> FloatArray:
        return np.repeat(observation.state[None] / 2, 3, axis=0)


def test_a_policy_that_knows_one_observation_is_served_by_its_tasks_robot() -> None:
    policy = OneByOne(Halves(), arm_pair(), (TASK,))
    told = Contract(policy, [ServedTask(id="t", prompt=TASK, rate_hz=10.0)])
    assert told.metadata()["conditions"] == ["absent"]
    assert told.metadata()["actions"]["shape"] == [None, 14]
    assert packed(told.metadata())
    with pytest.raises(ConfigError, match="condition 'positive', expected one of absent"):
        told.request(fields(condition="positive"))
    observations = [make_observation(0), replace(make_observation(1), prompt=OTHER)]
    chunks = policy.told("", 1.0).act_batch(observations, noise_seeds=[0, 0])
    np.testing.assert_array_equal(chunks[1], np.repeat(observations[1].state[None] / 2, 3, axis=0))
    with pytest.raises(ConfigError, match="acts in one way only"):
        policy.told(POSITIVE, 1.0)
