"""Levels and weights in the network's loss, and that a training in each way ends the same however often it is cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.policies import (
    CAMERAS,
    SYNTHETIC_ROWS,
    TASK,
    MemoryJournal,
    SyntheticBatches,
    arm_pair,
    last_candidate,
    make_observation,
    synthetic_stats,
    train_synthetic,
)

from policy.conditioning import NEGATIVE, POSITIVE, ConditionedBatches
from policy.flow.acting import FlowActor
from policy.flow.bundle import read_bundle, read_info
from policy.flow.initialise import initialise
from policy.flow.learner import FlowLearner
from policy.flow.scaling import PolicyStats
from policy.flow.train import train
from policy.flow.vocabulary import FIRST_BIN
from policy.models.pi05.config import tiny_config
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.sizes import tiny
from recap.errors import ConfigError
from recap.training.config import FitConfig
from recap.training.fit import step_generator

EMBEDDING = replace(tiny(), condition="embedding")
BATCH: dict[str, Any] = dict(SyntheticBatches(batch_size=6, chunk=8).batch(0))


@pytest.fixture(scope="module")
def learner() -> FlowLearner:
    network = Pi05Network(replace(EMBEDDING, action_dim=14, cameras=3))
    initialise(network, seed=0, first_bin=FIRST_BIN)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    stats = PolicyStats.from_json(synthetic_stats(8, ()), relative=False)
    return FlowLearner(network, prompts=(TASK,), stats=stats, draws=2, shift_pixels=0)


def loss(learner: FlowLearner, **fields: Any) -> torch.Tensor:
    found: torch.Tensor = learner(learner.prepare({**BATCH, **fields}, step_generator(0, 0)))[0]
    return found


def test_a_weighted_loss_is_the_sum_of_weighted_rows_over_all_real_actions(learner: FlowLearner) -> None:
    weight = np.array([0, 0.5, 1, 1.5, 2, 4], np.float32)
    rows = learner.prepare(BATCH, step_generator(0, 0))
    alone = [learner({name: value[[row]] for name, value in rows.items()})[0].item() for row in range(6)]
    real = (~BATCH["action_is_pad"]).sum(1)
    expected = sum(w * n * one for w, n, one in zip(weight, real, alone, strict=True)) / real.sum()
    assert loss(learner, weight=weight).item() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(loss(learner, weight=np.ones(6, np.float32)), loss(learner))
    assert loss(learner, weight=2 * weight).item() == pytest.approx(2 * expected, rel=1e-5)
    assert loss(learner, weight=np.zeros(6, np.float32)).item() == 0


def test_a_row_without_weight_moves_nothing(learner: FlowLearner) -> None:
    found = []
    for action in (BATCH["action"], np.concatenate([BATCH["action"][:1] + 9, BATCH["action"][1:]])):
        learner.zero_grad()
        loss(learner, action=action, weight=np.array([0, 1, 1, 1, 1, 1], np.float32)).backward()
        found.append([value.grad.clone() for value in learner.parameters() if value.grad is not None])
    learner.zero_grad()
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_level_at_its_ends_is_the_hard_condition(learner: FlowLearner) -> None:
    codes = np.array([0, 1, 2, 1, 2, 0], np.int8)
    heard = np.where(codes == 0, 0, 1).astype(np.int8)
    ends = np.where(codes == 2, -1, 1).astype(np.float32)
    hard = loss(learner, condition=codes)
    assert torch.equal(loss(learner, condition=heard, level=ends), hard)
    assert not torch.equal(loss(learner, condition=heard, level=ends / 2), hard)


def test_a_level_moves_the_condition_in_a_straight_line(learner: FlowLearner) -> None:
    from policy.conditioning import shares_of

    condition = learner.network.condition
    assert condition is not None
    level = np.linspace(-1, 1, 5, dtype=np.float32)
    added = condition(torch.from_numpy(shares_of(np.ones(5, np.int8), level)))
    torch.testing.assert_close(added[0], condition.table[1])
    torch.testing.assert_close(added[4], condition.table[0])
    steps = added.diff(dim=0)
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), rtol=1e-4, atol=1e-6)


def test_levels_without_an_embedding_are_refused(tmp_path: Path) -> None:
    for how in ("text", "both"):
        config = tiny_config(network=replace(tiny(), condition=how))
        with pytest.raises(ConfigError, match=rf"no words, and network\.condition = '{how}'") as refused:
            train_synthetic("pi05", config, tmp_path, condition=POSITIVE, graded=True)
        assert refused.value.hint == "--set policy.model.network.condition=embedding"


@pytest.mark.parametrize(
    "way", [{"condition": POSITIVE, "graded": True}, pytest.param({"weighted": True}, marks=pytest.mark.slow)]
)
def test_a_resume_ends_with_the_same_bits(way: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(network=EMBEDDING, fit=FitConfig(steps=6, checkpoint_every=2))
    train_synthetic("pi05", config, tmp_path / "whole", **way)
    monkeypatch.setattr("recap.faults._seen", {})
    monkeypatch.setenv("RECAP_FAULT", "train.step:3:raise")
    with pytest.raises(RuntimeError, match="fault injected"):
        train_synthetic("pi05", config, tmp_path / "cut", **way)
    monkeypatch.delenv("RECAP_FAULT")
    train_synthetic("pi05", config, tmp_path / "cut", **way)
    whole, cut = (read_info(Pi05Network, last_candidate(tmp_path / name)) for name in ("whole", "cut"))
    assert whole.policy_id == cut.policy_id
    assert whole.condition == way.get("condition", "")
    train_synthetic("pi05", config, tmp_path / "plain")
    assert read_info(Pi05Network, last_candidate(tmp_path / "plain")).policy_id != whole.policy_id


def test_actions_that_grow_with_the_level_are_learned(tmp_path: Path) -> None:
    """The level alone says how far to go: told the best, the policy goes furthest."""
    level = np.linspace(-1, 1, SYNTHETIC_ROWS, dtype=np.float32)[np.arange(SYNTHETIC_ROWS) * 37 % SYNTHETIC_ROWS]

    class Growing:
        def batch(self, step: int) -> Any:
            batch = SyntheticBatches(batch_size=8, chunk=8).batch(step)
            action = np.broadcast_to(0.4 * level[batch["index"]][:, None, None], batch["action"].shape)
            return {**batch, "action": np.ascontiguousarray(action)}

    config = tiny_config(network=EMBEDDING, candidates=1, fit=FitConfig(steps=150, learning_rate=3e-3, warmup_steps=10))
    train(
        Pi05Network,
        config, ConditionedBatches(Growing(), None, level=level, seed=0), synthetic_stats(8, ()), prompts=(TASK,),
        robot=arm_pair(), cameras=CAMERAS, scratch=tmp_path / "scratch", out=tmp_path / "policy",
        journal=MemoryJournal(), condition=POSITIVE,
    )  # fmt: skip
    network, info = read_bundle(Pi05Network, last_candidate(tmp_path))
    seen, seeds = [make_observation(seed) for seed in range(4)], list(range(4))
    best, none, worst = (
        FlowActor(network, replace(info, condition=words)).act_batch(seen, noise_seeds=seeds).mean()
        for words in (POSITIVE, "", NEGATIVE)
    )
    assert best - worst > 0.12  # of 0.8 after long training; 0.21 here
    assert worst < none < best
