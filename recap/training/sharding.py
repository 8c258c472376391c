"""Weights, gradients, moments and average divided over the ranks of one training: torch's FSDP2 (`fully_shard`).

Every rank holds its rows (of the first dimension, as torch.chunk divides them) of every tensor. A layer is put together
just before it computes and given up after it; so is what belongs to no layer, which stays whole for the length of a
step. In one process nothing is divided and nothing here changes anything.

    shard(module, runtime)                   # once, before the optimiser sees the parameters
    with whole(module, runtime): ...         # rank 0 holds plain weights on the CPU, to write them
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from recap.training.runtime import Runtime


def shard(module: nn.Module, layers: Sequence[nn.Module], runtime: Runtime) -> None:
    """Puts the module on its device, divided over the ranks of the runtime.

    Args:
        module: called through its `forward` alone, with the same weights on every rank.
        layers: parts of it that are called through their own `forward` alone, each put together by itself.
        runtime: of a process whose ranks are `joined`; with one process the module is moved whole.
    """
    if runtime.world_size == 1:
        runtime.place(module)
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    for parameter in module.parameters():  # channels_last, which cannot be divided
        parameter.data = parameter.data.contiguous()
    mesh = init_device_mesh(runtime.torch_device().type, (runtime.world_size,))
    for part in (*layers, module):
        fully_shard(part, mesh=mesh)
    for part in module.modules():
        if isinstance(part, FSDPModule):
            # Sums: a loss here is weighted by its share of the whole batch. Gloo knows no other way to say it.
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor, in the same memory; all of it where nothing is divided."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """The whole tensor, put together on every rank: all of them call it."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def rows_of(count: int, rank: int, world_size: int) -> slice:
    """The rows of a tensor of `count` that a rank holds.

    Example:
        >>> [rows_of(5, rank, 3) for rank in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    size = -(-count // world_size)
    return slice(min(rank * size, count), min((rank + 1) * size, count))


@contextmanager
def whole(module: nn.Module, runtime: Runtime) -> Iterator[None]:
    """For the block, parameters of the module on rank 0 are plain tensors on the CPU; all ranks enter it together."""
    divided = make_whole(module, runtime)
    try:
        yield
    finally:
        for (part, name), parameter in divided.items():
            part._parameters[name] = parameter


def make_whole(module: nn.Module, runtime: Runtime) -> Mapping[tuple[nn.Module, str], Any]:
    """`whole` for good, on rank 0; {(module, name): the divided parameter} that were there, none in one process."""
    if runtime.world_size == 1:
        return {}
    divided: dict[tuple[nn.Module, str], Any] = {}
    made: dict[int, nn.Parameter] = {}
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in made:  # one that two layers share is put together once
                together = full(parameter.detach())
                if runtime.rank == 0:
                    made[id(parameter)] = nn.Parameter(together.cpu(), parameter.requires_grad)
            if runtime.rank == 0:
                divided[part, name] = parameter
    for (part, name), parameter in divided.items():
        part._parameters[name] = made[id(parameter)]
    return divided
