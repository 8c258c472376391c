"""Adapters: what they train, what they leave alone, and that a bundle knows nothing of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
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
from tests.support.published import published_config

from policy.conditioning import POSITIVE
from policy.flow.acting import FlowActor
from policy.flow.bundle import read_bundle
from policy.flow.config import FlowConfig, LoraConfig, network_sizes, tokenizer_of
from policy.flow.learner import FlowLearner
from policy.flow.lora import adapt, merge
from policy.flow.network import FlowNetwork
from policy.flow.scaling import PolicyStats
from policy.flow.weights import load_weights
from policy.models import POLICIES, load_policy
from policy.models.gigabrain0.network import GigaBrain0Network
from policy.models.pi05.config import Pi05Config, published_preset, tiny_config
from policy.models.pi05.network import Pi05Network
from recap.config import semantic_dict
from recap.errors import ConfigError, ResumeRefused
from recap.training.runtime import CPU, Runtime

KINDS: dict[str, type[FlowNetwork]] = {"pi05": Pi05Network, "gigabrain0": GigaBrain0Network}
FAMILIES = pytest.mark.parametrize("family", ["pi05", pytest.param("gigabrain0", marks=pytest.mark.slow)])
LORA = LoraConfig(rank=3, alpha=6.0)
BFLOAT16 = Runtime(dtype="bfloat16")


def published_lora(family: str, folder: Path, *, steps: int = 20) -> tuple[FlowConfig, dict[str, torch.Tensor]]:
    config, weights = published_config(family, folder, steps=steps)
    fit = replace(config.fit, learning_rate=1e-2, checkpoint_every=5)
    return replace(config, lora=LORA, fit=fit), weights


def adapted(family: str, config: FlowConfig, runtime: Runtime = CPU, *, moved: bool = True) -> FlowNetwork:
    """The network that a training with adapters starts with; `moved`, all that it trains is elsewhere."""
    network = starting(family, config)
    adapt(network, config.lora, seed=3, runtime=runtime)
    if moved:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for value in network.parameters():
                if value.requires_grad:
                    value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return network


def starting(family: str, config: FlowConfig) -> FlowNetwork:
    network = KINDS[family](network_sizes(config, arm_pair(), CAMERAS), tokenizer_of(config))
    load_weights(network, Path(config.start))
    return network


def loss_of(family: str, config: FlowConfig, network: FlowNetwork, runtime: Runtime) -> torch.Tensor:
    stats = PolicyStats.from_json(synthetic_stats(config.chunk, ()), relative=False, scaling=KINDS[family].scaling)
    learner = FlowLearner(network, prompts=(TASK,), stats=stats, draws=config.draws, shift_pixels=0)
    batch = SyntheticBatches(batch_size=4, chunk=config.chunk).batch(0)
    with runtime.autocast():
        loss, _ = learner(learner.prepare(batch, torch.Generator().manual_seed(0)))
    return loss


@FAMILIES
def test_a_training_moves_what_has_adapters_and_what_stands_beside_them(family: str, tmp_path: Path) -> None:
    config, weights = published_lora(family, tmp_path / "published")
    told = train_synthetic(family, config, tmp_path, condition=POSITIVE)
    network, _ = read_bundle(KINDS[family], last_candidate(tmp_path))
    own = network.state_dict()
    assert own.keys() == weights.keys()
    moved = {name for name in own if not torch.equal(own[name], weights[name])}
    kept = own.keys() - moved
    network = adapted(family, config)
    loss_of(family, config, network, CPU).backward()
    layers = {f"{n}.weight": one.lora_B["default"] for n, one in network.named_modules() if isinstance(one, LoraLayer)}
    assert len(layers) == 2 * config.network.depth * 7
    unread = {name for name, half in layers.items() if half.weight.grad is None}
    assert len(unread) == 5  # the prefix's last layer gives keys and values and nothing else
    body, towers = "paligemma_with_expert.", (".vision_tower.", ".multi_modal_projector.")
    beside = {name for name in own if not name.startswith(body) or any(part in name for part in towers)}
    assert kept == own.keys() - (layers.keys() - unread) - beside
    assert told["parameters"] == sum(value.numel() for value in network.parameters() if value.requires_grad)
    name = sorted(layers.keys() - unread)[0]
    assert torch.linalg.matrix_rank((own[name] - weights[name]).double(), rtol=1e-4) == LORA.rank


@FAMILIES
def test_robots_that_are_not_this_one_keep_their_projections(family: str, tmp_path: Path) -> None:
    config, weights = published_lora(family, tmp_path / "published")
    config = replace(config, fit=replace(config.fit, weight_decay=0.0))
    train_synthetic(family, config, tmp_path)
    own = read_bundle(KINDS[family], last_candidate(tmp_path))[0].state_dict()["action_in_proj.weight"]
    was = weights["action_in_proj.weight"]
    rows = [torch.equal(own[row], was[row]) for row in range(3)] if family == "gigabrain0" else [torch.equal(own, was)]
    assert rows == ([True, False, True] if family == "gigabrain0" else [False])


@FAMILIES
def test_the_merged_bundle_acts_as_the_adapted_network(family: str, tmp_path: Path) -> None:
    config, _ = published_lora(family, tmp_path / "published", steps=0)
    network, merged, plain = adapted(family, config), starting(family, config), starting(family, config)
    merge(network, merged)
    train_synthetic(family, config, tmp_path, condition=POSITIVE)
    _, info = read_bundle(KINDS[family], last_candidate(tmp_path))
    acted = [FlowActor(one, info).act(make_observation(5), noise_seed=3) for one in (network, merged, plain)]
    np.testing.assert_allclose(acted[0], acted[1], atol=1e-5)
    assert np.abs(acted[1] - acted[2]).max() > 1e-2


@FAMILIES
def test_merged_weights_are_the_unrounded_ones_and_what_was_learned(family: str, tmp_path: Path) -> None:
    """Whatever format the frozen matrices were kept in."""
    config, weights = published_lora(family, tmp_path / "published", steps=0)
    merged = []
    for runtime in (CPU, BFLOAT16):
        network, into = adapted(family, config, runtime), starting(family, config)
        merge(network, into)
        merged.append(into.state_dict())
        for name, module in network.named_modules():
            if isinstance(module, LoraLayer):
                base: Any = module.get_base_layer()
                assert base.weight.dtype == getattr(torch, runtime.dtype)
                a, b = (getattr(module, half)["default"].weight.detach() for half in ("lora_A", "lora_B"))
                assert a.dtype == b.dtype == torch.float32
                wanted = weights[f"{name}.weight"] + LORA.alpha / LORA.rank * (b @ a)
                torch.testing.assert_close(merged[-1][f"{name}.weight"], wanted, rtol=0, atol=1e-6)
    assert all(torch.equal(merged[0][name], merged[1][name]) for name in merged[0])


@FAMILIES
def test_frozen_matrices_kept_in_bfloat16_change_no_bit_under_autocast(family: str, tmp_path: Path) -> None:
    config, _ = published_lora(family, tmp_path / "published", steps=0)
    found = []
    for kept in (CPU, BFLOAT16):
        network = adapted(family, config, kept)
        loss = loss_of(family, config, network, BFLOAT16)
        loss.backward()
        found.append((loss.detach(), {n: v.grad for n, v in network.named_parameters() if v.grad is not None}))
    (loss, gradients), (rounded, others) = found
    assert torch.equal(loss, rounded)
    assert gradients.keys() == others.keys()
    assert all(torch.equal(gradients[name], others[name]) for name in gradients)


@FAMILIES
def test_adapters_add_nothing_at_first_and_are_a_function_of_the_seed(family: str, tmp_path: Path) -> None:
    config, weights = published_lora(family, tmp_path / "published", steps=0)
    network = adapted(family, config, moved=False)
    again = starting(family, config)
    torch.rand(3)
    adapt(again, config.lora, seed=3, runtime=CPU)
    other = starting(family, config)
    adapt(other, config.lora, seed=4, runtime=CPU)
    own, same, another = (one.state_dict() for one in (network, again, other))
    assert all(torch.equal(own[name], same[name]) for name in own)
    assert any(not torch.equal(own[name], another[name]) for name in own)
    plain = loss_of(family, config, starting(family, config), CPU)
    assert torch.equal(loss_of(family, config, network, CPU), plain)
    train_synthetic(family, config, tmp_path)
    written = read_bundle(KINDS[family], last_candidate(tmp_path))[0].state_dict()
    assert all(torch.equal(written[name], weights[name]) for name in weights)


class Killed(MemoryJournal):
    def progress(self, done: int, total: int | None = None, unit: str = "") -> None:
        if done >= 12:
            raise KeyboardInterrupt
        super().progress(done, total, unit)


@pytest.mark.parametrize(
    ("family", "runtime"), [("pi05", BFLOAT16), pytest.param("gigabrain0", CPU, marks=pytest.mark.slow)]
)
def test_a_killed_training_ends_with_the_same_bundle(family: str, runtime: Runtime, tmp_path: Path) -> None:
    config, _ = published_lora(family, tmp_path / "published")
    config = replace(config, candidates=2, fit=replace(config.fit, log_every=1))
    train_synthetic(family, config, tmp_path / "whole", condition=POSITIVE, runtime=runtime)
    with pytest.raises(KeyboardInterrupt):
        train_synthetic(family, config, tmp_path / "killed", Killed(), condition=POSITIVE, runtime=runtime)
    (checkpoint,) = (tmp_path / "killed" / "scratch" / "checkpoints").iterdir()
    kept = load_file(checkpoint / "model.safetensors")
    trained = {n for n, v in adapted(family, config).named_parameters() if v.requires_grad}
    assert {name.removeprefix("network.") for name in kept} == trained
    train_synthetic(family, config, tmp_path / "killed", condition=POSITIVE, runtime=runtime)
    ids = [load_policy(last_candidate(tmp_path / name)).policy_id for name in ("whole", "killed")]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("change", [
    (LORA, LoraConfig()), (LoraConfig(), LORA), (LORA, replace(LORA, rank=2)), (LORA, replace(LORA, alpha=0.0)),
])  # fmt: skip
def test_a_resume_with_other_adapters_is_refused_by_name(change: tuple[LoraConfig, LoraConfig], tmp_path: Path) -> None:
    config, _ = published_lora("pi05", tmp_path / "published", steps=4)
    before, after = change
    train_synthetic("pi05", replace(config, lora=before), tmp_path)
    with pytest.raises(ResumeRefused, match="made with another lora: "):
        train_synthetic("pi05", replace(config, lora=after), tmp_path)


@FAMILIES
def test_the_next_training_starts_from_merged_weights(family: str, tmp_path: Path) -> None:
    """With adapters or without: the base is a bundle like any other."""
    config, _ = published_lora(family, tmp_path / "published", steps=2)
    train_synthetic(family, config, tmp_path / "base")
    base = last_candidate(tmp_path / "base")
    learned = read_bundle(KINDS[family], base)[0].state_dict()
    still = replace(config, fit=replace(config.fit, steps=0))
    for name, lora in (("adapters", LORA), ("all", LoraConfig())):
        train_synthetic(family, replace(still, lora=lora), tmp_path / name, condition=POSITIVE, base=base)
        own = read_bundle(KINDS[family], last_candidate(tmp_path / name))[0].state_dict()
        assert all(torch.equal(own[key], learned[key]) for key in learned)
    train_synthetic(family, config, tmp_path / "on", condition=POSITIVE, base=base)
    assert load_policy(last_candidate(tmp_path / "on")).policy_id != load_policy(base).policy_id


def test_a_condition_that_is_embedded_is_learned_beside_them(tmp_path: Path) -> None:
    config, _ = published_lora("pi05", tmp_path / "published", steps=2)
    config = replace(config, network=replace(config.network, condition="embedding"))
    train_synthetic("pi05", config, tmp_path, condition=POSITIVE)
    assert read_bundle(Pi05Network, last_candidate(tmp_path))[0].state_dict()["condition.table"].any()


def test_adapters_beside_drawn_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"lora.rank = 3 without published weights") as refused:
        POLICIES.get("pi05").check_files(tiny_config(lora=LORA), arm_pair())
    assert "policy.model.start" in refused.value.hint


def test_a_scale_without_adapters_is_refused_and_none_leaves_the_key_alone() -> None:
    with pytest.raises(ConfigError, match=r"lora.alpha = 8 while lora.rank is 0"):
        LoraConfig(alpha=8)
    assert "lora" not in semantic_dict(Pi05Config())
    assert semantic_dict(Pi05Config(lora=LoraConfig(rank=2)))["lora"] == {"rank": 2, "alpha": 0.0}


@pytest.mark.parametrize("family", ["pi05", pytest.param("gigabrain0", marks=pytest.mark.slow)])
def test_what_it_needs_is_counted_of_what_is_trained(family: str, tmp_path: Path) -> None:
    config, weights = published_lora(family, tmp_path / "published")
    found = POLICIES.get(family).needs
    assert found is not None
    batch = SyntheticBatches(batch_size=4, chunk=8).batch(0)
    given: dict[str, Any] = {"prompts": (TASK,), "robot": arm_pair(), "cameras": CAMERAS}
    all_of_it = found(replace(config, lora=LoraConfig()), batch, synthetic_stats(8, ()), **given, runtime=BFLOAT16)
    for runtime in (CPU, BFLOAT16):
        needs = found(config, batch, synthetic_stats(8, ()), **given, runtime=runtime)
        network = adapted(family, config, runtime)
        trained = sum(4 * value.numel() for value in network.parameters() if value.requires_grad)
        held = sum(value.nbytes for value in network.parameters())
        assert (needs.parameters, needs.trained, needs.memory["weights"]) == (trained // 4, trained, held)
        assert needs.bundle == all_of_it.bundle == 4 * sum(value.numel() for value in weights.values())
    # Nothing is kept of the matrices that autocast would otherwise round anew.
    assert needs.memory["activations"] < all_of_it.memory["activations"]
    assert needs.operations < all_of_it.operations


def test_openpis_parts_are_trained_at_the_published_size() -> None:
    config = replace(published_preset(steps=1, fine=True), lora=LoraConfig(rank=32))
    with torch.device("meta"):
        network = Pi05Network(network_sizes(config, arm_pair(), CAMERAS))
        adapt(network, config.lora, seed=0, runtime=BFLOAT16)
    counted = {"lora": 0, "tower": 0, "beside": 0}
    for name, value in network.named_parameters():
        if value.requires_grad:
            kind = "lora" if "lora_" in name else "tower" if "paligemma_with_expert" in name else "beside"
            counted[kind] += value.numel()
    # Per layer and rank: inputs and outputs of q, k, v, o and of the three matrices of the MLP.
    prefix = 2 * (2048 + 2048) + 2 * (2048 + 256) + 3 * (2048 + 16_384)
    expert = 2 * (1024 + 2048) + 2 * (1024 + 256) + 3 * (1024 + 4096)
    assert counted["lora"] == 18 * 32 * (prefix + expert)
    assert counted["beside"] == 2 * (1024 * 1024 + 1024) + 32 * 1024 + 1024 + 1024 * 32 + 32
    assert counted["tower"] == pytest.approx(0.415e9, rel=0.01)
