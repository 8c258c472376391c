"""Low-rank adapters (LoRA) of a network: training moves them instead of the matrices that they stand beside.

As openpi's LoRA variants: adapters at the projections of attention and MLP, of prefix and expert alike; beside them the
image tower with its projector and all that lies outside the two transformers (action and time projections, learned
condition and slots) are trained in full. Token embedding and norms, the expert's adaptive ones included, stay as they
are. A bundle never holds adapters: `merge` gives the weights that they amount to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from policy.flow.config import LoraConfig
from recap.training.runtime import Runtime

if TYPE_CHECKING:
    from policy.flow.network import FlowNetwork

_PROJECTIONS = frozenset(("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"))
_NAME = "default"


def adapt(network: FlowNetwork, lora: LoraConfig, *, seed: int, runtime: Runtime) -> None:
    """Puts adapters into a network, in place; they add nothing yet. Only what is to be trained asks for gradients.

    Args:
        network: with the weights that training starts from.
        lora: rank (>= 1) and scale.
        seed: of the adapters, which are a pure function of it.
        runtime: in whose number format frozen matrices are kept: its products round them to that anyway.
    """
    import peft
    from peft.tuners.lora import LoraLayer

    body = network.paligemma_with_expert
    tower = set(body.tower.modules())
    targets = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and module not in tower and _PROJECTIONS & set(name.split("."))
    ]
    wanted = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha or lora.rank, target_modules=targets)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(wanted, network, _NAME)
    # All but the adapters is frozen now.
    for part in (body.tower, body.projector, *(child for child in network.children() if child is not body)):
        part.requires_grad_(True)
    runtime.round_matrices(network)
    for module in network.modules():
        if isinstance(module, LoraLayer):
            # Autocast chooses the format: a float32 copy of every input would be kept beside it.
            module.cast_input_dtype_enabled = False


@torch.no_grad()
def merge(adapted: FlowNetwork, plain: FlowNetwork) -> None:
    """Makes `plain`, which holds the unrounded starting weights of `adapted`, compute what `adapted` does."""
    from peft.tuners.lora import LoraLayer

    own = plain.state_dict()
    for name, module in adapted.named_modules():
        if isinstance(module, LoraLayer):
            own[f"{name}.weight"] += module.get_delta_weight(_NAME).cpu()
    for name, value in adapted.named_parameters():
        if value.requires_grad and name in own:
            own[name].copy_(value)
