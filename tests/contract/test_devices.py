"""No tensor is made on a hard-coded device: the published sizes compute on a GPU that torch only pretends to have.

Fake tensors have a device and a shape and no numbers, cost no memory, and refuse to mix devices as real ones do. The
backward pass cannot be pretended: it asks the driver.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.policies import CAMERAS, NAMES, TASK, SyntheticBatches, synthetic_stats
from torch._subclasses.fake_tensor import FakeTensorMode

from policy.flow.acting import FlowActor
from policy.flow.info import BundleInfo
from policy.flow.learner import FlowLearner
from policy.flow.network import FlowNetwork
from policy.flow.scaling import PolicyStats
from policy.flow.sizes import NetworkSizes
from policy.models.gigabrain0.network import GigaBrain0Network
from policy.models.gigabrain0.sizes import published
from policy.models.gigabrain0.sizes import tiny as giga_tiny
from policy.models.pi05.network import Pi05Network
from policy.models.pi05.sizes import full, tiny
from recap.training.fit import LossModule, step_generator
from recap.training.runtime import Runtime
from value_model.models.steam.config import small_config as small_steam
from value_model.models.steam.model import Ensemble, Inputs
from value_model.models.steam.train import SteamLearner
from value_model.models.viva.bundle import Parts
from value_model.models.viva.config import VivaConfig, full_config, tiny_config
from value_model.models.viva.encoder import Encoder, LinearEncoder, WanVaeEncoder
from value_model.models.viva.frames import Layout, StateRange
from value_model.models.viva.label import Viva
from value_model.models.viva.learner import VivaLearner
from value_model.models.viva.model import build_transformer
from value_model.models.viva.needs import WAN22_VAE

GPU = Runtime(device="cuda")


def moved(module: torch.nn.Module, device: torch.device | None = None, memory_format: object = None) -> torch.nn.Module:
    """Module.to, which cannot exchange fake parameters: they are made where they belong, buffers are moved."""
    for part in module.modules():
        for name, value in part.named_buffers(recurse=False):
            part._buffers[name] = value.to(device)
    assert device is None or {value.device.type for value in module.parameters()} <= {device.type}
    return module


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every new tensor is fake, and "cuda" may be named."""
    if torch.cuda.is_available():
        pytest.skip("a real GPU is here: tests/gpu ask it")
    monkeypatch.setattr(Runtime, "torch_device", lambda runtime: torch.device(runtime.device))
    monkeypatch.setattr(torch.nn.Module, "to", moved)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def loss_on_the_device(learner: LossModule, batch: Mapping[str, Any]) -> torch.Tensor:
    rows = learner.prepare(batch, step_generator(0, 0))
    assert {value.device.type for value in rows.values()} == {"cpu"}
    loss: torch.Tensor = learner({name: GPU.move(value) for name, value in rows.items()})[0]
    return loss


def test_fake_tensors_refuse_to_mix_devices(pretended: None) -> None:
    """What makes the tests below able to fail."""
    with pytest.raises(RuntimeError, match="two different devices"):
        torch.zeros(2, device="cuda") + torch.zeros(2)


def make_policy(kind: type[FlowNetwork], sizes: NetworkSizes, guidance: float) -> tuple[FlowNetwork, BundleInfo]:
    with torch.device("cuda"):
        network = kind(sizes)
    stats = PolicyStats.from_json(synthetic_stats(10, ()), relative=False, scaling=kind.scaling)
    info = BundleInfo(
        network=sizes, task=TASK, chunk=10, execute=8, euler_steps=2, prompt_tokens=64, cameras=CAMERAS,
        state_names=NAMES, action_names=NAMES, relative_dims=(), stats=stats, condition="Advantage: positive",
        guidance=guidance,
    )  # fmt: skip
    return network, info


