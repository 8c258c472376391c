"""Activations computed again in the backward pass: the same bits from less memory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.fakes import MemoryJournal
from tests.support.policies import CAMERAS, TASK, SyntheticBatches, synthetic_stats
from tests.support.published import gigabrain0_sizes, pi05_sizes
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from policy.flow.initialise import initialise
from policy.flow.learner import FlowLearner
from policy.flow.network import FlowNetwork
from policy.flow.scaling import PolicyStats
from policy.flow.vocabulary import VOCAB_SIZE
from policy.models.gigabrain0.network import GigaBrain0Network
from policy.models.pi05.network import Pi05Network
from recap import faults
from recap.training.config import FitConfig
from recap.training.fit import LossModule, fit
from recap.training.needs import Kept, training_needs
from recap.training.recompute import at_once, recomputed, way_of
from recap.training.runtime import Runtime
from value_model.direct import DirectLearner, Inputs, starting_network
from value_model.models.viva.config import EncoderConfig, VivaConfig
from value_model.models.viva.encoder import LinearEncoder
from value_model.models.viva.frames import Layout, StateRange
from value_model.models.viva.learner import VivaLearner
from value_model.models.viva.model import build_transformer
from value_model.models.viva.model import initialise as initialise_viva
from value_model.models.vlm.config import small_config
from value_model.models.vlm.model import VlmNetwork

# torch's fused RMS norm takes one number format only; the slower one is right as well.
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")

Made = tuple[LossModule, dict[str, Tensor]]


def policy(kind: type[FlowNetwork]) -> Made:
    sizes = {Pi05Network: pi05_sizes, GigaBrain0Network: gigabrain0_sizes}[kind]()
    network = kind(replace(sizes, cameras=len(CAMERAS), vocab_size=VOCAB_SIZE))
    initialise(network, seed=0, first_bin=0)
    stats = PolicyStats.from_json(synthetic_stats(8, ()), relative=False, scaling=kind.scaling)
    learner = FlowLearner(network, prompts=(TASK,), stats=stats, draws=2, shift_pixels=2)
    batch = SyntheticBatches(batch_size=3, chunk=8, image_size=64).batch(0)
    return learner, learner.prepare(batch, torch.Generator().manual_seed(0))


def viva() -> Made:
    config = VivaConfig(encoder=EncoderConfig(channels=4))
    layout = Layout(views=2, channels=4, height=8, width=8, state_dim=5, future_state=True)
    transformer = build_transformer(config.transformer, 4)
    initialise_viva(transformer, seed=0)
    encoder = LinearEncoder(torch.randn(4, 3 * 8**2), torch.zeros(4), patch_pixels=8)
    unit = StateRange(low=-torch.ones(5), high=torch.ones(5))
    learner = VivaLearner(transformer, encoder, layout, unit, [torch.randn(8, 32)], config)
    batch = {
        "images": torch.randint(0, 256, (3, 2, 64, 64, 3), dtype=torch.uint8),
        "state": torch.rand(3, 5),
        "ahead": torch.rand(3, 5),
        "value": -torch.rand(3),
        "prompt": torch.zeros(3, dtype=torch.long),
    }
    return learner, learner.prepare(batch, torch.Generator().manual_seed(0))


def vlm() -> Made:
    inputs = Inputs(views=("left", "right"), image_size=(64, 64), state_dim=5, prompts=(TASK,))
    learner = DirectLearner(starting_network(VlmNetwork, small_config(), inputs, seed=0), 2)
    _, rows = viva()
    return learner, learner.prepare(rows, torch.Generator().manual_seed(0))


MADE: dict[str, Callable[[], Made]] = {
    "pi05": lambda: policy(Pi05Network),
    "gigabrain0": lambda: policy(GigaBrain0Network),
    "viva": viva,
    "vlm": vlm,
}


def gradients(module: LossModule, rows: Mapping[str, Tensor], dtype: str) -> tuple[dict[str, Tensor], int]:
    """{parameter: gradient} with the loss, and how much autograd kept between the two passes."""
    module.zero_grad()
    kept = Kept([*module.parameters(), *module.buffers()])
    with saved_tensors_hooks(kept.keep, lambda tensor: tensor), Runtime(dtype=dtype).autocast():
        loss, _ = module(rows)
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: value.grad for name, value in module.named_parameters() if value.grad is not None}
    return {**found, "loss": loss.detach()}, kept.bytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MADE)
def test_gradients_keep_their_bits(name: str, dtype: str) -> None:
    torch.manual_seed(0)
    module, rows = MADE[name]()
    expected, whole = gradients(module, rows, dtype)
    before = torch.get_rng_state()
    module.run_layers(recomputed)
    found, kept = gradients(module, rows, dtype)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.keys() == expected.keys()
    assert len(found) > 20
    assert [one for one, value in expected.items() if not torch.equal(found[one], value)] == []
    assert kept < 0.7 * whole
    module.run_layers(at_once)
    assert gradients(module, rows, dtype)[1] == whole


@pytest.mark.parametrize("name", MADE)
def test_a_layer_is_called_twice_and_names_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, rows = MADE[name]()
    names = list(module.state_dict())
    calls = [0, 0]

    def counted(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        def inner(*given: Any, **named: Any) -> Any:
            calls[1] += 1
            return function(*given, **named)

        calls[0] += 1
        return recomputed(inner, *given, **named)

    module.run_layers(counted)
    gradients(module, rows, "float32")
    layers = {"pi05": 2 + 3 + 3, "gigabrain0": 2 + 3 + 3, "viva": 2, "vlm": 4}[name]
    assert calls == [layers, 2 * layers]
    assert list(module.state_dict()) == names
    with torch.no_grad():
        module(rows)
    assert calls == [2 * layers, 3 * layers]


class Deep(LossModule):
    """Three layers of two matrices [4, 4]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)) for _ in range(3))

    def layers(self) -> Sequence[nn.Module]:
        return tuple(self.parts)

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        x = rows["x"]
        for layer in self.parts:
            x = layer(x)
        return x.sum(), {}


