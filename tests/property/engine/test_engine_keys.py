"""Keys: blind to order and to what does not matter, sensitive to every single thing that does."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.strategies import json_values, scale_configs, shuffled
from toy_steps import TOY_STEPS, ScaleConfig

from recap.config import from_json, semantic_dict, to_json
from recap.hashing import canonical_json, digest_array
from recap.overrides import override
from recap.step import StepSpec, key_facts, key_of

SCALE = TOY_STEPS.get("scale")
identities = st.dictionaries(
    st.sampled_from(["numbers", "other"]), st.text("0123456789abcdef", min_size=64, max_size=64), min_size=1
)


def key(config: ScaleConfig, inputs: dict[str, str], spec: StepSpec = SCALE) -> str:
    return key_of(key_facts(spec, config, inputs))


@given(json_values, st.randoms(use_true_random=False))
def test_canonical_json_is_blind_to_order_and_to_a_round_trip(value: Any, order: random.Random) -> None:
    import json

    assert canonical_json(shuffled(value, order)) == canonical_json(value)
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@given(json_values, json_values)
def test_different_values_are_spelled_differently(one: Any, two: Any) -> None:
    # Python holds 1 == 1.0 == True and 0.0 == -0.0; JSON does not. repr tells them apart.
    assume(repr(sorted_keys(one)) != repr(sorted_keys(two)))
    assert canonical_json(one) != canonical_json(two)


def sorted_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: sorted_keys(value[name]) for name in sorted(value)}
    return [sorted_keys(inner) for inner in value] if isinstance(value, list) else value


@given(scale_configs(), identities, st.randoms(use_true_random=False))
def test_a_key_is_blind_to_the_order_of_inputs(config: ScaleConfig, inputs: dict[str, str], order: Any) -> None:
    assert key(config, inputs) == key(config, shuffled(inputs, order))


@given(scale_configs(), identities, st.integers(1, 64))
def test_a_key_is_blind_to_settings_outside_it(config: ScaleConfig, inputs: dict[str, str], workers: int) -> None:
    assert key(override(config, "numbers.workers", str(workers)), inputs) == key(config, inputs)


@given(scale_configs(), scale_configs(), identities)
def test_a_key_is_sensitive_to_each_setting_in_it(one: ScaleConfig, two: ScaleConfig, inputs: dict[str, str]) -> None:
    for mixed, value, other in (
        (dataclasses.replace(one, factor=two.factor), one.factor, two.factor),
        (dataclasses.replace(one, clip=two.clip), one.clip, two.clip),
        (override(one, "numbers.count", str(two.numbers.count)), one.numbers.count, two.numbers.count),
        (override(one, "numbers.seed", str(two.numbers.seed)), one.numbers.seed, two.numbers.seed),
    ):
        assert (key(mixed, inputs) == key(one, inputs)) == (repr(value) == repr(other))


@given(scale_configs(), identities, identities, st.integers(2, 9))
def test_a_key_is_sensitive_to_inputs_version_name_and_libraries(
    config: ScaleConfig, inputs: dict[str, str], others: dict[str, str], version: int
) -> None:
    same = key(config, inputs)
    assert (key(config, others) == same) == (inputs == others)
    assert key(config, inputs, dataclasses.replace(SCALE, version=version)) != same
    assert key(config, inputs, dataclasses.replace(SCALE, name="other")) != same
    assert key(config, inputs, dataclasses.replace(SCALE, libraries=("numpy",))) != same


@given(scale_configs())
def test_settings_survive_json(config: ScaleConfig) -> None:
    again = from_json(ScaleConfig, to_json(config))
    assert again == config
    assert canonical_json(semantic_dict(again)) == canonical_json(semantic_dict(config))


arrays = hnp.arrays(
    st.sampled_from([np.float32, np.int64, np.uint8, np.bool_]), hnp.array_shapes(min_dims=0, max_dims=3, max_side=4)
)


@given(arrays, arrays)
def test_array_identity_is_equality_of_type_shape_and_bytes(one: Any, two: Any) -> None:
    equal = one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes()
    assert (digest_array("a", one) == digest_array("a", two)) == equal
    assert digest_array("a", one) == digest_array("a", np.asfortranarray(one).reshape(one.shape))
