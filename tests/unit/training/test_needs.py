"""What a training needs, computed: by hand for a layer, against the real thing for the models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.policies import TASK, arm_pair
from tests.support.published import wan_vae
from torch import Tensor, nn

from pipelines.probe import policy_needs, value_needs
from recap.training.fit import LossModule
from recap.training.needs import Kept, Needs, training_needs
from recap.training.runtime import Runtime
from value_model.models import VALUE_MODELS


class Layer(LossModule):
    """8 numbers to 16, with a frozen bias beside."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 16, bias=False)
        self.frozen = nn.Parameter(torch.zeros(5), requires_grad=False)
        self.register_buffer("shift", torch.zeros(16))

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return (self.linear(rows["x"]) + self.shift).square().mean() + self.frozen.sum(), {}


@pytest.mark.parametrize("micro", [0, 2, 64])
def test_a_layer_by_hand(micro: int) -> None:
    with torch.device("meta"):
        layer = Layer()
    found = training_needs(layer, {"x": torch.zeros(4, 8)}, Runtime(micro_batch=micro))
    weights, rows = 4 * 8 * 16, min(micro or 4, 4)
    # Forward, and backward to the weights: a product of [rows, 8] and [8, 16] each; the input asks for no gradient.
    assert found.operations == 2 * (2 * 4 * 8 * 16)
    assert found.parameters == 8 * 16
    # Autograd keeps the input and what is squared.
    assert found.memory == {
        "weights": weights + 4 * 5, "gradients": weights, "moments": 2 * weights, "average": weights,
        "activations": 4 * rows * (8 + 16),
    }  # fmt: skip
    assert found.total == sum(found.memory.values())


class Layered(LossModule):
    """Three layers of 8 x 8, and a matrix of 8 x 4 that is in none, whose bias is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(3))
        self.head = nn.Linear(8, 4)
        self.head.bias.requires_grad_(False)

    def layers(self) -> Sequence[nn.Module]:
        return tuple(self.stack)

    def forward(self, rows: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        x = rows["x"]
        for layer in self.stack:
            x = layer(x)
        return self.head(x).sum(), {}


def test_what_each_of_several_processes_holds_by_hand() -> None:
    def of(processes: int) -> Needs:
        with torch.device("meta"):
            module = Layered()
        return training_needs(module, {"x": torch.zeros(5, 8)}, Runtime(processes=processes))

    alone, each = of(1), of(2)
    layer, head, bias = 4 * 8 * 8, 4 * 8 * 4, 4 * 4
    trained = 3 * layer + head
    assert (each.trained, each.bundle, each.parameters) == (trained, trained, trained // 4)
    assert each.operations * 5 == alone.operations * 5  # of the whole batch, whoever does it
    assert each.memory == {
        "weights": (trained + bias) // 2, "gradients": trained // 2, "moments": trained, "average": trained // 2,
        # The head with its gradient, its frozen bias without; two layers with theirs.
        "put together": 2 * head + bias + 2 * 2 * layer,
        # Three of five rows at most; the bias that is summed keeps nothing.
        "activations": alone.memory["activations"] * 3 // 5,
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("name", ["viva", "vlm"])
@pytest.mark.parametrize("runtime", [Runtime(), Runtime(recompute=True), Runtime(dtype="bfloat16", recompute=True)])
def test_value_models_keep_as_much_as_is_computed(name: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same module with real tensors: autograd keeps the same number of bytes."""
    given: dict[str, Any] = {}

    def really(module: LossModule, rows: Mapping[str, Tensor], runtime: Runtime, *, beside: Any = ()) -> int:
        given["module"] = module
        for part in (module, *beside):
            part.to_empty(device="cpu")
            for tensor in [*part.parameters(), *part.buffers()]:
                tensor.data.zero_()
        kept = Kept([*module.parameters(), *module.buffers()])
        if runtime.recompute:
            module.run_layers(kept.layer)
        with runtime.autocast():
            return kept.by(lambda: module(rows))

    config = VALUE_MODELS.get(name).presets["tiny"](steps=1)
    asked: dict[str, Any] = {"prompts": (TASK,), "robot": arm_pair(), "runtime": runtime}
    found = value_needs(config, **asked)
    assert found is not None
    place = {"viva": "value_model.models.viva.needs", "vlm": "value_model.direct_needs"}[name]
    monkeypatch.setattr(f"{place}.training_needs", really)
    assert found.memory["activations"] == value_needs(config, **asked) > 10_000
    assert found.parameters == sum(value.numel() for value in given["module"].parameters())
    assert found.operations > 6 * found.parameters


def test_the_encoder_of_a_vivas_latents_lies_on_the_device_too(tmp_path: Path) -> None:
    config = VALUE_MODELS.get("viva").presets["tiny"](steps=1)
    asked: dict[str, Any] = {"prompts": (TASK,), "robot": arm_pair(), "runtime": Runtime()}
    linear = value_needs(replace(config, shift_pixels=0), **asked)
    encoder = replace(config.encoder, kind="wan_vae", folder=str(wan_vae(tmp_path)), patch_pixels=16)
    coded = value_needs(replace(config, shift_pixels=0, encoder=encoder), **asked)
    assert linear is not None
    assert coded is not None
    from diffusers import AutoencoderKLWan

    own = sum(value.numel() for value in AutoencoderKLWan.from_pretrained(tmp_path).parameters())
    more = coded.memory["weights"] - coded.trained
    assert more == 4 * own + (config.encoder.channels * (3 * 16**2) + config.encoder.channels) * 4
    assert linear.memory["weights"] - linear.trained < more


def test_families_without_networks_need_nothing_that_is_known() -> None:
    clock = VALUE_MODELS.get("clock")
    assert value_needs(clock.config(), prompts=(TASK,), robot=arm_pair(), runtime=Runtime()) is None


def test_a_policy_is_asked_by_its_settings_alone() -> None:
    from policy.models.pi05.config import tiny_config

    found = policy_needs(tiny_config(relative_actions=True), prompts=(TASK,), robot=arm_pair(), runtime=Runtime())
    assert found is not None
    assert found.trained == 4 * found.parameters
