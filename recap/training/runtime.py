"""Where a network trains, labels or acts: device, number format, and the processes that share one training.

All noise is drawn on the CPU and moved, so the device does not change it. With several processes ("ranks") each takes
its rows of every batch and holds its part of every tensor (recap.training.sharding). The number of ranks changes the
order of sums and nothing else. Importing this module does not import torch.

    runtime = Runtime(device="cuda:0", dtype="bfloat16")
    load_value_model(bundle, runtime=runtime).label(data, 0, draws=4, noise_seed=0)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from recap.errors import ConfigError
from recap.protocols import Place
from recap.training.config import RuntimeConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound="nn.Module")


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime(RuntimeConfig):
    """The settings of RuntimeConfig and this process's place among those that train together.

    Example:
        >>> Runtime(rank=1, world_size=2, micro_batch=3).pieces(8)
        (slice(4, 7, None), slice(7, 8, None))
    """

    rank: int = 0
    """0 .. world_size - 1. Rank 0 writes bundles and tells the journal."""
    world_size: int = 1
    """Processes that train together; more than 1 need `joined`."""

    @classmethod
    def of(cls, config: RuntimeConfig, place: Place | None = None) -> Runtime:
        """The runtime that the settings ask for, of one process or of one of several."""
        if place is None:
            return cls(**asdict(config))
        ranked = cls(**asdict(config), rank=place.rank, world_size=place.world_size)
        if config.device == "cpu":
            return ranked
        import torch

        count = torch.get_device_module(config.device).device_count()
        if not count:
            raise ConfigError(
                f"runtime.device = {config.device}: process {place.rank} of {place.world_size} sees none",
                hint="give each process a card, of the roles trainer and value: executor.role_resources",
            )
        # Where every process was given cards of its own, it sees no others.
        shared = count > 1
        return replace(ranked, device=f"{config.device}:{place.local_rank if shared else 0}")

    def torch_device(self) -> torch.device:
        """The device; ConfigError if it is not there."""
        import torch

        hint = "--set runtime.device=cpu, or install the torch build of that device"
        try:
            device = torch.device(self.device)
        except RuntimeError as error:
            raise ConfigError(f"runtime.device = {self.device}: torch knows no such device", hint=hint) from error
        if device.type not in ("cpu", "meta"):
            backend = getattr(torch, device.type, None)
            count = backend.device_count() if backend is not None and backend.is_available() else 0
            if (device.index or 0) >= count:
                raise ConfigError(f"runtime.device = {self.device}: torch {torch.__version__} sees {count}", hint=hint)
        return device

    def place(self, module: ModuleT) -> ModuleT:
        """The module, moved to the device."""
        return module.to(self.torch_device())

    def round_matrices(self, module: nn.Module) -> None:
        """Keeps matrices that are not trained in `dtype`: autocast rounds them to it in every product anyway."""
        import torch

        if self.dtype == "float32":
            return
        for part in module.modules():
            if isinstance(part, torch.nn.Linear) and not part.weight.requires_grad:
                part.to(getattr(torch, self.dtype))

    def move(self, tensor: Tensor) -> Tensor:
        """A tensor, on the device."""
        return tensor.to(self.device)

    def autocast(self) -> AbstractContextManager[object]:
        """Matrix products in `dtype`; with float32 it changes nothing."""
        import torch

        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, dtype=getattr(torch, self.dtype))

    def pieces(self, count: int) -> tuple[slice, ...]:
        """This rank's rows of a batch of `count` samples, one slice per forward pass.

        Every rank passes as often: whoever has fewer rows ends with empty slices.

        Raises:
            ConfigError: fewer samples than ranks.
        """
        if count < self.world_size:
            raise ConfigError(
                f"a batch of {count} samples for {self.world_size} processes, expected at least one for each",
                hint="raise batch_size of the model, or lower runtime.processes",
            )
        first, last = (count * rank // self.world_size for rank in (self.rank, self.rank + 1))
        size = self.micro_batch or count
        longest = -(-count // self.world_size)
        starts = range(first, first + longest, size)
        return tuple(slice(min(start, last), min(start + size, last)) for start in starts)

    def add(self, tensor: Tensor) -> None:
        """Replaces the tensor by its sum over the ranks."""
        if self.world_size > 1:
            from torch import distributed

            distributed.all_reduce(tensor)

    def barrier(self) -> None:
        """Waits for the other ranks."""
        if self.world_size > 1:
            from torch import distributed

            distributed.barrier()

    @contextmanager
    def first_rank_first(self) -> Iterator[None]:
        """Rank 0 runs the block before the others do: it makes what they then find."""
        if self.rank:
            self.barrier()
        yield
        if not self.rank:
            self.barrier()


CPU = Runtime()
"""One process on the CPU in float32: the runtime whose results keep their bits."""


class PeerLost(RuntimeError):
    """Another process of the group is gone, or has left it by an error of its own."""


@contextmanager
def joined(runtime: Runtime, address: str, *, timeout_s: float = 600) -> Iterator[None]:
    """Connects the ranks of one training for the length of the block: NCCL between GPUs, else Gloo.

    A process that leaves the block by an error stays connected: whoever started the group ends all of them.

    Args:
        runtime: this process's.
        address: host:port of rank 0, which listens there and on no other address.
        timeout_s: how long any rank waits for the others before it gives up, seconds.
    """
    import torch
    from torch import distributed

    host, _, port = address.rpartition(":")
    timeout, listener = timedelta(seconds=timeout_s), None
    if runtime.rank == 0:
        # Left to itself the store listens on every address of the machine.
        listener = socket.create_server((host, int(port)))
    store = distributed.TCPStore(  # type: ignore[attr-defined]
        host, int(port), runtime.world_size, runtime.rank == 0, timeout,
        master_listen_fd=None if listener is None else listener.detach(),
    )  # fmt: skip
    if host.startswith("127."):
        os.environ.update(GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo")
    card = runtime.torch_device() if runtime.device.startswith("cuda") else None
    if card is not None:
        torch.cuda.set_device(card)
    distributed.init_process_group(
        "gloo" if card is None else "nccl",
        store=store,
        rank=runtime.rank,
        world_size=runtime.world_size,
        timeout=timeout,
        device_id=card,
    )
    try:
        yield
    except Exception as error:  # c10d has a class for it, Gloo a plain RuntimeError
        if isinstance(error, distributed.DistError) or (type(error) is RuntimeError and "gloo" in str(error)):
            raise PeerLost(f"process {runtime.rank}: {error}") from error
        raise
    # After an error the others may be in the middle of something, and would be waited for.
    distributed.destroy_process_group()
