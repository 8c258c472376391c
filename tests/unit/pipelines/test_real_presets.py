"""Presets of published weights, and what a run with them would cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.task_list import robot_of
from pipelines.config import PRESETS, Models
from pipelines.cost import CARDS, REACHED, costs
from pipelines.graph import build_graph
from pipelines.invocation import Invocation
from pipelines.probe import policy_needs, value_needs
from policy.flow.config import LoraConfig
from policy.models import family_of
from recap.errors import ConfigError
from recap.explain import explain
from recap.training.runtime import Runtime
from recap.workspace import Workspace

TASK = ("shirt_folding",)


@pytest.mark.parametrize("family", ["pi05", "gigabrain0"])
def test_each_has_its_own_policy_at_the_published_size(family: str) -> None:
    config = PRESETS.get(f"real-{family}")(TASK, Models())
    assert family_of(config.policy.model).name == family
    assert (config.policy.model.network.image_size, config.policy.model.chunk) == (224, 50)
    assert (config.runtime.device, config.runtime.dtype) == ("cuda", "bfloat16")
    assert config.runtime.recompute == (family == "gigabrain0")
    assert PRESETS.get(f"real-{family}")(TASK, Models(policy=family)) == config
    other = {"pi05": "gigabrain0", "gigabrain0": "pi05"}[family]
    with pytest.raises(ConfigError, match=f"--policy {other}"):
        PRESETS.get(f"real-{family}")(TASK, Models(policy=other))


@pytest.mark.parametrize("family", [pytest.param("pi05", marks=pytest.mark.slow), "gigabrain0"])
def test_with_adapters_the_same_policy_fits_one_card_of_24_gb(family: str) -> None:
    config, real = (PRESETS.get(f"{size}-{family}")(TASK, Models()) for size in ("lora", "real"))
    policy: Any = config.policy.model
    assert replace(policy, lora=LoraConfig()) == real.policy.model
    assert config.workers == 1
    assert replace(config, policy=real.policy, values=real.values, workers=real.workers) == real
    nodes = {node.name: node.config for node in build_graph(config).order()}
    assert nodes["0/pretrain"].model.lora == nodes["1/policy"].model.lora == policy.lora
    if family != "pi05":  # a pass at full size, even on shapes, takes its time
        return
    needs = policy_needs(policy, prompts=("fold",), robot=robot_of(TASK), runtime=Runtime.of(config.runtime))
    assert needs is not None
    assert 16 * 2**30 < needs.total < 22 * 2**30
    assert needs.bundle > 4 * 3.3e9 > 4 * needs.trained
    value = value_needs(
        config.values["viva"], prompts=("fold",), robot=robot_of(TASK), runtime=Runtime(dtype="bfloat16")
    )
    assert value is not None
    assert value.total < 2**32


def test_the_family_is_in_the_name_only_where_the_preset_does_not_say_it() -> None:
    assert Invocation.of(preset="real-gigabrain0").name == "shirt_folding-real-gigabrain0"
    assert Invocation.of(preset="micro", policy="gigabrain0").name == "shirt_folding-micro-gigabrain0"
    assert Invocation.of(preset="micro", policy="pi05").name == "shirt_folding-micro"


def test_a_run_without_the_files_is_refused_before_its_first_step() -> None:
    from value_model.models import family_of as value_family

    config = PRESETS.get("real-pi05")(TASK, Models())
    build_graph(config)  # a plan needs no files
    policy: Any = config.policy.model
    with pytest.raises(ConfigError, match="published weights"):
        family_of(policy).check_files(policy, robot_of(TASK))
    viva = config.values["viva"]
    with pytest.raises(ConfigError, match=r"encoder.folder, start, prompt_file"):
        value_family(viva).check_files(viva)


def test_a_published_vlm_without_its_files_is_refused() -> None:
    from value_model.models import family_of as value_family

    vlm = PRESETS.get("real-pi05")(TASK, Models(value="vlm")).values["vlm"]
    with pytest.raises(ConfigError, match="published weights"):
        value_family(vlm).check_files(vlm)


def test_costs_are_of_what_would_be_trained(tmp_path: Path) -> None:
    config = PRESETS.get("micro")(TASK, Models())
    graph, workspace = build_graph(config), Workspace.open(tmp_path / "w")
    plans = explain(workspace, graph, "run")
    found = {cost.node: cost for cost in costs(config, graph, plans)}
    assert set(found) == {"0/pretrain", "0/policy", "1/policy", "1/viva/value_train"}
    value, policy = found["1/viva/value_train"], found["1/policy"]
    assert policy.needs is not None
    assert value.needs is not None
    assert (value.trainings, value.steps, value.bundles) == (2, 8, 2)
    assert (policy.trainings, policy.steps, policy.bundles) == (1, 12, 2)
    assert value.operations == 2 * 8 * value.needs.operations
    assert policy.bundle_bytes == 2 * 4 * policy.needs.parameters
    adapted = replace(policy, needs=replace(policy.needs, bundle=1000))  # of a whole network, of which part is trained
    assert (adapted.bundle_bytes, adapted.checkpoint_bytes) == (2000, policy.checkpoint_bytes)
    assert policy.checkpoint_bytes == 8 * 4 * policy.needs.parameters
    assert value.checkpoint_bytes == 2 * 8 * value.needs.trained  # of both folds: the first's stays until the step ends
    assert policy.hours("H100") == pytest.approx(policy.operations / (CARDS["H100"] * REACHED) / 3600)
    cached = [plan for plan in plans if plan.node != "0/policy"]
    assert "0/policy" not in {cost.node for cost in costs(config, graph, cached)}


def test_value_models_without_published_weights_are_small_and_trained_as_long() -> None:
    config = PRESETS.get("real-pi05")(TASK, Models(value="cnn"))
    assert config.values["cnn"].fit.steps == PRESETS.get("real-pi05")(TASK, Models()).values["viva"].fit.steps
