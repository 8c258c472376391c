"""Starting weights for a network that is trained from scratch.

Chosen so that every residual branch is open and every input has unit size at step 0: a published network starts
from PaliGemma instead and never needs this.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from policy.flow.gemma import RmsNorm
from policy.flow.network import Drawn, FlowNetwork
from policy.flow.vision import ConvTower
from policy.flow.vocabulary import NUM_BINS


def initialise(network: FlowNetwork, *, seed: int, first_bin: int) -> None:
    """Fills every parameter in place, as a pure function of `seed`.

    Args:
        network: built on a real device.
        seed: of the weights.
        first_bin: token id of the lowest state bin; the NUM_BINS ids from there get neighbouring embeddings.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                fan_in = module.weight[0].numel()
                gain = 2.0 if isinstance(module, nn.Conv2d) else 1.0
                module.weight.normal_(0.0, math.sqrt(gain / fan_in), generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, Drawn):
                module.draw(generator)
            elif isinstance(module, nn.Embedding):
                module.weight.normal_(0.0, 1.0 / math.sqrt(module.embedding_dim), generator=generator)
        for module in network.modules():
            if isinstance(module, RmsNorm) and module.dense is not None:
                # scale 0, shift 0, gate 1: the expert starts as an ordinary pre-norm transformer
                module.dense.weight.zero_()
                module.dense.bias.view(3, -1)[2].fill_(1.0)
        weight = network.paligemma_with_expert.embedding.weight
        weight[first_bin : first_bin + NUM_BINS] = smooth_features(NUM_BINS, weight.shape[1]) / math.sqrt(
            weight.shape[1]
        )
        network.action_out_proj.get_parameter("weight").mul_(0.1)
        if network.slots is not None:
            for parameter in network.slots.parameters():
                parameter.normal_(0.0, 1.0, generator=generator)
            network.slots.number_gain[0] = 1.0  # slot 0 is "no number"
            network.slots.number[0] = 0.0
        tower = network.paligemma_with_expert.tower
        if isinstance(tower, ConvTower):
            tower.mix.normal_(0.0, math.sqrt(1.0 / tower.mix.shape[1]), generator=generator)


def smooth_features(count: int, width: int) -> Tensor:
    """[count, width] sine-cosine features of 0..count-1, root mean square 1: neighbours are near, all are distinct."""
    place = torch.arange(count, dtype=torch.float32) / count
    octaves = torch.logspace(math.log2(0.25), math.log2(count / 8), width // 2, base=2.0)
    angle = 2 * math.pi * place[:, None] * octaves
    return math.sqrt(2.0) * torch.cat([angle.sin(), angle.cos()], dim=1)
