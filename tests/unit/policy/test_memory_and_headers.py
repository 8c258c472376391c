"""What a training needs in memory, and whether weights fit, both without the weights."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from tests.support.policies import (
    CAMERAS,
    TASK,
    SyntheticBatches,
    arm_pair,
    last_candidate,
    synthetic_stats,
    train_synthetic,
)

from policy.flow.config import FlowConfig, network_sizes
from policy.flow.learner import FlowLearner
from policy.flow.network import FlowNetwork
from policy.flow.scaling import PolicyStats
from policy.models import POLICIES
from policy.models.gigabrain0.config import tiny_preset
from policy.models.gigabrain0.network import GigaBrain0Network
from policy.models.pi05.config import Pi05Config, tiny_config
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.sizes import full
from recap.errors import ArtifactCorrupt, ConfigError
from recap.training.needs import Kept, Needs
from recap.training.runtime import Runtime

FAMILIES = {"pi05": (Pi05Network, tiny_config()), "gigabrain0": (GigaBrain0Network, tiny_preset(steps=1, fine=False))}


def needs_of(family: str, config: FlowConfig, batch: Any, runtime: Runtime) -> Needs:
    found = POLICIES.get(family).needs
    assert found is not None
    return found(
        config, batch, synthetic_stats(config.chunk, ()), prompts=(TASK,), robot=arm_pair(), cameras=CAMERAS,
        runtime=runtime,
    )  # fmt: skip


def really_kept(kind: type[FlowNetwork], config: FlowConfig, batch: Any, runtime: Runtime) -> int:
    """Bytes that autograd keeps of a pass that is really done."""
    network = kind(network_sizes(config, arm_pair(), CAMERAS))
    stats = PolicyStats.from_json(synthetic_stats(config.chunk, ()), relative=False, scaling=kind.scaling)
    learner = FlowLearner(network, prompts=(TASK,), stats=stats, draws=config.draws, shift_pixels=config.shift_pixels)
    rows = learner.prepare(batch, torch.Generator().manual_seed(0))
    kept = Kept([*network.parameters()])
    part = runtime.micro_batch or len(rows["action"])
    rows = {name: value[:part].clone() for name, value in rows.items()}
    if runtime.recompute:
        learner.run_layers(kept.layer)
    with runtime.autocast():
        return kept.by(lambda: learner(rows))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "runtime",
    [Runtime(), Runtime(dtype="bfloat16"), Runtime(micro_batch=3), Runtime(dtype="bfloat16", recompute=True)],
)
def test_the_computed_activations_are_those_of_a_real_pass(family: str, runtime: Runtime) -> None:
    kind, config = FAMILIES[family]
    batch = SyntheticBatches(batch_size=8, chunk=config.chunk).batch(0)
    needs = needs_of(family, config, batch, runtime).memory
    assert needs["activations"] == really_kept(kind, config, batch, runtime) > 10_000
    with torch.device("meta"):
        network = kind(network_sizes(config, arm_pair(), CAMERAS))
    weights = 4 * sum(value.numel() for value in network.parameters())
    assert (needs["weights"], needs["gradients"], needs["moments"], needs["average"]) == (
        weights, weights, 2 * weights, weights,
    )  # fmt: skip


@pytest.mark.slow
def test_the_published_size_is_computed_without_its_memory() -> None:
    config = Pi05Config(network=full(), chunk=50, execute=50, draws=1, shift_pixels=0)
    batch = SyntheticBatches(batch_size=1, chunk=50, image_size=224).batch(0)
    found = needs_of("pi05", config, batch, Runtime(dtype="bfloat16"))
    needs = found.memory
    assert needs["weights"] == 4 * 3_353_433_872
    assert needs["activations"] > 2**32
    # 2 x parameters x tokens forward, twice that backward: of image tower, prefix and expert, each over its own tokens.
    vision, text, expert = 0.41e9 * 3 * 256, 1.98e9 * (3 * 256 + 64), 0.31e9 * 50
    assert found.operations == pytest.approx(6 * (vision + text + expert), rel=0.25)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    config = replace(tiny_config(), fit=replace(tiny_config().fit, steps=0))
    train_synthetic("pi05", config, folder)
    return last_candidate(folder)


def check(family: str, folder: Path) -> tuple[str, list[str]]:
    found = POLICIES.get(family).check_checkpoint
    assert found is not None
    return found(folder)


def test_a_bundle_fits_itself(bundle: Path) -> None:
    what, problems = check("pi05", bundle)
    assert problems == []
    assert what.startswith("pi05, a bundle of recap, ")


def test_every_tensor_that_does_not_fit_is_named(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(bundle, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.action_in_proj.bias"]
    weights["model.action_out_proj.bias"] = np.zeros(3, np.float32)
    weights["model.another"] = np.zeros((2, 2), np.float32)
    weights["model.paligemma_with_expert.paligemma.lm_head.weight"] = np.zeros(1, np.float32)
    save_file(weights, folder / "model.safetensors")
    assert check("pi05", folder)[1] == [
        "missing    model.action_in_proj.bias [32]",
        "unknown    model.another [2, 2]",
        "misshapen  model.action_out_proj.bias [3], expected [14]",
    ]


def test_other_folders_are_compared_with_the_published_sizes(tmp_path: Path) -> None:
    """In parts, as large checkpoints lie on disk; one byte per tensor would not be less than their headers."""
    part = {"model.time_mlp_in.weight": np.zeros((1024, 1024), np.float16)}
    save_file(part, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"model.time_mlp_in.bias": np.zeros(7, np.float32)}, tmp_path / "model-00002-of-00002.safetensors")
    save_file({"policy": np.zeros(1, np.float32)}, tmp_path / "policy_preprocessor.safetensors")
    what, problems = check("pi05", tmp_path)
    assert what == "pi05, published sizes, 2 tensors in 2 files"
    assert "misshapen  model.time_mlp_in.bias [7], expected [1024]" in problems
    assert not [line for line in problems if "time_mlp_in.weight" in line or line.startswith("unknown")]
    assert len(problems) > 700


def test_what_cannot_be_read_is_said(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no weights, expected model"):
        check("pi05", tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(ConfigError, match=r"pickled weights \(pytorch_model\.bin\)") as refused:
        check("pi05", tmp_path)
    assert "no pickle" in refused.value.hint
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ArtifactCorrupt, match=r"model\.safetensors"):
        check("pi05", tmp_path)
    with pytest.raises(ArtifactCorrupt, match="family pi05 format 4, expected gigabrain0"):
        check("gigabrain0", bundle)
    assert json.loads((bundle / "recap.json").read_bytes())["family"] == "pi05"