@pytest.mark.parametrize("size", [pytest.param("full", marks=pytest.mark.slow), "tiny"])
@pytest.mark.parametrize("kind", [Pi05Network, GigaBrain0Network])
@pytest.mark.usefixtures("pretended")
def test_policies_train_and_act(kind: type[FlowNetwork], size: str) -> None:
    whole, least = (full, tiny) if kind is Pi05Network else (published, giga_tiny)
    sizes = whole() if size == "full" else replace(least(), cameras=len(CAMERAS), action_dim=len(NAMES))
    network, info = make_policy(kind, sizes, guidance=2.0)
    if size == "full":
        assert sum(value.numel() for value in network.parameters()) > 3.3e9
    batch = SyntheticBatches(batch_size=2, chunk=10, image_size=sizes.image_size).batch(0)
    mixed = {**batch, "condition": np.array([0, 1]), "prompt": np.array([1, 0])}
    learner = FlowLearner(network, prompts=(TASK, "open the box"), stats=info.stats, draws=2, shift_pixels=2)
    assert loss_on_the_device(learner, mixed).device.type == "cuda"
    actor = FlowActor(network, info, GPU)
    state = info.stats.state.apply(batch["state"][:1])
    sampled = actor._sample(torch.from_numpy(batch["images"][:1]), [TASK], state, actor.noise(0)[None])
    assert (sampled.device.type, tuple(sampled.shape)) == ("cuda", (1, 10, sizes.action_dim))


def published_encoder() -> Encoder:
    from diffusers import AutoencoderKLWan

    return WanVaeEncoder(AutoencoderKLWan(**WAN22_VAE))


def small_encoder() -> Encoder:
    return LinearEncoder(torch.zeros(4, 192), torch.zeros(4), patch_pixels=8)


@pytest.mark.parametrize("size", [pytest.param("full", marks=pytest.mark.slow), "tiny"])
@pytest.mark.usefixtures("pretended")
def test_viva_trains_encodes_and_labels(size: str) -> None:
    whole = size == "full"
    config: VivaConfig = full_config("vae", prompt_file="", start="") if whole else tiny_config()
    height, width = (320, 384) if whole else (32, 32)
    with torch.device("cuda"):
        transformer = build_transformer(config.transformer, config.encoder.channels)
        encoder = published_encoder() if whole else small_encoder()
    if whole:
        assert 4.9e9 < sum(value.numel() for value in transformer.parameters()) < 5.1e9
    channels, rows, columns = encoder.latent_size(height, width)
    layout = Layout(views=3, channels=channels, height=rows, width=columns, state_dim=14, future_state=True)
    text = torch.zeros(config.transformer.text_tokens, config.transformer.text_dim)
    low, high = -torch.ones(14), torch.ones(14)
    learner = VivaLearner(transformer, encoder, layout, StateRange(low=low, high=high), [text, text], config)
    batch = {
        "images": np.zeros((1, 3, height, width, 3), np.uint8),
        "state": np.zeros((1, 14), np.float32),
        "ahead": np.zeros((1, 14), np.float32),
        "value": np.zeros(1, np.float32),
        "prompt": np.array([1]),
    }
    with torch.no_grad():
        assert loss_on_the_device(GPU.place(learner), batch).device.type == "cuda"
    parts = Parts(
        config=config, layout=layout, views=CAMERAS, image_size=(height, width), transformer=transformer,
        encoder=encoder, state_range=StateRange(low=low, high=high), prompts={TASK: text},
    )  # fmt: skip
    latents = encoder(torch.from_numpy(batch["images"]))
    assert latents.device.type == "cuda"
    ((_, denoised),) = Viva(parts, GPU)._denoised(latents.cpu(), torch.zeros(1, 14), TASK, "episode", 2, 0, 0)
    assert (denoised.device.type, tuple(denoised.shape)) == ("cpu", (2, channels, 2, rows, columns))


@pytest.mark.usefixtures("pretended")
def test_steam_trains_and_compares() -> None:
    config, inputs = small_steam(), Inputs(views=3, height=64, width=64, state_dim=14, prompts=2)
    with torch.device("cuda"):
        ensemble = Ensemble(config.sizes, inputs, members=config.members, bins=config.bins, seed=0)
    batch = {
        "images": np.zeros((2, 6, 64, 64, 3), np.uint8),
        "state": np.zeros((2, 2, 14), np.float32),
        "offset": np.zeros(2, np.float32),
        "prompt": np.array([0, 1]),
    }
    with torch.no_grad():
        assert loss_on_the_device(GPU.place(SteamLearner(ensemble, config)), batch).device.type == "cuda"
        images = torch.zeros(5, 3, 64, 64, 3, dtype=torch.uint8, device="cuda")
        frames = ensemble.encode(images, torch.zeros(5, 14, device="cuda"))
        logits = ensemble.compare(frames, frames, torch.zeros(5, dtype=torch.long, device="cuda"))
    for found in (ensemble.offset(logits), ensemble.way_left(logits)):
        assert (found.device.type, tuple(found.shape)) == ("cuda", (3, 5))
