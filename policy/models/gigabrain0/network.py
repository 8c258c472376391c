"""The layers of GigaBrain-0 under the parameter names of the released checkpoints (giga-models), so that they load.

Gemma 2 layers: what attention and MLP give is normalised once more before it is added. The two streams lie side by
side in one layer, stream 0 the prefix, stream 1 the action expert, whose norms before attention and MLP are adaptive.
Every robot has its own projections of actions. The head for tokens is tied to their embedding and not held twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from policy.flow.gemma import Block, GatedMlp, Modulation, RmsNorm, Rope, keys_values, queries
from policy.flow.network import Body, Drawn, FlowNetwork, Prefix
from policy.flow.sizes import NetworkSizes
from policy.flow.vision import ConvTower, SiglipModel
from policy.models.gigabrain0.layout import LAYOUT
from policy.models.gigabrain0.prompt import PROMPT
from policy.models.gigabrain0.scaling import GigaBrain0Scaling
from policy.models.gigabrain0.sizes import GigaBrain0Sizes

PREFIX, EXPERT = 0, 1


class _Attention(nn.Module):
    """The projections of both streams: [prefix, expert] each."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        widths = (sizes.text_width, sizes.expert_width)
        query, key = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
        self.q_proj = nn.ModuleList(nn.Linear(width, query, bias=False) for width in widths)
        self.k_proj = nn.ModuleList(nn.Linear(width, key, bias=False) for width in widths)
        self.v_proj = nn.ModuleList(nn.Linear(width, key, bias=False) for width in widths)
        self.o_proj = nn.ModuleList(nn.Linear(query, width, bias=False) for width in widths)


