"""Advantages and values from a trained ensemble: the formulas, the end of the episode, batches, bundles."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.support.values import synthetic_values, train_synthetic

from recap.errors import ArtifactCorrupt, ConfigError
from recap.training.config import FitConfig
from recap.training.runtime import Runtime
from value_model.models import ValueData
from value_model.models.steam import tiny_config
from value_model.models.steam.bundle import read_bundle
from value_model.models.steam.label import Steam, load


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ValueData:
    return synthetic_values(tmp_path_factory.mktemp("experience"))


@pytest.fixture(scope="module")
def bundle(data: ValueData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steam")
    train_synthetic(tiny_config(fit=FitConfig(steps=12, learning_rate=1e-2), members=3), data, folder)
    return folder / "bundle"


def test_the_advantage_is_the_lowest_of_all_members(bundle: Path, data: ValueData) -> None:
    model = load(bundle)
    offsets = model.member_offsets(data, 2, lookahead=3)
    advantage = model.advantage(data, 2, lookahead=3)
    assert offsets.shape == (3, int(np.diff(data.packed.offsets)[2]))
    assert advantage.dtype == np.float32
    np.testing.assert_array_equal(advantage, offsets.min(0))
    assert len(set(offsets.argmin(0).tolist())) > 1  # no member is the worst everywhere
    assert np.abs(offsets).max() <= 1


def test_pairs_past_the_end_are_with_the_last_frame_and_nothing_is_scaled(bundle: Path, data: ValueData) -> None:
    parts = read_bundle(bundle)
    ensemble, packed, steps, lookahead = parts.ensemble, data.packed, int(np.diff(data.packed.offsets)[1]), 5
    rows = np.arange(packed.offsets[1], packed.offsets[2])
    found = load(bundle).member_offsets(data, 1, lookahead=lookahead)
    with torch.no_grad():
        frames = ensemble.encode(torch.from_numpy(packed.gather(rows)), torch.from_numpy(packed.state[rows]))
        for t in range(steps):
            u = min(t + lookahead, steps - 1)
            logits = ensemble.compare(frames[:, [t]], frames[:, [u]], torch.zeros(1, dtype=torch.long))
            chance = logits[:, 0].softmax(-1).numpy()
            expected = chance @ np.linspace(-1, 1, parts.config.bins)
            np.testing.assert_allclose(found[:, t], expected, atol=1e-5)


def test_values_are_the_way_left_to_where_successes_ended(bundle: Path, data: ValueData) -> None:
    parts = read_bundle(bundle)
    value, spread = load(bundle).label(data, 3, draws=2, noise_seed=0)
    rows = np.arange(data.packed.offsets[3], data.packed.offsets[4])
    ahead = torch.from_numpy(np.linspace(-1, 1, parts.config.bins)[parts.config.bins // 2 :]).float()
    with torch.no_grad():
        ensemble = parts.ensemble
        goals = ensemble.encode(parts.goals.images, parts.goals.state)
        frames = ensemble.encode(torch.from_numpy(data.packed.gather(rows)), torch.from_numpy(data.packed.state[rows]))
        for t in range(len(rows)):
            now = frames[:, [t]].expand(-1, goals.shape[1], -1)
            logits = ensemble.compare(now, goals, torch.zeros(goals.shape[1], dtype=torch.long))
            way = logits[..., parts.config.bins // 2 :].softmax(-1) @ ahead
            assert value[t] == pytest.approx(float((-way.mean(1)).min()), abs=1e-5)
    assert value.min() >= -1
    assert value.max() <= 0
    assert (spread == 0).all()


def test_neither_values_nor_advantages_depend_on_batching(bundle: Path, data: ValueData) -> None:
    whole = load(bundle, runtime=Runtime(label_batch=512))
    for size in (1, 7, 64):
        model = load(bundle, runtime=Runtime(label_batch=size))
        np.testing.assert_allclose(
            model.label(data, 0, draws=1, noise_seed=0)[0], whole.label(data, 0, draws=1, noise_seed=0)[0], atol=1e-5
        )
        np.testing.assert_allclose(
            model.advantage(data, 0, lookahead=4), whole.advantage(data, 0, lookahead=4), atol=1e-5
        )


def test_what_is_kept_of_one_episode_is_not_taken_for_another(bundle: Path, data: ValueData) -> None:
    model = load(bundle)
    ahead = {e: model.advantage(data, e, lookahead=2) for e in (0, 1)}
    for e in (1, 0):
        np.testing.assert_array_equal(load(bundle).advantage(data, e, lookahead=2), ahead[e])
    # The same positions of other experience are other frames.
    turned = replace(data, packed=UpsideDown(data.packed))
    fresh = load(bundle).advantage(turned, 0, lookahead=2)
    np.testing.assert_array_equal(model.advantage(turned, 0, lookahead=2), fresh)
    assert not np.array_equal(fresh, ahead[0])


class UpsideDown:
    """A view whose pictures are turned upside down."""

    def __init__(self, packed: Any) -> None:
        self._packed = packed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._packed, name)

    def gather(self, rows: Any, views: Any = None) -> Any:
        return self._packed.gather(rows, views)[:, :, ::-1].copy()


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
def test_bfloat16_labels_nearly_alike(bundle: Path, data: ValueData) -> None:
    whole, rounded = (load(bundle, runtime=Runtime(dtype=dtype)) for dtype in ("float32", "bfloat16"))
    gap = np.abs(rounded.advantage(data, 1, lookahead=3) - whole.advantage(data, 1, lookahead=3))
    assert 0 < gap.max() < 0.05


def test_a_reloaded_ensemble_gives_equal_values(bundle: Path, data: ValueData) -> None:
    first, second = load(bundle), load(bundle)
    np.testing.assert_array_equal(first.advantage(data, 0, lookahead=3), second.advantage(data, 0, lookahead=3))
    np.testing.assert_array_equal(
        first.label(data, 0, draws=1, noise_seed=0)[0], second.label(data, 0, draws=1, noise_seed=5)[0]
    )


def test_other_data_than_it_was_trained_on_is_refused(bundle: Path, data: ValueData, tmp_path: Path) -> None:
    model = load(bundle)
    with pytest.raises(ConfigError, match="'pack the box' was in no successful training episode"):
        model.label(replace(data, prompts=("pack the box",) * 4), 0, draws=1, noise_seed=0)
    larger = synthetic_values(tmp_path, episodes=1, size=64)
    with pytest.raises(ConfigError, match=r"trained on \(32, 32\)"):
        model.advantage(larger, 0, lookahead=1)
    with pytest.raises(ConfigError, match="look-ahead of 0 steps"):
        model.advantage(data, 0, lookahead=0)
    other = replace(model.parts, views=("cam_high", "cam_chest"))
    with pytest.raises(ConfigError, match=r"\['cam_chest'\] are not among"):
        Steam(other).label(data, 0, draws=1, noise_seed=0)


def copied(bundle: Path, folder: Path) -> Path:
    import shutil

    shutil.copytree(bundle, folder)
    return folder


def test_weights_of_another_network_are_refused_by_name(bundle: Path, tmp_path: Path) -> None:
    weights = load_file(bundle / "weights.safetensors")
    name = "members.1.judge.2.weight"
    wrong = {
        "lacking": {key: value for key, value in weights.items() if key != name},
        "larger": {**weights, name: torch.zeros(3, 3)},
        "unknown": {**weights, "members.7.look.0.weight": torch.zeros(1)},
    }
    for how, tensors in wrong.items():
        torn = copied(bundle, tmp_path / how)
        save_file(tensors, torn / "weights.safetensors")
        with pytest.raises(ArtifactCorrupt, match="members.7.look.0.weight" if how == "unknown" else name):
            load(torn)


def test_damaged_bundles_are_refused(bundle: Path, tmp_path: Path) -> None:
    for name in ("weights.safetensors", "goals.safetensors", "value.json"):
        torn = copied(bundle, tmp_path / name)
        content = (torn / name).read_bytes()
        (torn / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ArtifactCorrupt, match="value bundle"):
            load(torn)
    foreign = copied(bundle, tmp_path / "foreign")
    raw = json.loads((foreign / "value.json").read_bytes())
    (foreign / "value.json").write_text(json.dumps({**raw, "family": "viva"}))
    with pytest.raises(ArtifactCorrupt, match="expected steam"):
        load(foreign)
