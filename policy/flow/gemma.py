"""Parts of Gemma layers: rotary positions, grouped queries, gated MLP, adaptive RMS norm.

Parameter names are those of the published checkpoints; how a family puts the parts together is its own `Block`.
Attention folds the query heads (and the draws of the action expert) into the query length, so that keys and values are
never copied per head or per draw: on a CPU that is most of the speed.

Letters: B observations, K draws of (time, noise) per observation, L tokens, D width, h heads, g key-value
heads, d head size, P prefix tokens, H action steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

ROPE_BASE = 10_000.0

Modulation = tuple[tuple[Tensor, Tensor], Tensor]
"""((1 + scale, shift), gate), each [..., 1, D]: what a condition makes of an adaptive norm and of its branch."""


class RmsNorm(nn.Module):
    """x / rms(x), then either a learned scale or, with `cond_width`, scale, shift and gate made from a condition."""

    def __init__(self, width: int, cond_width: int | None = None) -> None:
        super().__init__()
        if cond_width is None:
            self.weight = nn.Parameter(torch.zeros(width))
            self.dense = None
        else:
            self.dense = nn.Linear(cond_width, 3 * width)

    def forward(self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Normalised x; `modulation` is (scale, shift) for the adaptive form."""
        normed = x * torch.rsqrt(x.float().square().mean(-1, keepdim=True) + 1e-6).to(x.dtype)
        if modulation is None:
            return normed * (1.0 + self.weight)
        scale, shift = modulation
        return torch.addcmul(shift, normed, scale)

    def modulate(self, cond: Tensor) -> Modulation:
        """The modulation that a condition [..., D] asks for."""
        if self.dense is None:
            raise TypeError("this norm has a learned scale and takes no condition")
        scale, shift, gate = self.dense(cond).unsqueeze(-2).chunk(3, dim=-1)
        return (1.0 + scale, shift), gate


