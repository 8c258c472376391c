"""What every registered value model must do, built-in or plug-in."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.values import synthetic_values, train_synthetic

from recap.errors import ArtifactCorrupt, ConfigError
from recap.hashing import digest_tree
from value_model.models import VALUE_MODELS, Experience, GivesAdvantages, ValueData, family_of, load_value_model

FAMILIES = VALUE_MODELS.names()
LEARNING = [name for name in FAMILIES if name not in ("oracle", "random")]


def quick(family: str) -> Any:
    """A configuration that trains in a second."""
    chosen = VALUE_MODELS.get(family)
    return chosen.presets["tiny"](steps=3) if chosen.presets else chosen.config()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> ValueData:
    return synthetic_values(tmp_path_factory.mktemp("experience"))


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request: pytest.FixtureRequest, data: ValueData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    figures = train_synthetic(quick(request.param), data, folder)
    assert all(np.isfinite(value) for value in figures.values())
    return folder / "bundle"


def test_labels_have_the_shape_of_the_episode(trained: Path, data: ValueData) -> None:
    model = load_value_model(trained)
    for episode, length in enumerate(np.diff(data.packed.offsets)):
        value, spread = model.label(data, episode, draws=2, noise_seed=0)
        assert value.shape == spread.shape == (length,)
        assert value.dtype == spread.dtype == np.float32
        assert np.isfinite(value).all()
        assert (spread >= 0).all()


def test_labels_depend_on_neither_order_nor_worker_nor_returns(trained: Path, data: ValueData) -> None:
    first, second = load_value_model(trained), load_value_model(trained)
    blind = Experience(packed=data.packed, prompts=data.prompts, truth=data.truth)
    ahead = {e: first.label(data, e, draws=2, noise_seed=5) for e in (0, 1, 2)}
    back = {e: second.label(blind, e, draws=2, noise_seed=5) for e in (2, 1, 0)}
    for e, (value, spread) in ahead.items():
        np.testing.assert_array_equal(value, back[e][0])
        np.testing.assert_array_equal(spread, back[e][1])


def test_only_families_that_say_so_give_advantages(trained: Path, data: ValueData) -> None:
    model, family = load_value_model(trained), VALUE_MODELS.get(trained.parent.name.rstrip("0123456789"))
    assert isinstance(model, GivesAdvantages) == family.gives_advantages
    if isinstance(model, GivesAdvantages):
        for episode, length in enumerate(np.diff(data.packed.offsets)):
            found = model.advantage(data, episode, lookahead=3)
            assert (found.shape, found.dtype) == ((length,), np.float32)
            assert np.isfinite(found).all()


def test_one_draw_has_no_spread(trained: Path, data: ValueData) -> None:
    _, spread = load_value_model(trained).label(data, 0, draws=1, noise_seed=0)
    np.testing.assert_array_equal(spread, 0)


def test_bundles_name_their_family_and_are_the_same_twice(trained: Path, data: ValueData, tmp_path: Path) -> None:
    family = trained.parent.name.rstrip("0123456789")
    config = quick(family)
    assert family_of(config).name == family
    train_synthetic(config, data, tmp_path)
    assert digest_tree(tmp_path / "bundle") == digest_tree(trained)


def test_a_half_written_bundle_is_replaced(trained: Path, data: ValueData, tmp_path: Path) -> None:
    family = trained.parent.name.rstrip("0123456789")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "leftover").write_text("torn")
    train_synthetic(quick(family), data, tmp_path)
    assert digest_tree(tmp_path / "bundle") == digest_tree(trained)


@pytest.mark.parametrize("family", FAMILIES)
def test_episodes_without_a_return_teach_nothing(family: str, data: ValueData, tmp_path: Path) -> None:
    packed = data.packed
    returns = data.returns.copy()
    returns[packed.episode_of == 2] = np.nan
    partly = replace(data, returns=returns)
    train_synthetic(quick(family), partly, tmp_path / "with", episodes=(0, 1, 2))
    train_synthetic(quick(family), data, tmp_path / "without", episodes=(0, 1))
    assert digest_tree(tmp_path / "with" / "bundle") == digest_tree(tmp_path / "without" / "bundle")


@pytest.mark.parametrize("family", LEARNING)
def test_nothing_to_learn_from_is_refused(family: str, data: ValueData, tmp_path: Path) -> None:
    nothing = replace(data, returns=np.full_like(data.returns, np.nan))
    with pytest.raises(ConfigError, match="2 training episodes has a return"):
        train_synthetic(quick(family), nothing, tmp_path)


@pytest.mark.parametrize("family", LEARNING)
def test_what_is_held_out_is_not_read(family: str, data: ValueData, tmp_path: Path) -> None:
    returns = data.returns.copy()
    returns[np.isin(data.packed.episode_of, (2, 3))] = -0.123
    other = replace(data, returns=returns)
    train_synthetic(quick(family), data, tmp_path / "a")
    train_synthetic(quick(family), other, tmp_path / "b")
    assert digest_tree(tmp_path / "a" / "bundle") == digest_tree(tmp_path / "b" / "bundle")


def test_a_bundle_without_its_description_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactCorrupt, match="does not name a family"):
        load_value_model(tmp_path)
    (tmp_path / "value.json").write_bytes((trained / "value.json").read_bytes()[:-3])
    with pytest.raises(ArtifactCorrupt):
        load_value_model(tmp_path)


def test_only_the_oracle_reads_the_truth(data: ValueData, tmp_path: Path) -> None:
    blind = replace(data, truth=None)
    for family in FAMILIES:
        if VALUE_MODELS.get(family).privileged:
            with pytest.raises(ConfigError, match="no simulator truth"):
                train_synthetic(quick(family), blind, tmp_path / family)
        else:
            train_synthetic(quick(family), blind, tmp_path / family)
            load_value_model(tmp_path / family / "bundle").label(blind, 3, draws=1, noise_seed=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_size_of_a_family_is_its_own_configuration(family: str) -> None:
    offered = VALUE_MODELS.get(family)
    for size, make in offered.presets.items():
        assert size in ("tiny", "small", "published")
        config = make(steps=7)
        assert (family_of(config), config.fit.steps) == (offered, 7)


def test_naming_the_families_imports_no_torch() -> None:
    code = (
        "import sys; from value_model.models import VALUE_MODELS; "
        "assert {'viva', 'clock', 'state_only', 'oracle', 'random'} <= set(VALUE_MODELS.names()); "
        "heavy = {'torch', 'diffusers', 'transformers', 'ray', 'mujoco', 'zarr'} & set(sys.modules); "
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
