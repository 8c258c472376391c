"""A policy and a value model of somebody else: one short file each, found by name, held to the same contract."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from installed import HERE, install
from tests.support.policies import arm_pair, last_candidate, make_observation, train_synthetic
from tests.support.values import synthetic_values
from tests.support.values import train_synthetic as train_value

from pipelines.config import PRESETS, Models
from pipelines.graph import build_graph
from policy.models import POLICIES, load_policy
from recap.errors import ConfigError
from value_model.models import VALUE_MODELS, family_of, load_value_model


@pytest.fixture(scope="module", autouse=True)
def third():
    """Both families, known in this process while these tests run and no longer."""
    for registry in (POLICIES, VALUE_MODELS):
        registry.names()
    import neighbours_value
    import ridge_policy

    yield ridge_policy, neighbours_value
    for registry, name in ((POLICIES, "ridge"), (VALUE_MODELS, "neighbours")):
        del registry._items[name]
    for module in ("ridge_policy", "neighbours_value"):
        del sys.modules[module]


def test_each_is_at_most_sixty_lines():
    for name in ("ridge_policy.py", "neighbours_value.py"):
        assert len((HERE / name).read_text().splitlines()) <= 60


def test_the_value_model_learns_and_labels(tmp_path):
    data = synthetic_values(tmp_path, episodes=4, length=16)
    config = replace(VALUE_MODELS.get("neighbours").config(), count=1)
    assert family_of(config).name == "neighbours"
    figures = train_value(config, data, tmp_path, episodes=(0, 1, 2))
    assert figures == {"frames": float(data.packed.offsets[3])}
    model = load_value_model(tmp_path / "bundle")
    value, spread = model.label(data, 1, draws=2, noise_seed=0)
    np.testing.assert_array_equal(value, data.returns[data.rows(1)])  # each frame it has seen is its own neighbour
    assert not spread.any()
    unseen, _ = model.label(data, 3, draws=1, noise_seed=0)
    assert set(unseen) <= set(data.returns[: data.packed.offsets[3]])


def test_the_policy_learns_and_acts(tmp_path):
    config = POLICIES.get("ridge").config()
    train_synthetic("ridge", config, tmp_path)
    policy = load_policy(last_candidate(tmp_path))
    observation = make_observation(3)
    chunk = policy.act(observation, noise_seed=0)
    assert chunk.shape == (config.chunk, len(arm_pair().action_names))
    np.testing.assert_allclose(chunk, np.repeat(observation.state[None] / 2, config.chunk, axis=0), atol=1e-3)
    assert 1 <= policy.execute <= config.chunk
    assert len(policy.policy_id) == 64


def test_the_policy_leaves_out_what_is_labelled_negative(tmp_path, third):
    """Half the rows are negative and say the opposite: a policy that heeds the labels acts as without them."""

    class Contrary:
        def batch(self, step):
            rng = np.random.default_rng(step)
            state = rng.normal(size=(32, 3)).astype(np.float32)
            condition = np.tile([1, 2], 16).astype(np.int8)
            action = np.where(condition == 2, -1, 1)[:, None, None] * state[:, None]
            return {"state": state, "action": action, "condition": condition}

    ridge, _ = third
    ridge.train(ridge.RidgeConfig(chunk=1), Contrary(), {}, out=tmp_path)
    weight = ridge.Ridge(tmp_path / "step-000040").weight
    np.testing.assert_allclose(weight[:3, 0], np.eye(3), atol=1e-3)


def test_a_child_process_finds_both_by_name(tmp_path):
    code = (
        "from policy.models import POLICIES; from value_model.models import VALUE_MODELS; "
        "print(POLICIES.get('ridge').name, VALUE_MODELS.get('neighbours').name)"
    )
    done = _child(tmp_path, "-c", code)
    assert (done.returncode, done.stdout.split()) == (0, ["ridge", "neighbours"]), done.stderr


def test_the_value_model_passes_the_contract_of_all_value_models(tmp_path):
    contract = "tests/contract/value_models/test_value_families.py"
    done = _child(tmp_path, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", contract, "-k", "neighbours")
    assert done.returncode == 0, done.stdout  # 5 if none was chosen


def _child(folder, *command):
    path = os.pathsep.join([str(install(folder / "site")), os.getcwd()])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)


def test_a_policy_that_acts_in_one_way_is_not_asked_for_another(third):
    models = Models(policy="ridge", value="neighbours", beside=())
    made = PRESETS.get("sim")(("shirt_folding",), models)
    assert (made.checkpoint_selection.guidance, made.checkpoint_selection.noise_scale) == ((1.0,), (1.0,))
    for name in ("guidance", "noise_scale"):
        asked = replace(made, checkpoint_selection=replace(made.checkpoint_selection, **{name: (1.0, 2.0)}))
        with pytest.raises(ConfigError, match=f"act in one way: {name} 2"):
            build_graph(asked)


def test_what_acts_with_somebody_elses_policy_knows_its_settings(third):
    made = PRESETS.get("micro")(("shirt_folding",), Models(policy="ridge", value="neighbours", beside=()))
    acting = [node for node in build_graph(made).order() if getattr(node.facts, "env", None) is not None]
    assert [type(node.facts.policy).__name__ for node in acting] == ["NoneType", *["RidgeConfig"] * 6]
