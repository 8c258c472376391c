"""Ways to call the layers of a network in training: plainly, compiled, and with activations computed again.

Computed again: of a layer only its inputs are kept, and in the backward pass one layer at a time computes the rest
anew. Gradients keep their bits. Nothing random may happen within a layer: torch's generators are not put back.
Compiled: layer by layer, so that all layers of a kind share one compilation and a network's depth costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from recap.training.config import RuntimeConfig

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


@cache
def _compiled(function: Callable[..., ResultT]) -> Callable[..., ResultT]:
    return torch.compile(function)


def compiled(function: Callable[..., ResultT], *given: Any, **named: Any) -> ResultT:
    """The plain call of what torch.compile makes of the function, once for every kind of arguments."""
    result: ResultT = _compiled(function)(*given, **named)
    return result


def compiled_recomputed(function: Callable[..., ResultT], *given: Any, **named: Any) -> ResultT:
    """Both: compiled within, so that what is computed again is compiled as well."""
    result: ResultT = recomputed(_compiled(function), *given, **named)
    return result


def way_of(runtime: RuntimeConfig) -> Run:
    """How a training with these settings calls its layers."""
    if runtime.compile:
        return compiled_recomputed if runtime.recompute else compiled
    return recomputed if runtime.recompute else at_once


def run_layers(layers: Iterable[nn.Module], run: Run) -> None:
    """Has `run` call the layers from now on, whoever calls them. Their names and weights stay what they are."""
    for layer in layers:
        if run is at_once:  # as it was, and without the circle that would keep it from being freed
            layer.__dict__.pop("forward", None)
            continue
        layer.forward = partial(run, type(layer).forward, layer)
