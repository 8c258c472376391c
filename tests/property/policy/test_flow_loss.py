"""The loss: padding never counts, draws only average, scaling and prompts invert."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tests.support.policies import SyntheticBatches, synthetic_stats

from policy.flow.initialise import initialise, smooth_features
from policy.flow.learner import FlowLearner, masked_mean, sample_times
from policy.flow.scaling import PolicyStats, Scaling
from policy.flow.vocabulary import FIRST_BIN, NUM_BINS, decode, encode
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.prompt import PROMPT
from policy.models.pi05.sizes import tiny
from recap.training.augment import sample_shifts, shift_images
from recap.training.fit import step_generator

CHUNK = 6


def make_learner(draws: int, shift_pixels: int = 0) -> FlowLearner:
    network = Pi05Network(replace(tiny(), action_dim=14, cameras=3))
    initialise(network, seed=0, first_bin=FIRST_BIN)
    stats = PolicyStats.from_json(synthetic_stats(CHUNK, ()), relative=False)
    return FlowLearner(network, prompts=("fold the shirt",), stats=stats, draws=draws, shift_pixels=shift_pixels)


def batch(size: int = 3) -> dict[str, Any]:
    return dict(SyntheticBatches(batch_size=size, chunk=CHUNK).batch(0))


@given(fill=st.floats(-50, 50).filter(lambda value: abs(value) > 1e-3))
def test_padded_targets_leave_loss_and_gradient_alone(fill: float) -> None:
    """Whatever error a padded step has, neither the loss nor the gradient of any prediction moves."""
    real = ~torch.from_numpy(batch()["action_is_pad"])
    assert not real.all()
    results = []
    for value in (0.0, fill):
        predicted = torch.ones(3, 2, CHUNK, 14, requires_grad=True)
        target = torch.where(real[:, None, :, None], 0.25, value)
        loss = masked_mean((predicted - target).square(), real)
        loss.backward()
        results.append((loss.detach(), predicted.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert results[1][1][~real[:, None].expand(3, 2, CHUNK)].abs().max() == 0


def test_the_learner_masks_by_the_batch() -> None:
    """forward() with everything but one step padded is the loss of that step alone."""
    learner, given_batch = make_learner(1), batch()
    pad = np.ones_like(given_batch["action_is_pad"])
    pad[:, 0] = False
    some, _ = learner(learner.prepare({**given_batch, "action_is_pad": pad}, step_generator(0, 1)))
    whole = {**given_batch, "action_is_pad": np.zeros_like(pad)}
    every, _ = learner(learner.prepare(whole, step_generator(0, 1)))
    assert abs(some.item() - every.item()) > 1e-4


@given(st.data())
def test_masked_mean_is_the_mean_over_real_steps(data: st.DataObject) -> None:
    real = data.draw(arrays(bool, (4, 5)).filter(lambda mask: mask.any()))
    losses = torch.rand(4, 3, 5, 2, generator=step_generator(1, 1))
    picked = losses.permute(0, 2, 1, 3)[torch.from_numpy(real)]
    assert masked_mean(losses, torch.from_numpy(real)).item() == pytest.approx(picked.mean().item(), rel=1e-5)


@given(draws=st.integers(1, 5), seed=st.integers(0, 1000))
def test_draws_that_share_a_prefix_equal_draws_on_their_own(draws: int, seed: int) -> None:
    """Loss of K amortised draws = mean of K plain losses with the same times and noise (K = 1: the plain loss)."""
    learner, given_batch = make_learner(draws), batch()
    generator = step_generator(3, seed)
    images = torch.rand(3, 3, 3, 64, 64, generator=generator) * 2 - 1
    tokens = torch.tensor([encode(PROMPT.text("fold the shirt", [seed % 255, 3, b])) for b in range(3)])
    action = torch.from_numpy(given_batch["action"])
    noise = torch.randn(3, draws, CHUNK, 14, generator=generator)
    times = sample_times(3, draws, generator)
    with torch.no_grad():
        together = learner.losses(images, tokens, action, noise, times)
        alone = [learner.losses(images, tokens, action, noise[:, k : k + 1], times[:, k : k + 1]) for k in range(draws)]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-5)


def test_gradient_reaches_every_weight_but_the_unread_ones() -> None:
    learner = make_learner(2, shift_pixels=2)
    loss, _ = learner(learner.prepare(batch(), step_generator(0, 0)))
    loss.backward()
    without = {name for name, value in learner.network.named_parameters() if value.grad is None}
    language = "paligemma_with_expert.paligemma.model.language_model"
    last = f"{language}.layers.{tiny().depth - 1}"
    assert without == {
        f"{language}.norm.weight",
        *(f"{last}.{name}.weight" for name in ("self_attn.q_proj", "self_attn.o_proj", "post_attention_layernorm")),
        *(f"{last}.mlp.{name}_proj.weight" for name in ("gate", "up", "down")),
    }


@given(arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32)))
def test_scaling_inverts(value: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    scaling = Scaling.of([-1.0, 0.0, -5.0, 2.0], [1.0, 3.0, 5.0, 2.5], where="test")
    np.testing.assert_allclose(scaling.invert(scaling.apply(value)), value, atol=1e-3, rtol=1e-4)
    np.testing.assert_allclose(scaling.apply(np.array([-1.0, 0.0, -5.0, 2.0], np.float32)), -1.0, atol=1e-6)


@given(st.text(max_size=60))
def test_no_text_is_lost_in_tokens(text: str) -> None:
    assert decode(encode(text)) == text


@given(draws=st.integers(1, 8), seed=st.integers(0, 100))
def test_times_lie_in_range_one_per_stratum(draws: int, seed: int) -> None:
    times = sample_times(50, draws, step_generator(0, seed))
    assert times.min() >= 0.001
    assert times.max() <= 1.0
    uniform = ((times - 0.001) / 0.999) ** 1.5
    assert torch.equal(
        (uniform * draws).clamp(0, draws - 1e-3).floor().sort(1).values.max(1).values, torch.full((50,), draws - 1.0)
    )


def test_times_follow_beta() -> None:
    times = (sample_times(4000, 5, step_generator(0, 0)) - 0.001) / 0.999
    assert times.mean().item() == pytest.approx(0.6, abs=0.005)  # Beta(1.5, 1): mean 0.6, variance 0.0686
    assert times.var().item() == pytest.approx(0.06857, abs=0.002)


def test_neighbouring_bins_are_near_and_all_distinct() -> None:
    features = smooth_features(NUM_BINS, 128)
    distance = torch.cdist(features, features)
    assert distance.diagonal(1).max() < 0.35 * distance[0, 128]
    assert (distance + torch.eye(NUM_BINS) * 9).min() > 0.1
    assert features.square().mean().item() == pytest.approx(1.0, rel=1e-4)


@given(seed=st.integers(0, 1000))
def test_shifts_move_all_cameras_of_an_observation_alike(seed: int) -> None:
    image = torch.arange(16 * 16, dtype=torch.uint8).view(1, 1, 16, 16, 1).expand(2, 3, 16, 16, 3).contiguous()
    shifted = shift_images(image, sample_shifts(len(image), 2, step_generator(0, seed)))
    assert torch.equal(shifted[:, 0], shifted[:, 2])
    row, column = divmod(int(shifted[0, 0, 8, 8, 0]), 16)
    assert abs(row - 8) <= 2
    assert abs(column - 8) <= 2
    assert torch.equal(shift_images(image, sample_shifts(len(image), 0, step_generator(0, seed))), image)
