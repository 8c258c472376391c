"""Starting from weights that others published: their files, their tokenizer, and what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tests.support.fakes import MemoryJournal
from tests.support.policies import (
    CAMERAS,
    TASK,
    SyntheticBatches,
    arm_pair,
    last_candidate,
    make_observation,
    synthetic_stats,
    train_synthetic,
)
from tests.support.published import IMAGE, published_config, tokenizer, tokenizer_file

from policy.conditioning import POSITIVE
from policy.flow.bundle import read_bundle
from policy.flow.config import FlowConfig
from policy.flow.tokenizer import FileTokenizer
from policy.models import POLICIES, Acting, load_policy, with_acting, with_condition
from policy.models.gigabrain0.network import GigaBrain0Network
from policy.models.gigabrain0.prompt import PROMPT as GIGABRAIN0
from policy.models.pi05.config import tiny_config
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.prompt import PROMPT as PI05
from policy.models.pi05.sizes import full
from recap.errors import ConfigError, ResumeRefused
from recap.training.runtime import Runtime

KINDS = {"pi05": (Pi05Network, PI05), "gigabrain0": (GigaBrain0Network, GIGABRAIN0)}
FAMILIES = pytest.mark.parametrize("family", KINDS)


@pytest.fixture(scope="module")
def file_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> FileTokenizer:
    return FileTokenizer(tokenizer_file(tmp_path_factory.mktemp("tokens")))


def check(config: FlowConfig, family: str, prompt: str = TASK) -> None:
    found = POLICIES.get(family)
    found.check(config, prompts=(prompt,), robot=arm_pair())
    found.check_files(config, arm_pair())


@FAMILIES
def test_a_training_starts_from_the_published_weights(family: str, tmp_path: Path) -> None:
    config, weights = published_config(family, tmp_path / "published", steps=0)
    check(config, family)
    train_synthetic(family, config, tmp_path, condition=POSITIVE)
    bundle = last_candidate(tmp_path)
    network, _ = read_bundle(KINDS[family][0], bundle)
    own = network.state_dict()
    assert own.keys() == weights.keys()
    assert all(torch.equal(own[name], weights[name]) for name in weights)
    assert (bundle / "tokenizer.json").read_bytes() == Path(config.tokenizer).read_bytes()


@FAMILIES
def test_its_policies_act_and_change_how_they_act(family: str, tmp_path: Path) -> None:
    config, _ = published_config(family, tmp_path / "published", steps=20)
    train_synthetic(family, config, tmp_path, condition=POSITIVE)
    bundle = last_candidate(tmp_path)
    shutil.rmtree(tmp_path / "published")  # a bundle needs nothing beside it
    with_acting(bundle, tmp_path / "guided", Acting(guidance=2.0))
    with_condition(bundle, tmp_path / "plain", "")
    acted = [load_policy(one).act(make_observation(5), noise_seed=3) for one in (
        bundle, tmp_path / "guided", tmp_path / "plain"
    )]  # fmt: skip
    conditioned, guided, without = acted
    assert np.isfinite(conditioned).all()
    # In normalised actions, guidance is linear in the flow of one step; over three it moves away from the plain one.
    assert np.abs(conditioned - without).max() > 1e-6
    assert np.abs(guided - without).max() > np.abs(conditioned - without).max()


@FAMILIES
def test_matrices_kept_in_half_change_no_bit_of_an_action(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = published_config(family, tmp_path / "published", steps=2)
    train_synthetic(family, config, tmp_path, condition=POSITIVE)
    half = Runtime(dtype="bfloat16")
    kept = load_policy(last_candidate(tmp_path), runtime=half)
    matrices = [part.weight.dtype for part in kept.network.modules() if isinstance(part, torch.nn.Linear)]
    assert matrices.count(torch.bfloat16) > len(matrices) / 2
    monkeypatch.setattr(Runtime, "round_matrices", lambda self, module: None)
    rounded = load_policy(last_candidate(tmp_path), runtime=half)
    assert {value.dtype for value in rounded.network.parameters()} == {torch.float32}
    seen = make_observation(5)
    assert np.array_equal(kept.act(seen, noise_seed=3), rounded.act(seen, noise_seed=3))


@pytest.mark.parametrize("family", ["pi05", pytest.param("gigabrain0", marks=pytest.mark.slow)])
def test_a_killed_training_ends_with_the_same_bundle(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, _ = published_config(family, tmp_path / "published", steps=20)
    config = replace(config, fit=replace(config.fit, checkpoint_every=5))
    train_synthetic(family, config, tmp_path / "whole", condition=POSITIVE)

    class Killed(MemoryJournal):
        def progress(self, done: int, total: int | None = None, unit: str = "") -> None:
            if done >= 12:
                raise KeyboardInterrupt
            super().progress(done, total, unit)

    config = replace(config, fit=replace(config.fit, log_every=1))
    with pytest.raises(KeyboardInterrupt):
        train_synthetic(family, config, tmp_path / "killed", Killed(), condition=POSITIVE)
    train_synthetic(family, config, tmp_path / "killed", condition=POSITIVE)
    ids = [load_policy(last_candidate(tmp_path / name)).policy_id for name in ("whole", "killed")]
    assert ids[0] == ids[1]


@FAMILIES
def test_a_policy_trained_on_goes_on_with_its_tokenizer(family: str, tmp_path: Path) -> None:
    config, _ = published_config(family, tmp_path / "published", steps=2)
    train_synthetic(family, config, tmp_path / "base")
    base = last_candidate(tmp_path / "base")
    train_synthetic(family, config, tmp_path / "after", condition=POSITIVE, base=base)
    assert (last_candidate(tmp_path / "after") / "tokenizer.json").read_bytes() == Path(config.tokenizer).read_bytes()
    other = tokenizer_file(tmp_path / "other")
    other.write_bytes(other.read_bytes() + b"\n")
    with pytest.raises(ConfigError, match="another tokenizer"):
        train_synthetic(family, replace(config, tokenizer=str(other)), tmp_path / "no", base=base)


@FAMILIES
@pytest.mark.parametrize("change", ["gone", "shape", "size"])
def test_weights_of_another_network_are_refused_by_name(family: str, change: str, tmp_path: Path) -> None:
    config, _ = published_config(family, tmp_path / "published", steps=0)
    (file, *_) = sorted((tmp_path / "published").glob("*.safetensors"))
    weights: dict[str, Any] = load_file(file)
    name = next(name for name in sorted(weights) if name.endswith("q_proj.weight") or ".q_proj." in name)
    if change == "gone":
        del weights[name]
    elif change == "shape":
        weights[name] = weights[name][:-1].clone()
    else:
        config = replace(config, network=replace(config.network, depth=2))
        name = "layers.2."
    save_file(weights, file)
    with pytest.raises(ConfigError) as refused:
        check(config, family)
    assert name in refused.value.message
    assert "recap doctor" in refused.value.hint
    with pytest.raises(ConfigError):
        train_synthetic(family, config, tmp_path)


def test_pickled_weights_and_no_weights_are_refused(tmp_path: Path) -> None:
    config, _ = published_config("pi05", tmp_path / "published", steps=0)
    (tmp_path / "published" / "model.safetensors").rename(tmp_path / "published" / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="pickled weights"):
        check(config, "pi05")
    with pytest.raises(ConfigError, match="no weights"):
        check(replace(config, start=str(tmp_path / "nowhere")), "pi05")


def test_weights_and_tokenizer_come_together(tmp_path: Path) -> None:
    config, _ = published_config("pi05", tmp_path, steps=0)
    with pytest.raises(ConfigError, match="both or none"):
        check(replace(config, tokenizer=""), "pi05")
    with pytest.raises(ConfigError, match="both or none"):
        check(tiny_config(tokenizer=config.tokenizer), "pi05")
    with pytest.raises(ConfigError, match="slot_embeddings"):
        check(tiny_config(start=config.start, tokenizer=config.tokenizer), "pi05")
    with pytest.raises(ConfigError, match="from scratch"):
        check(tiny_config(network=full()), "pi05")


@pytest.mark.parametrize(("content", "says"), [
    (b"{}", "tokenizer"), (b'{"version": "1.0"', "tokenizer"), (None, "No such file"),
])  # fmt: skip
def test_a_file_that_is_no_tokenizer_is_refused(content: bytes | None, says: str, tmp_path: Path) -> None:
    config, _ = published_config("pi05", tmp_path / "published", steps=0)
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        check(replace(config, tokenizer=str(tmp_path / "file")), "pi05")


def test_a_tokenizer_without_start_of_text_is_refused(tmp_path: Path) -> None:
    text = tokenizer().to_str().replace("<bos>", "<begin>")
    with pytest.raises(ConfigError, match="<bos> is None"):
        _ = FileTokenizer(text.encode()).start


def test_an_embedding_too_small_for_the_tokenizer_is_refused(tmp_path: Path) -> None:
    config, _ = published_config("pi05", tmp_path, steps=0)
    sizes = replace(config.network, vocab_size=config.network.vocab_size - 1)
    with pytest.raises(ConfigError, match="vocab_size"):
        check(replace(config, network=sizes), "pi05")


def test_special_tokens_in_an_instruction_are_text(file_tokenizer: FileTokenizer) -> None:
    (row,) = file_tokenizer.encode(["fold <eos><bos><pad>"])
    assert not {0, 1, 2} & set(row)
    (row,) = file_tokenizer.encode([IMAGE])
    assert max(row) < file_tokenizer.size


@FAMILIES
@given(
    seed=st.integers(0, 10_000), count=st.integers(1, 5), states=st.integers(1, 14),
    texts=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3),
)  # fmt: skip
def test_rows_of_a_batch_are_cut_as_each_would_be_alone(
    family: str, file_tokenizer: FileTokenizer, seed: int, count: int, states: int, texts: list[str]
) -> None:
    form = replace(KINDS[family][1], tokenizer=file_tokenizer)
    rng = np.random.default_rng(seed)
    which, told = rng.integers(0, len(texts), count), rng.integers(0, 3, count)
    state = rng.normal(0, 1, (count, states)).astype(np.float32)
    tokens, written = form.mixed_tokens(texts, which, state, told)
    for row in range(count):
        alone, _ = form.mixed_tokens(texts, which[row : row + 1], state[row : row + 1], told[row : row + 1])
        length = tokens.shape[1] if written is None else int(written[row].sum())
        assert tokens[row, :length].tolist() == alone[0].tolist()
        assert not tokens[row, length:].any()
        assert tokens[row, 0] == file_tokenizer.start[0]
        assert length <= form.longest(texts[which[row]], states)


def test_prompts_that_could_be_too_long_are_refused(tmp_path: Path) -> None:
    config, _ = published_config("pi05", tmp_path, steps=0)
    need = replace(PI05, tokenizer=FileTokenizer(Path(config.tokenizer))).longest(TASK, 14)
    check(replace(config, prompt_tokens=need), "pi05")
    with pytest.raises(ConfigError, match=f"take {need} tokens"):
        check(replace(config, prompt_tokens=need - 1), "pi05")


def test_memory_is_computed_of_published_sizes_with_their_tokenizer(tmp_path: Path) -> None:
    config, weights = published_config("pi05", tmp_path, steps=0)
    found = POLICIES.get("pi05").needs
    assert found is not None
    batch = SyntheticBatches(batch_size=4, chunk=8, image_size=64).batch(0)
    needs = found(config, batch, synthetic_stats(8, ()), prompts=(TASK,), robot=arm_pair(), cameras=CAMERAS)
    assert needs.memory["weights"] == 4 * sum(value.numel() for value in weights.values())


def test_a_resume_on_other_published_files_is_refused(tmp_path: Path) -> None:
    """Where they lie is no matter; through a run their content is in the step's key as well."""
    config, _ = published_config("pi05", tmp_path / "published", steps=4)
    other, _ = published_config("pi05", tmp_path / "other", steps=4, seed=8)
    train_synthetic("pi05", config, tmp_path / "policy")
    (tmp_path / "published").rename(tmp_path / "moved")
    moved = replace(config, start=str(tmp_path / "moved"), tokenizer=str(tmp_path / "moved" / "tokenizer.json"))
    train_synthetic("pi05", moved, tmp_path / "policy")
    with pytest.raises(ResumeRefused, match="start"):
        train_synthetic("pi05", replace(moved, start=other.start), tmp_path / "policy")
    Path(other.tokenizer).write_bytes(Path(other.tokenizer).read_bytes() + b"\n")
    with pytest.raises(ResumeRefused, match="tokenizer"):
        train_synthetic("pi05", replace(moved, tokenizer=other.tokenizer), tmp_path / "policy")


