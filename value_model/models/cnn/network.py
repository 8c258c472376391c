"""Four strided convolutions over all views at once, then state and instruction: one number, the value."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from value_model.direct import DirectNetwork, Inputs
from value_model.models.cnn.config import GROUPS, CnnConfig

_CELLS = 4
"""The pictures end as _CELLS x _CELLS cells, whatever their size."""
_PROMPT = 16


class CnnNetwork(DirectNetwork):
    """(images, state, instruction) -> value [B]."""

    def __init__(self, config: CnnConfig, inputs: Inputs) -> None:
        super().__init__(inputs)
        widths = [3 * len(inputs.views), *(config.channels * times for times in (1, 2, 3, 4))]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(GROUPS, after), nn.SiLU()]
        self.see = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(_CELLS), nn.Flatten())
        self.prompt = nn.Embedding(len(inputs.prompts), _PROMPT)
        joined = widths[-1] * _CELLS**2 + inputs.state_dim + _PROMPT
        self.join = nn.Sequential(nn.Linear(joined, config.hidden), nn.SiLU(), nn.Linear(config.hidden, 1))

    def forward(self, images: Tensor, state: Tensor, prompt: Tensor) -> Tensor:
        """Values [B]; see DirectNetwork.forward."""
        pixels = images.permute(0, 1, 4, 2, 3).flatten(1, 2).float() / 127.5 - 1
        out: Tensor = self.join(torch.cat([self.see(pixels), self.normalised(state), self.prompt(prompt)], dim=1))
        return out[:, 0].float() - 0.5

    def loss(self, out: Tensor, value: Tensor) -> Tensor:
        """Mean squared error."""
        return (out - value).square().mean()

    def values(self, out: Tensor) -> Tensor:
        """The output itself."""
        return out
