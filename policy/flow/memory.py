"""What a training needs in memory, computed without doing it: nothing of the network's size is allocated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from policy.flow.config import FlowConfig, network_sizes, tokenizer_of
from policy.flow.learner import FlowLearner
from policy.flow.network import FlowNetwork
from policy.flow.scaling import PolicyStats
from recap.specs import RobotSpec
from recap.training.runtime import CPU, Runtime


def training_memory(
    kind: type[FlowNetwork],
    config: FlowConfig,
    batch: Mapping[str, Any],
    stats: Mapping[str, Any],
    *,
    prompts: Sequence[str],
    robot: RobotSpec,
    cameras: tuple[str, ...],
    runtime: Runtime = CPU,
) -> dict[str, int]:
    """{what: bytes} of one process that trains alone: weights, gradients, moments, average, activations.

    Activations are the distinct tensors that autograd keeps of one forward pass of `runtime.micro_batch` samples (0:
    the whole batch), weights not counted twice. What kernels need for a moment is not in it.

    Args:
        kind: network of the family.
        config: of the training.
        batch: one, as it would be trained on; only its shapes matter.
        stats: of the data, as for `policy.flow.train.train`.
        prompts: the instructions.
        robot: whose actions and state they are.
        cameras: in the order of the batch's images.
        runtime: number format and samples per forward pass.
    """
    sizes = network_sizes(config, robot, cameras)
    scaled = PolicyStats.from_json(stats, relative=config.relative_actions, scaling=kind.scaling)
    with torch.device("meta"):
        network = kind(sizes)
    network.form = replace(network.form, tokenizer=tokenizer_of(config))
    mode = FakeTensorMode()
    for module in network.modules():
        for name, value in module._parameters.items():
            if value is not None:
                module._parameters[name] = nn.Parameter(FakeTensor(mode, value.detach(), torch.device("cpu")))
    learner = FlowLearner(network, prompts=prompts, stats=scaled, draws=config.draws, shift_pixels=config.shift_pixels)
    rows = learner.prepare(batch, torch.Generator().manual_seed(0))
    part = runtime.micro_batch or len(rows["action"])
    kept = _Kept([*network.parameters()])
    shapes = {name: mode.from_tensor(value[:part]) for name, value in rows.items()}
    # Rounding is that of the device: on a CPU that is pretended every product is saved as it would be on a card.
    with mode, saved_tensors_hooks(kept.keep, lambda tensor: tensor), replace(runtime, device="cpu").autocast():
        learner(shapes)
    weights = sum(value.numel() * value.element_size() for value in network.parameters())
    # AdamW has two moments of each weight, the moving average a copy; all in the format of the weights.
    return {
        "weights": weights,
        "gradients": weights,
        "moments": 2 * weights,
        "average": weights,
        "activations": kept.bytes,
    }


class _Kept:
    """Counts what autograd keeps, each piece of memory once."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        # Held as long as the count runs, so that no address is given out twice.
        self._held = [*known]
        self._seen = {tensor.untyped_storage()._cdata for tensor in known}
        self.bytes = 0

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._held.append(tensor)
            self.bytes += storage.nbytes()
        return tensor
