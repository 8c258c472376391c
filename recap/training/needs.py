"""What a training needs, computed without doing it: nothing of the network's size is allocated.

The network and one pass are run on shapes alone (fake tensors); what autograd keeps is counted, each piece of memory
once, and the arithmetic of one gradient step is added up.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from recap.training.fit import LossModule
from recap.training.recompute import recomputed
from recap.training.runtime import CPU, Runtime


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """Of each process of a training."""

    parameters: int
    """Numbers trained."""
    trained: int
    """Their bytes: a checkpoint holds them four times."""
    memory: Mapping[str, int]
    """{what: bytes}: weights, gradients, moments, average, activations of one forward pass of `runtime.micro_batch`
    samples (0: the whole batch), weights not counted twice. With `runtime.recompute` activations are the inputs of
    layers and all that one layer computes again. Of several processes each holds its part of the first four, and
    whole: what belongs to no layer, and two layers at a time. What kernels need for a moment is not in it."""
    operations: int
    """Floating-point operations of one gradient step on the whole batch: matrix products, attention, convolutions."""
    bundle: int
    """Bytes of the weights in a bundle: those that are trained, unless the family says otherwise."""

    @property
    def total(self) -> int:
        """Bytes of memory."""
        return sum(self.memory.values())


def training_needs(
    module: LossModule, rows: Mapping[str, Tensor], runtime: Runtime = CPU, *, beside: Sequence[nn.Module] = ()
) -> Needs:
    """What one gradient step of a module takes.

    Args:
        module: built on the meta device; its tensors are replaced.
        rows: a prepared batch, of which only shapes matter.
        runtime: number format, samples per forward pass, processes.
        beside: modules that lie on the device with it and are not its own (a frozen encoder): counted as weights.
    """
    mode = FakeTensorMode()
    for part in (inner for whole in (module, *beside) for inner in whole.modules()):
        tables: tuple[dict[str, Any], ...] = (part._parameters, part._buffers)
        for table in tables:
            for name, value in table.items():
                if value is not None:
                    table[name] = _fake(mode, value)
    trained = [value for value in module.parameters() if value.requires_grad]
    count = len(next(iter(rows.values())))
    own = -(-count // runtime.processes)
    piece = min(runtime.micro_batch or own, own)
    # Copies, as a card gets them: a piece does not hold on to the whole batch.
    shapes = {name: mode.from_tensor(value[:piece].clone()) for name, value in rows.items()}
    kept = Kept([*module.parameters(), *module.buffers()])
    # Rounding is that of the device: on a CPU that is pretended every product is saved as it would be on a card.
    pretended = replace(runtime, device="cpu")
    with mode, pretended.autocast(), warnings.catch_warnings():
        # A card fuses what it says the CPU cannot.
        warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
        if runtime.recompute:
            module.run_layers(kept.layer)
        activations = kept.by(lambda: module(shapes))
        if runtime.recompute:
            module.run_layers(recomputed)
        # Fused attention of the CPU is not counted: written out, it is.
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            module(shapes)[0].backward()
    weights = _bytes(trained)
    around = _bytes(value for whole in beside for value in (*whole.parameters(), *whole.buffers()))

    def share(count: int) -> int:
        return -(-count // runtime.processes)

    memory = {
        "weights": share(_bytes(module.parameters())) + around,
        "gradients": share(weights),
        # AdamW has two moments of each weight, the moving average a copy; all in the format of the weights.
        "moments": share(2 * weights),
        "average": share(weights),
        "activations": activations,
    }
    if runtime.processes > 1:
        layers = [_put_together(layer.parameters()) for layer in module.layers()]
        # One that computes, and the next, which is fetched meanwhile.
        memory["put together"] = _put_together(module.parameters()) - sum(layers) + 2 * max(layers, default=0)
    return Needs(
        parameters=sum(value.numel() for value in trained),
        trained=weights,
        memory=memory,
        operations=round(counter.get_total_flops() * count / piece),
        bundle=weights,
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(value.numel() * value.element_size() for value in tensors)


def _put_together(parameters: Iterable[Tensor]) -> int:
    """Bytes of what several processes have whole for a while: weights, and gradients before they are summed."""
    return sum((1 + value.requires_grad) * value.numel() * value.element_size() for value in parameters)


def _fake(mode: FakeTensorMode, value: Tensor) -> Tensor:
    if value.device.type != "meta":
        found: Tensor = mode.from_tensor(value)
        return found
    pretended = FakeTensor(mode, value.detach(), torch.device("cpu"))
    if isinstance(value, nn.Parameter):
        return nn.Parameter(pretended, requires_grad=value.requires_grad)
    return pretended


class Kept:
    """Counts what autograd keeps, each piece of memory once."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        # Held as long as the count runs, so that no address is given out twice.
        self._held = [*known]
        self._seen = {tensor.untyped_storage()._cdata for tensor in known}
        self.bytes = 0
        self._anew = 0

    def by(self, function: Callable[[], Any]) -> int:
        """Bytes that autograd keeps of a call, and of its layers (see `layer`) what the largest computes again."""
        with saved_tensors_hooks(self.keep, lambda tensor: tensor):
            function()
        return self.bytes + self._anew

    def layer(self, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Runs a layer as `recomputed` does; in the backward pass one at a time keeps what the plain call would."""
        own = Kept([*self._held, *(one for one in tree_leaves((given, named)) if isinstance(one, Tensor))])
        self._anew = max(self._anew, own.by(lambda: function(*given, **named)))
        return recomputed(function, *given, **named)

    def keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._held.append(tensor)
            self.bytes += storage.nbytes()
        return tensor