class Attention(nn.Module):
    """The four projections; the mixing is done by `attend_*`, because prefix and expert share it."""

    def __init__(self, width: int, heads: int, kv_heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads
        self.q_proj = nn.Linear(width, heads * head_dim, bias=False)
        self.k_proj = nn.Linear(width, kv_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(width, kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, width, bias=False)

    def queries(self, x: Tensor, rope: Rope) -> Tensor:
        """[..., L, h, d], rotated and scaled by d**-0.5."""
        return queries(self.q_proj(x), self.heads, rope)

    def keys_values(self, x: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        """Keys (rotated) and values, each [..., L, g, d]."""
        return keys_values(self.k_proj(x), self.v_proj(x), self.kv_heads, rope)


def queries(projected: Tensor, heads: int, rope: Rope) -> Tensor:
    """[..., L, h, d] of projections [..., L, h * d]: rotated and scaled by d**-0.5."""
    q = projected.unflatten(-1, (heads, -1))
    result: Tensor = rotate(q, rope) * q.shape[-1] ** -0.5
    return result


def keys_values(projected_k: Tensor, projected_v: Tensor, kv_heads: int, rope: Rope) -> tuple[Tensor, Tensor]:
    """Keys (rotated) and values, each [..., L, g, d], of projections [..., L, g * d]."""
    return rotate(projected_k.unflatten(-1, (kv_heads, -1)), rope), projected_v.unflatten(-1, (kv_heads, -1))


class GatedMlp(nn.Module):
    """down(gelu(gate(x)) * up(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, hidden, bias=False)
        self.up_proj = nn.Linear(width, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.down_proj(F.gelu(self.gate_proj(x), approximate="tanh") * self.up_proj(x))
        return result


Rope = tuple[Tensor, Tensor]
"""(cos, sin), each [..., L, 1, d]: broadcast over heads."""


class Block(Protocol):
    """One layer of one stream, prefix or expert. Attention itself is in the network, for the two streams share it."""

    def __call__(self, part: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """part(block, *given, **named) as one call of the module that holds the weights.

        So whoever treats layers one by one (recap.training: compiled, computed again, divided) finds one to treat.
        """

    def before_attention(self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """What the projections read of x [..., D]; `modulation` is (1 + scale, shift) of an adaptive norm."""

    def queries(self, normed: Tensor, rope: Rope) -> Tensor:
        """As Attention.queries."""

    def keys_values(self, normed: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        """As Attention.keys_values."""

    def after_attention(self, x: Tensor, mixed: Tensor, gate: Tensor | None = None) -> Tensor:
        """The stream x with what attention gathered, mixed [..., h * d]; `gate` of an adaptive norm."""

    def feed_forward(
        self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None, gate: Tensor | None = None
    ) -> Tensor:
        """The stream x after the MLP."""

    def modulations(self, cond: Tensor) -> Iterator[Modulation]:
        """Of the norm before attention and of the one before the MLP, made from a condition [..., D]."""


def make_rope(position: Tensor, head_dim: int, dtype: torch.dtype) -> Rope:
    """Rotation of every position [..., L] (integers, tokens)."""
    inverse = ROPE_BASE ** -(torch.arange(0, head_dim, 2, dtype=torch.float32, device=position.device) / head_dim)
    angle = position[..., None].float() * inverse
    angle = torch.cat([angle, angle], dim=-1).unsqueeze(-2)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x: Tensor, rope: Rope) -> Tensor:
    """Rotary position: x is [..., L, heads, d]."""
    cos, sin = rope
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-right, left], dim=-1) * sin


def _fold(q: Tensor, kv_heads: int) -> Tensor:
    """[B, L, h, d] -> [B, g, L * h/g, d]: the queries of all heads of a group in one matrix."""
    batch, length, heads, dim = q.shape
    return (
        q.view(batch, length, kv_heads, heads // kv_heads, dim)
        .transpose(1, 2)
        .reshape(batch, kv_heads, length * (heads // kv_heads), dim)
    )


def _unfold(x: Tensor, heads: int) -> Tensor:
    """The inverse of `_fold`, heads joined: [B, g, L * h/g, d] -> [B, L, h * d]."""
    batch, kv_heads, rows, dim = x.shape
    group = heads // kv_heads
    return x.view(batch, kv_heads, rows // group, group, dim).transpose(1, 2).reshape(batch, rows // group, -1)


def _bias(valid: Tensor, dtype: torch.dtype) -> Tensor:
    """[B, 1, 1, P] what to add to scores: 0 for valid tokens, else so little that their weight is exactly 0.

    Added in place it costs nothing in the backward pass; filling by a mask costs two copies of all scores.
    """
    return torch.zeros(valid.shape, dtype=dtype, device=valid.device).masked_fill_(~valid, torch.finfo(dtype).min)[
        :, None, None, :
    ]


def attend_prefix(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None) -> Tensor:
    """Every valid token attends to every valid token.

    Args:
        q: [B, L, h, d].
        k: [B, L, g, d].
        v: [B, L, g, d].
        valid: [B, L] bool, or None when all are.

    Returns:
        [B, L, h * d]
    """
    kv_heads = k.shape[2]
    scores = _fold(q, kv_heads) @ k.permute(0, 2, 3, 1)
    if valid is not None:
        scores.add_(_bias(valid, scores.dtype))
    return _unfold(scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v.transpose(1, 2), q.shape[2])


def attend_suffix(q: Tensor, own: tuple[Tensor, Tensor], prefix: tuple[Tensor, Tensor], valid: Tensor | None) -> Tensor:
    """Action tokens attend to the prefix of their observation and to the action tokens of their own draw.

    Args:
        q: [B, K, H, h, d].
        own: keys and values of the action tokens, [B, K, H, g, d].
        prefix: keys and values of the prefix, [B, P, g, d]; shared by the K draws without a copy.
        valid: [B, P] bool, or None when all are.

    Returns:
        [B, K, H, h * d]
    """
    batch, draws, steps, heads, dim = q.shape
    (k_own, v_own), (k_pre, v_pre) = own, prefix
    kv_heads, length = k_pre.shape[2], k_pre.shape[1]
    q_pre = _fold(q.flatten(1, 2), kv_heads)
    to_prefix = q_pre @ k_pre.permute(0, 2, 3, 1)
    if valid is not None:
        to_prefix.add_(_bias(valid, q.dtype))
    q_own = q_pre.unflatten(2, (draws, -1)).transpose(1, 2).reshape(batch * draws, kv_heads, -1, dim)
    to_own = q_own @ k_own.flatten(0, 1).permute(0, 2, 3, 1)
    to_own = to_own.view(batch, draws, kv_heads, -1, steps).transpose(1, 2).reshape(batch, kv_heads, -1, steps)
    weight = torch.cat([to_prefix, to_own], dim=-1).softmax(-1, dtype=torch.float32).to(q.dtype)
    # split, not slices: the gradient of a slice fills a whole tensor with zeros first
    w_pre, w_own = weight.split([length, steps], dim=-1)
    mixed = w_pre @ v_pre.transpose(1, 2)
    w_own = w_own.unflatten(2, (draws, -1)).transpose(1, 2).reshape(batch * draws, kv_heads, -1, steps)
    mixed_own = (w_own @ v_own.flatten(0, 1).transpose(1, 2)).view(batch, draws, kv_heads, -1, dim)
    mixed = mixed + mixed_own.transpose(1, 2).reshape(mixed.shape)
    result: Tensor = _unfold(mixed, heads).unflatten(1, (draws, steps))
    return result