class _Layer(nn.Module):
    """One layer of both streams."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.self_attn = _Attention(sizes)
        self.mlps = nn.ModuleList(
            [GatedMlp(sizes.text_width, sizes.text_mlp), GatedMlp(sizes.expert_width, sizes.expert_mlp)]
        )
        self.input_layernorms = _norms(sizes, adaptive=True)
        self.post_attention_layernorms = _norms(sizes, adaptive=False)
        self.pre_feedforward_layernorms = _norms(sizes, adaptive=True)
        self.post_feedforward_layernorms = _norms(sizes, adaptive=False)

    def forward(self, part: Callable[..., Any], stream: Stream, *given: Any, **named: Any) -> Any:
        """Block.__call__, of one of its streams."""
        return part(stream, *given, **named)


def _norms(sizes: NetworkSizes, *, adaptive: bool) -> nn.ModuleList:
    """Of prefix and expert; only the expert's is ever adaptive."""
    width = sizes.expert_width
    return nn.ModuleList([RmsNorm(sizes.text_width), RmsNorm(width, width if adaptive else None)])


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream of a layer (policy.flow.gemma.Block). Holds no parameters of its own."""

    layer: _Layer
    index: int
    heads: int
    kv_heads: int

    def __call__(self, part: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Block.__call__."""
        return self.layer(part, self, *given, **named)

    def _norm(self, name: str) -> RmsNorm:
        return cast("RmsNorm", getattr(self.layer, name)[self.index])

    def before_attention(self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Block.before_attention."""
        result: Tensor = self._norm("input_layernorms")(x, modulation)
        return result

    def queries(self, normed: Tensor, rope: Rope) -> Tensor:
        """Block.queries."""
        return queries(self.layer.self_attn.q_proj[self.index](normed), self.heads, rope)

    def keys_values(self, normed: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        """Block.keys_values."""
        attention = self.layer.self_attn
        k, v = attention.k_proj[self.index](normed), attention.v_proj[self.index](normed)
        return keys_values(k, v, self.kv_heads, rope)

    def after_attention(self, x: Tensor, mixed: Tensor, gate: Tensor | None = None) -> Tensor:
        """Block.after_attention."""
        gathered = self._norm("post_attention_layernorms")(self.layer.self_attn.o_proj[self.index](mixed))
        return x + gathered if gate is None else torch.addcmul(x, gathered, gate)

    def feed_forward(
        self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None, gate: Tensor | None = None
    ) -> Tensor:
        """Block.feed_forward."""
        made = self.layer.mlps[self.index](self._norm("pre_feedforward_layernorms")(x, modulation))
        made = self._norm("post_feedforward_layernorms")(made)
        return x + made if gate is None else torch.addcmul(x, made, gate)

    def modulations(self, cond: Tensor) -> Iterator[Modulation]:
        """Block.modulations."""
        yield self._norm("input_layernorms").modulate(cond)
        yield self._norm("pre_feedforward_layernorms").modulate(cond)


class _SiglipTower(SiglipModel):
    """SigLIP as the released checkpoints name it: without PaliGemma's wrapping."""

    def forward(self, images_BCss: Tensor) -> Tensor:  # noqa: N803
        """Tokens [B, C, P, V] of images [B, C, 3, s, s]."""
        tokens: Tensor = super().forward(images_BCss.flatten(0, 1)).unflatten(0, images_BCss.shape[:2])
        return tokens


class _Projector(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.linear = nn.Linear(sizes.vision_width, sizes.text_width)


class _PaliGemma2WithExpert(Body):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.vision_tower = _SiglipTower(sizes) if sizes.vision == "siglip" else ConvTower(sizes)
        self.multi_modal_projector = _Projector(sizes)
        self.embed_tokens = nn.Embedding(sizes.vocab_size, sizes.text_width)
        self.layers = nn.ModuleList(_Layer(sizes) for _ in range(sizes.depth))
        self.norms = _norms(sizes, adaptive=True)

    @property
    def tower(self) -> nn.Module:
        return self.vision_tower

    @property
    def projector(self) -> nn.Linear:
        return self.multi_modal_projector.linear

    @property
    def embedding(self) -> nn.Embedding:
        return self.embed_tokens

    @property
    def prefix_blocks(self) -> Sequence[Block]:
        return self._stream(PREFIX)

    @property
    def expert_blocks(self) -> Sequence[Block]:
        return self._stream(EXPERT)

    @property
    def stream_layers(self) -> Sequence[nn.Module]:
        return list(self.layers)

    @property
    def expert_norm(self) -> RmsNorm:
        return cast("RmsNorm", self.norms[EXPERT])

    def _stream(self, index: int) -> list[Stream]:
        sizes = self.sizes
        return [Stream(cast("_Layer", layer), index, sizes.heads, sizes.kv_heads) for layer in self.layers]


class EmbodimentLinear(Drawn):
    """A linear map for every robot; weights [robots, in, out], as released, the one in use chosen when it is built.

    Training moves that of the robot in use, and weight decay those of all, biases too (they are matrices here).
    """

    def __init__(self, wide_in: int, wide_out: int, *, embodiments: int, embodiment: int) -> None:
        super().__init__()
        self.embodiment = embodiment
        self.weight = nn.Parameter(torch.empty(embodiments, wide_in, wide_out))
        self.bias = nn.Parameter(torch.empty(embodiments, wide_out))

    def draw(self, generator: torch.Generator) -> None:
        """As a Linear is drawn."""
        with torch.no_grad():
            self.weight.normal_(0.0, 1.0 / math.sqrt(self.weight.shape[1]), generator=generator)
            self.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        result: Tensor = x @ self.weight[self.embodiment] + self.bias[self.embodiment]
        return result


class GigaBrain0Network(FlowNetwork):
    """GigaBrain-0 without its tokenizer and normalisation, and without its heads for tokens and trajectories."""

    family = "gigabrain0"
    sizes_type = GigaBrain0Sizes
    form = PROMPT
    scaling = GigaBrain0Scaling
    layout = LAYOUT
    unread = ("paligemma_with_expert.lm_head.weight", "traj_*")

    @staticmethod
    def make_body(sizes: NetworkSizes) -> Body:
        """PaliGemma 2 and the action expert, layer by layer side by side."""
        return _PaliGemma2WithExpert(sizes)

    @staticmethod
    def make_projections(sizes: NetworkSizes) -> tuple[nn.Module, nn.Module]:
        """One of each for every robot."""
        own = cast("GigaBrain0Sizes", sizes)
        robots = {"embodiments": own.embodiments, "embodiment": own.embodiment}
        actions, width = sizes.action_dim, sizes.expert_width
        return EmbodimentLinear(actions, width, **robots), EmbodimentLinear(width, actions, **robots)

    def velocity(
        self,
        prefix: Prefix,
        noisy_BKHA: Tensor,  # noqa: N803
        time_BK: Tensor,  # noqa: N803
        told_B2: Tensor | None = None,  # noqa: N803
    ) -> Tensor:
        """As FlowNetwork.velocity; with knowledge insulation its gradient ends at the prefix."""
        if cast("GigaBrain0Sizes", self.sizes).knowledge_insulation:
            known = tuple((keys.detach(), values.detach()) for keys, values in prefix.keys_values)
            prefix = replace(prefix, keys_values=known)
        return super().velocity(prefix, noisy_BKHA, time_BK, told_B2)
