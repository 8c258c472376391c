"""Activations that are computed again in the backward pass instead of kept: memory for arithmetic.

Of a layer that is run so only its inputs are kept, and one layer at a time computes the rest anew. Gradients keep
their bits. Nothing random may happen within a layer: torch's generators are not put back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

ResultT = TypeVar("ResultT")
Run = Callable[..., Any]
"""run(function, *given, **named): function(*given, **named), in some way."""


def at_once(function: Callable[..., ResultT], *given: Any, **named: Any) -> ResultT:
    """The plain call, whose activations are kept."""
    return function(*given, **named)


def recomputed(function: Callable[..., ResultT], *given: Any, **named: Any) -> ResultT:
    """The same, of which only the inputs are kept. A call that is not differentiated is plain."""
    if not torch.is_grad_enabled():
        return function(*given, **named)
    # Tensors are handed over one by one: what lies within a tuple would be held where autograd does not see it.
    flat, form = tree_flatten((given, named))

    def again(*flat: Any) -> ResultT:
        given, named = tree_unflatten(flat, form)
        return function(*given, **named)

    result: ResultT = checkpoint(again, *flat, use_reentrant=False, preserve_rng_state=False)
    # Autocast would hold its copies of the layer's weights to the end of the pass, for whoever asks for them next.
    torch.clear_autocast_cache()
    return result


def run_layers(layers: Iterable[nn.Module], run: Run) -> None:
    """Has `run` call the layers from now on, whoever calls them. Their names and weights stay what they are."""
    for layer in layers:
        if run is at_once:  # as it was, and without the circle that would keep it from being freed
            layer.__dict__.pop("forward", None)
            continue
        layer.forward = partial(run, partial(type(layer).forward, layer))
