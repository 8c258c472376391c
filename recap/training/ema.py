"""Exponential moving average of the weights: what is saved and acts, while the raw weights go on learning."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn


def decay_at(step: int, limit: float) -> float:
    """Decay of the average at 0-based `step`: short at first, so that the starting weights are soon forgotten.

    Example:
        >>> decay_at(0, 0.999)
        0.1
    """
    return min(limit, (1 + step) / (10 + step))


class Ema:
    """The average of a module's parameters; `shadow` is {name: tensor}.

    Example:
        >>> net = nn.Linear(1, 1)
        >>> ema = Ema(net, limit=0.99)
        >>> ema.update(net, step=0)
    """

    def __init__(self, module: nn.Module, *, limit: float, names: Collection[str] | None = None) -> None:
        """Averages the parameters called `names`, all by default."""
        self.limit = limit
        self.shadow: dict[str, Tensor] = {
            name: value.detach().clone() for name, value in module.named_parameters() if names is None or name in names
        }

    @torch.no_grad()
    def update(self, module: nn.Module, *, step: int) -> None:
        """Moves the average after the 0-based gradient step `step`: decay * shadow + (1 - decay) * parameters."""
        parameters = dict(module.named_parameters())
        torch._foreach_lerp_(
            list(self.shadow.values()),
            [parameters[name].detach() for name in self.shadow],
            1.0 - decay_at(step, self.limit),
        )

    @torch.no_grad()
    def swap(self, module: nn.Module) -> None:
        """Exchanges the module's parameters and the average; a second call puts both back."""
        parameters = dict(module.named_parameters())
        for name, shadow in self.shadow.items():
            raw = parameters[name].detach().clone()
            parameters[name].copy_(shadow)
            shadow.copy_(raw)