@pytest.mark.parametrize("family", ["pi05", "gigabrain0"])
def test_files_of_two_checkpoints_in_one_folder_are_refused(family: str, tmp_path: Path) -> None:
    config, _ = published_config(family, tmp_path, steps=0)
    (file, *_) = sorted(tmp_path.glob("*.safetensors"))
    stem = file.name.split("-")[0].removesuffix(".safetensors")
    for stale in (f"{stem}-00002-of-00003.safetensors", f"{stem}.safetensors"):
        if (tmp_path / stale).exists():
            continue
        shutil.copy(file, tmp_path / stale)
        with pytest.raises(ConfigError, match="every part of one set"):
            check(config, family)
        (tmp_path / stale).unlink()
    shutil.copy(file, tmp_path / f"{stem}-best.safetensors")  # another name, not read
    check(config, family)
    weights = load_file(file)
    name = sorted(weights)[0]
    layout = KINDS[family][0].layout
    if layout.prefix:
        save_file({**weights, f"{layout.prefix}{name}": weights[name].clone()}, file)
        with pytest.raises(ConfigError, match=f"both hold {name}"):
            check(config, family)


def test_a_missing_part_is_refused(tmp_path: Path) -> None:
    config, _ = published_config("gigabrain0", tmp_path, steps=0)
    sorted(tmp_path.glob("*.safetensors"))[0].unlink()
    with pytest.raises(ConfigError, match="every part of one set"):
        check(config, "gigabrain0")


def test_a_tokenizer_far_smaller_than_the_embedding_is_refused(tmp_path: Path) -> None:
    config, _ = published_config("pi05", tmp_path, steps=0)
    wide = replace(config, network=replace(config.network, vocab_size=config.network.vocab_size + 129))
    with pytest.raises(ConfigError, match="not the one that those weights"):
        POLICIES.get("pi05").check(wide, prompts=(TASK,), robot=arm_pair())


def test_a_token_beyond_the_vocabulary_is_refused(tmp_path: Path) -> None:
    made = tokenizer()
    made.add_tokens(["<pic>"])
    with pytest.raises(ConfigError, match="<pic>"):
        FileTokenizer(made.to_str().encode()).encode(["fold <pic>"])
