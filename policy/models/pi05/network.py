"""The layers of pi0.5 under the parameter names of LeRobot's `PI05Pytorch`, so that published checkpoints load.

Gemma layers, one norm before attention and one before the MLP; equal losses and samples are a test. Importing it costs
torch alone: no transformers, no LeRobot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from policy.flow.gemma import Attention, Block, GatedMlp, Modulation, RmsNorm, Rope
from policy.flow.network import Body, FlowNetwork
from policy.flow.sizes import NetworkSizes
from policy.flow.vision import make_tower
from policy.models.pi05.layout import LAYOUT
from policy.models.pi05.prompt import PROMPT


class Layer(nn.Module):
    """One Gemma layer of one stream (policy.flow.gemma.Block)."""

    def __init__(self, sizes: NetworkSizes, width: int, mlp: int, cond_width: int | None) -> None:
        super().__init__()
        self.self_attn = Attention(width, sizes.heads, sizes.kv_heads, sizes.head_dim)
        self.mlp = GatedMlp(width, mlp)
        self.input_layernorm = RmsNorm(width, cond_width)
        self.post_attention_layernorm = RmsNorm(width, cond_width)

    def forward(self, part: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Block.__call__."""
        return part(self, *given, **named)

    def before_attention(self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Block.before_attention."""
        result: Tensor = self.input_layernorm(x, modulation)
        return result

    def queries(self, normed: Tensor, rope: Rope) -> Tensor:
        """Block.queries."""
        return self.self_attn.queries(normed, rope)

    def keys_values(self, normed: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
        """Block.keys_values."""
        return self.self_attn.keys_values(normed, rope)

    def after_attention(self, x: Tensor, mixed: Tensor, gate: Tensor | None = None) -> Tensor:
        """Block.after_attention."""
        gathered = self.self_attn.o_proj(mixed)
        return x + gathered if gate is None else torch.addcmul(x, gathered, gate)

    def feed_forward(
        self, x: Tensor, modulation: tuple[Tensor, Tensor] | None = None, gate: Tensor | None = None
    ) -> Tensor:
        """Block.feed_forward."""
        made = self.mlp(self.post_attention_layernorm(x, modulation))
        return x + made if gate is None else torch.addcmul(x, made, gate)

    def modulations(self, cond: Tensor) -> Iterator[Modulation]:
        """Block.modulations."""
        yield self.input_layernorm.modulate(cond)
        yield self.post_attention_layernorm.modulate(cond)


class _Transformer(nn.Module):
    """Layers and final norm, under the published names."""

    def __init__(self, sizes: NetworkSizes, width: int, mlp: int, *, cond_width: int | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(sizes, width, mlp, cond_width) for _ in range(sizes.depth))
        self.norm = RmsNorm(width, cond_width)


class _Language(_Transformer):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__(sizes, sizes.text_width, sizes.text_mlp, cond_width=None)
        self.embed_tokens = nn.Embedding(sizes.vocab_size, sizes.text_width)


class _Projector(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.linear = nn.Linear(sizes.vision_width, sizes.text_width)


class _PaliGemmaModel(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.vision_tower = make_tower(sizes)
        self.multi_modal_projector = _Projector(sizes)
        self.language_model = _Language(sizes)


class _PaliGemma(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.model = _PaliGemmaModel(sizes)


class _Expert(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.model = _Transformer(sizes, sizes.expert_width, sizes.expert_mlp, cond_width=sizes.expert_width)


class _PaliGemmaWithExpert(Body):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.paligemma = _PaliGemma(sizes)
        self.gemma_expert = _Expert(sizes)

    @property
    def tower(self) -> nn.Module:
        return self.paligemma.model.vision_tower

    @property
    def projector(self) -> nn.Linear:
        return self.paligemma.model.multi_modal_projector.linear

    @property
    def embedding(self) -> nn.Embedding:
        return self.paligemma.model.language_model.embed_tokens

    @property
    def prefix_blocks(self) -> Sequence[Block]:
        return cast("Sequence[Layer]", self.paligemma.model.language_model.layers)

    @property
    def expert_blocks(self) -> Sequence[Block]:
        return cast("Sequence[Layer]", self.gemma_expert.model.layers)

    @property
    def stream_layers(self) -> Sequence[nn.Module]:
        return [*self.paligemma.model.language_model.layers, *self.gemma_expert.model.layers]

    @property
    def expert_norm(self) -> RmsNorm:
        return self.gemma_expert.model.norm


class Pi05Network(FlowNetwork):
    """pi0.5 without its tokenizer and normalisation."""

    family = "pi05"
    form = PROMPT
    layout = LAYOUT
    unread = ("paligemma_with_expert.*.lm_head.weight",)
    tied: ClassVar = {
        "paligemma_with_expert.paligemma.lm_head.weight": (
            "paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
        )
    }

    @staticmethod
    def make_body(sizes: NetworkSizes) -> Body:
        """PaliGemma and the action expert, under the names of LeRobot's class."""
        return _PaliGemmaWithExpert(sizes)
