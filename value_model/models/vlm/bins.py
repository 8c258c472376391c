"""Values as distributions over bins: v(b) = -1 + b / (B - 1), b = 0 .. B - 1.

A target between two bins is shared among them so that its mean stays what it is (two-hot):

    p(b) = 1 - (x - b), p(b + 1) = x - b,  x = (V + 1)(B - 1),  b = floor(x);    V = sum_b p(b) v(b)
"""

from __future__ import annotations

import torch
from torch import Tensor


def bin_values(bins: int) -> Tensor:
    """[B] v(b)."""
    return torch.linspace(-1, 0, bins)


def two_hot(value: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    """(lower bin b [N] int64, share of bin b + 1 [N]) of values [N] in [-1, 0]."""
    place = (value + 1) * (bins - 1)
    lower = place.floor().clamp(max=bins - 2)  # the last value is all of the last bin
    return lower.long(), place - lower


def cross_entropy(logits: Tensor, value: Tensor) -> Tensor:
    """-sum_b p(b) log q(b), the mean over logits [N, B] for values [N] in [-1, 0]."""
    lower, share = two_hot(value, logits.shape[1])
    log = logits.float().log_softmax(1)
    below, above = (log.gather(1, (lower + step)[:, None])[:, 0] for step in (0, 1))
    return -((1 - share) * below + share * above).mean()


def expected_value(logits: Tensor) -> Tensor:
    """[N] sum_b softmax(logits)_b v(b) of logits [N, B], float32."""
    weights = logits.float().softmax(1)
    # No matrix product: autocast would round the values of the bins.
    return (weights * bin_values(logits.shape[1]).to(weights.device)).sum(1)
