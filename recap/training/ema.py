"""Exponential moving average of the weights: what is saved and acts, while the raw weights go on learning."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def decay_at(step: int, limit: float) -> float:
    """Decay of the average at 0-based `step`: short at first, so that the starting weights are soon forgotten.

    Example:
        >>> decay_at(0, 0.999)
        0.1
    """
    return min(limit, (1 + step) / (10 + step))


class Ema:
    """The average of tensors that an optimiser changes in place; `shadow` is {name: tensor}.

    Example:
        >>> weights = {"scale": torch.zeros(1)}
        >>> ema = Ema(weights, limit=0.99)
        >>> ema.update(step=0)
    """

    def __init__(self, parameters: Mapping[str, Tensor], limit: float) -> None:
        self.limit = limit
        self._parameters = dict(parameters)
        self.shadow = {name: value.clone() for name, value in parameters.items()}

    @torch.no_grad()
    def update(self, *, step: int) -> None:
        """Moves the average after the 0-based gradient step `step`: decay * shadow + (1 - decay) * parameters."""
        torch._foreach_lerp_(
            list(self.shadow.values()), list(self._parameters.values()), 1.0 - decay_at(step, self.limit)
        )

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the parameters and the average; a second call puts both back."""
        for name, shadow in self.shadow.items():
            raw = self._parameters[name].clone()
            self._parameters[name].copy_(shadow)
            shadow.copy_(raw)