def test_three_layers_by_hand() -> None:
    """Kept: the input of each layer, and of one layer all (its inner activation, for the input is there)."""

    def needs(runtime: Runtime) -> tuple[int, int]:
        with torch.device("meta"):
            module = Deep()
        found = training_needs(module, {"x": torch.zeros(8, 4)}, runtime)
        return found.memory["activations"], found.operations

    one, product = 4 * 8 * 4, 2 * 8 * 4 * 4
    # Forward 6 products; backward twice as many, less that to the first input.
    assert needs(Runtime()) == (6 * one, 17 * product)
    # Once more the first product of each layer: nothing asks for what the second gives.
    assert needs(Runtime(recompute=True)) == ((3 + 1) * one, (17 + 3) * product)


def test_a_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    class Batches:
        def batch(self, step: int) -> dict[str, Any]:
            return {"x": torch.full((8, 4), float(step % 3)).numpy()}

    ends = []
    for recompute in (False, True):
        module, runtime = Deep(), Runtime(recompute=recompute)
        scratch = tmp_path / str(recompute)
        fit(module, Batches(), FitConfig(steps=5), seed=1, scratch=scratch, journal=MemoryJournal(), runtime=runtime)
        ends.append(module.state_dict())
    assert all(torch.equal(ends[0][name], value) for name, value in ends[1].items())


def test_a_network_is_freed_when_its_training_ends(tmp_path: Path) -> None:
    module = Deep()
    gone = weakref.ref(module.parts[0])
    batches = type("Batches", (), {"batch": lambda self, step: {"x": np.ones((2, 4), np.float32)}})()
    config = FitConfig(steps=1)
    gc.disable()
    try:
        fit(module, batches, config, seed=0, scratch=tmp_path, journal=MemoryJournal(), runtime=Runtime(recompute=True))
        del module
        assert gone() is None
    finally:
        gc.enable()


def near(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], share: float) -> bool:
    """Whether two sets of gradients differ by less than a share of their length, all of them taken as one vector."""
    apart = sum(float((found[name] - value).double().square().sum()) for name, value in expected.items())
    return apart < share**2 * sum(float(value.double().square().sum()) for value in expected.values())


compiles = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute of a Tensor")  # torch's


@compiles
@pytest.mark.slow
@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_layers_share_a_graph_and_keep_the_gradients(recompute: bool) -> None:
    module, rows = Deep(), {"x": torch.randn(8, 4, generator=torch.Generator().manual_seed(0))}
    expected, _ = gradients(module, rows, "float32")
    torch._dynamo.utils.counters.clear()
    module.run_layers(way_of(Runtime(compile=True, recompute=recompute)))
    found, _ = gradients(module, rows, "float32")
    assert near(found, expected, 1e-6)
    module.run_layers(at_once)
    assert (
        torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
    )  # one of the first layer, whose input has no gradient
    assert not torch._dynamo.utils.counters["graph_break"]


@compiles
@pytest.mark.slow
def test_a_compiled_training_that_died_ends_with_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Batches:
        def batch(self, step: int) -> dict[str, Any]:
            return {"x": torch.full((8, 4), float(step % 3)).numpy()}

    def train(scratch: Path, runtime: Runtime) -> dict[str, Tensor]:
        module, config = Deep(), FitConfig(steps=5, checkpoint_every=2)
        fit(module, Batches(), config, seed=1, scratch=scratch, journal=MemoryJournal(), runtime=runtime)
        assert "forward" not in module.parts[0].__dict__
        return module.state_dict()

    whole = train(tmp_path / "whole", Runtime(compile=True))
    monkeypatch.setattr(faults, "_seen", {})
    monkeypatch.setenv("RECAP_FAULT", "train.step:4:raise")
    with pytest.raises(faults.FaultInjected):
        train(tmp_path / "killed", Runtime(compile=True))
    monkeypatch.delenv("RECAP_FAULT")
    again = train(tmp_path / "killed", Runtime(compile=True))
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    assert near(whole, train(tmp_path / "plain", Runtime()), 1e-6)


@compiles
@pytest.mark.slow  # half a minute to two for each family
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", MADE)
def test_every_family_compiles(name: str, dtype: str) -> None:
    torch.manual_seed(0)
    module, rows = MADE[name]()
    expected, _ = gradients(module, rows, dtype)
    for recompute in (False, True):
        module.run_layers(way_of(Runtime(compile=True, recompute=recompute)))
        found, _ = gradients(module, rows, dtype)
        assert near(found, expected, 1e-5 if dtype == "float32" else 0.05)
