"""A real GPU computes what the CPU computes, up to rounding: training, resuming, labelling and acting. `make gpu`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.support.fakes import MemoryJournal
from tests.support.policies import last_candidate, make_observation, train_synthetic
from tests.support.values import synthetic_values

from policy.conditioning import POSITIVE
from policy.models import POLICIES, Acting, load_policy, with_acting
from recap.training.config import FitConfig
from recap.training.runtime import Runtime
from value_model.models import ValueData, family_of, load_value_model
from value_model.models.viva.config import tiny_config as tiny_viva

pytestmark = [
    pytest.mark.gpu,
    # torch's fused RMS norm takes one number format only; the slower one is right as well.
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch.cuda.is_available() is False: no GPU here"),
]
GPU = Runtime(device="cuda")
HALF = Runtime(device="cuda", dtype="bfloat16")
FAMILIES = ("pi05", "gigabrain0")


def train_policy(family: str, folder: Path, runtime: Runtime) -> dict[str, torch.Tensor]:
    config = POLICIES.get(family).presets["small"](steps=6, fine=False)
    config = replace(config, fit=FitConfig(steps=6, checkpoint_every=2))
    train_synthetic(family, config, folder, condition=POSITIVE, seed=3, runtime=runtime)
    (weights,) = (load_file(path) for path in last_candidate(folder).glob("*model.safetensors"))
    return weights


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("micro_batch", [0, 5])
def test_policies_learn_the_same(tmp_path: Path, family: str, micro_batch: int) -> None:
    """Starting weights, image shifts, times and noise are the CPU's: only rounding differs."""
    expected = train_policy(family, tmp_path / "cpu", Runtime())
    found = train_policy(family, tmp_path / "gpu", Runtime(device="cuda", micro_batch=micro_batch))
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-2, atol=1e-3)


def test_training_dies_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_policy("pi05", tmp_path / "whole", GPU)
    monkeypatch.setattr("recap.faults._seen", {})
    monkeypatch.setenv("RECAP_FAULT", "train.step:5:raise")
    with pytest.raises(RuntimeError, match="fault injected"):
        train_policy("pi05", tmp_path / "cut", GPU)
    monkeypatch.delenv("RECAP_FAULT")
    cut = train_policy("pi05", tmp_path / "cut", GPU)
    for name, value in whole.items():
        torch.testing.assert_close(cut[name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("beta", [1.0, 2.0])
@pytest.mark.parametrize(("runtime", "tolerance"), [(GPU, 1e-3), (HALF, 0.1)])
def test_policies_act_the_same(tmp_path: Path, family: str, beta: float, runtime: Runtime, tolerance: float) -> None:
    train_synthetic(family, POLICIES.get(family).presets["tiny"](steps=4, fine=False), tmp_path, condition=POSITIVE)
    with_acting(last_candidate(tmp_path), tmp_path / "guided", Acting(guidance=beta))
    seen = make_observation(1)
    expected, found = (
        load_policy(tmp_path / "guided", runtime=where).act(seen, noise_seed=2) for where in (Runtime(), runtime)
    )
    np.testing.assert_allclose(found, expected, atol=tolerance)


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> ValueData:
    return synthetic_values(tmp_path_factory.mktemp("values"))


def train_viva(values: ValueData, folder: Path, runtime: Runtime, shift_pixels: int) -> Path:
    config = tiny_viva(shift_pixels=shift_pixels)
    family_of(config).train(
        config, values, np.array([0, 1]), seed=3, scratch=folder / "scratch", out=folder / "bundle",
        journal=MemoryJournal(), data_identity="synthetic", runtime=runtime,
    )  # fmt: skip
    return folder / "bundle"


@pytest.mark.parametrize("shift_pixels", [0, 1])
def test_viva_learns_and_labels_the_same(tmp_path: Path, values: ValueData, shift_pixels: int) -> None:
    bundles = [
        train_viva(values, tmp_path / name, runtime, shift_pixels) for name, runtime in (("c", Runtime()), ("g", GPU))
    ]
    expected, spread = load_value_model(bundles[0]).label(values, 3, draws=4, noise_seed=1)
    for bundle, runtime, tolerance in ((bundles[1], GPU, 2e-3), (bundles[0], GPU, 1e-4), (bundles[0], HALF, 2e-2)):
        found = load_value_model(bundle, runtime=runtime).label(values, 3, draws=4, noise_seed=1)
        np.testing.assert_allclose(found[0], expected, atol=tolerance)
        np.testing.assert_allclose(found[1], spread, atol=tolerance)
