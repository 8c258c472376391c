"""The loss, what it asks of the network, and that a tiny network learns from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.values import synthetic_values, train_synthetic

from recap.errors import ConfigError
from recap.training.augment import sample_shifts, shift_images
from recap.training.config import FitConfig
from value_model.metrics import spearman
from value_model.models import load_value_model
from value_model.models.viva import VivaConfig, tiny_config
from value_model.models.viva.batches import ValueBatches
from value_model.models.viva.config import EncoderConfig
from value_model.models.viva.encoder import Encoder
from value_model.models.viva.frames import Layout, StateRange
from value_model.models.viva.learner import VivaLearner, sample_tau
from value_model.models.viva.text import embed_prompts

LAYOUT = Layout(views=2, channels=3, height=2, width=2, state_dim=2, future_state=True)


class Recorder(torch.nn.Module):
    """Stands in for the transformer: keeps what it is asked and answers 0."""

    def forward(
        self, sequence: torch.Tensor, time: torch.Tensor, text: torch.Tensor, *, return_dict: bool
    ) -> tuple[torch.Tensor]:
        self.sequence, self.time, self.text = sequence, time, text
        return (torch.zeros_like(sequence),)


def asked(config: VivaConfig) -> tuple[Recorder, torch.Tensor, dict[str, torch.Tensor], dict[str, np.ndarray]]:
    network = Recorder()
    learner = VivaLearner(
        network,
        Encoder(),
        LAYOUT,
        StateRange(low=-torch.ones(2), high=torch.ones(2)),
        [torch.zeros(4, 5), torch.ones(4, 5)],
        config,
    )
    rng = np.random.default_rng(0)
    batch = {
        "latents": rng.normal(size=(6, 2, 3, 2, 2)).astype(np.float32),
        "state": rng.uniform(-1, 1, (6, 2)).astype(np.float32),
        "ahead": rng.uniform(-1, 1, (6, 2)).astype(np.float32),
        "value": rng.uniform(-1, 0, 6).astype(np.float32),
        "prompt": np.array([0, 1, 0, 1, 1, 1]),
    }
    loss, parts = learner(learner.prepare(batch, torch.Generator().manual_seed(3)))
    return network, loss, parts, batch


def test_the_loss_is_half_the_state_error_plus_the_value_error() -> None:
    network, loss, parts, batch = asked(VivaConfig())
    tau = (network.time / 1000)[:, None, None, None]
    target = torch.full((6, 3, 2, 2), 1.0) * (2 * torch.from_numpy(batch["value"]) + 1)[:, None, None, None]
    noise = (network.sequence[:, :, 5] - (1 - tau) * target) / tau
    torch.testing.assert_close(parts["value_error"], (noise - target).square().mean(), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(loss, 0.5 * parts["state_error"] + parts["value_error"])
    assert abs(float(noise.mean())) < 0.5
    assert 0.6 < float(noise.std()) < 1.4


def test_conditioning_is_clean_and_shares_the_one_noise_level() -> None:
    network, _, _, batch = asked(VivaConfig())
    assert network.time.shape == (6,)
    torch.testing.assert_close(network.sequence[:, :, 2:4].transpose(1, 2), torch.from_numpy(batch["latents"]))
    assert (network.sequence[:, :, 0] == 0).all()
    assert network.text[:, 0, 0].tolist() == [0, 1, 0, 1, 1, 1]


def test_noise_levels_follow_the_schedule() -> None:
    generator = torch.Generator().manual_seed(0)
    uniform, skewed = (sample_tau(20_000, shift, generator) for shift in (1.0, 5.0))
    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    # P(tau <= 1/2) = P(u <= 1/6) for shift 5
    assert (skewed <= 0.5).float().mean() == pytest.approx(1 / 6, abs=0.01)
    assert skewed.max() <= 1


def test_views_of_an_observation_are_shifted_alike() -> None:
    images = torch.zeros(1, 2, 8, 8, 3, dtype=torch.uint8)
    images[:, :, 4, 4] = 255
    moved = shift_images(images, sample_shifts(1, 2, torch.Generator().manual_seed(1)))
    assert torch.equal(moved[0, 0], moved[0, 1])
    assert moved.sum() == images.sum()
    assert not torch.equal(moved, images)


def test_the_state_ahead_stops_at_the_last_frame(tmp_path: Path) -> None:
    data = synthetic_values(tmp_path, episodes=2, lookahead=(5, 2))
    rows = np.arange(data.packed.num_frames)
    batches = ValueBatches(
        data,
        rows,
        views=np.array([2, 0]),
        prompt_numbers=np.zeros(2, dtype=np.int64),
        batch_size=len(rows),
        seed=0,
        latents=None,
    )
    batch = batches.batch(0)
    order = np.array([np.flatnonzero((data.packed.state == state).all(1))[0] for state in batch["state"]])
    assert sorted(order) == rows.tolist()
    last = data.packed.offsets[data.packed.episode_of + 1] - 1
    ahead = np.array([5, 2])[data.packed.episode_of]
    np.testing.assert_array_equal(batch["ahead"], data.packed.state[np.minimum(rows + ahead, last)][order])
    np.testing.assert_array_equal(batch["images"], data.packed.images[order][:, [2, 0]])
    np.testing.assert_array_equal(batches.batch(7)["value"], batches.batch(7)["value"])


def test_a_tiny_network_learns_what_the_pictures_show(tmp_path: Path) -> None:
    data = synthetic_values(tmp_path, episodes=4, length=16)
    config = tiny_config(fit=FitConfig(steps=150, learning_rate=5e-3, ema_decay=0.9))
    train_synthetic(config, data, tmp_path, episodes=(0, 1, 2))
    value, spread = load_value_model(tmp_path / "bundle").label(data, 3, draws=4, noise_seed=0)
    truth = data.returns[data.packed.offsets[3] :]
    assert spearman(value, truth) > 0.8
    assert np.abs(value - truth).mean() < 0.25
    assert (spread > 0).all()


def test_prompts_are_equal_anywhere_and_tell_tasks_apart(tmp_path: Path) -> None:
    words = embed_prompts(["fold the shirt", "fold the towel"], tokens=4, dim=8, file="")
    again = embed_prompts(["Fold  the shirt"], tokens=4, dim=8, file="")
    assert torch.equal(words["fold the shirt"], again["Fold  the shirt"])
    assert torch.equal(words["fold the shirt"][:2], words["fold the towel"][:2])
    assert not torch.equal(words["fold the shirt"][2], words["fold the towel"][2])
    assert (words["fold the shirt"][3] == 0).all()
    with pytest.raises(ConfigError, match="has 3 words, expected at most 2"):
        embed_prompts(["fold the shirt"], tokens=2, dim=8, file="")


def test_prompt_embeddings_come_from_a_file_or_not_at_all(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"fold the shirt": torch.ones(2, 8)}, tmp_path / "t5.safetensors")
    found = embed_prompts(["fold the shirt"], tokens=4, dim=8, file=str(tmp_path / "t5.safetensors"))
    assert found["fold the shirt"][:, 0].tolist() == [1, 1, 0, 0]
    with pytest.raises(ConfigError, match="holds no embedding of 'pack the box'"):
        embed_prompts(["pack the box"], tokens=4, dim=8, file=str(tmp_path / "t5.safetensors"))


def test_cached_latents_and_shifts_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"shift_pixels = 4 with encoder.kind = wan_vae"):
        VivaConfig(encoder=EncoderConfig(kind="wan_vae", folder="somewhere"))
