"""The pi0.5 network in plain torch: images + prompt -> keys and values; noisy actions -> velocity.

Owns the mathematics of LeRobot's `PI05Pytorch` (equal losses and samples are a test) under the same parameter
names, so published checkpoints load; what it adds is that one prefix serves several (time, noise) draws, that the
last prefix layer computes only what the expert reads, and an optional embedding per slot for training from
scratch. Importing it costs torch alone: no transformers, no LeRobot.

Letters: B observations, C cameras, K draws, P prefix tokens, T prompt tokens, H action steps, A padded action width.
t = 1 is noise, t = 0 is the action (openpi's sign).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from policy.conditioning import TEXTS, Condition, code_of, shares_of
from policy.models.pi05.gemma import Layer, Modulation, RmsNorm, Rope, attend_prefix, attend_suffix, make_rope
from policy.models.pi05.prompt import FIRST_BIN, MARKER_ID, NUM_BINS
from policy.models.pi05.sizes import NetworkSizes
from policy.models.pi05.vision import make_tower

MIN_PERIOD, MAX_PERIOD = 4e-3, 4.0
MAX_SLOTS = 64
MAX_STEPS = 64

EulerModulations = tuple[tuple[Modulation, ...], ...]
"""Per Euler step, the modulation of every norm of the expert in order of use."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Prefix:
    """What the action expert reads of one batch of observations."""

    keys_values: tuple[tuple[Tensor, Tensor], ...]
    """Per layer: keys and values, each [B, P, g, d]."""
    valid: Tensor | None
    """[B, P] bool; None when every token is."""
    length: Tensor
    """[B] number of valid tokens: where the positions of the action tokens begin."""


class _Transformer(nn.Module):
    """Layers and final norm, under the published names."""

    def __init__(self, sizes: NetworkSizes, width: int, mlp: int, *, cond_width: int | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(
                width, mlp, heads=sizes.heads, kv_heads=sizes.kv_heads, head_dim=sizes.head_dim, cond_width=cond_width
            )
            for _ in range(sizes.depth)
        )
        self.norm = RmsNorm(width, cond_width)

    def each_layer(self) -> list[Layer]:
        """The layers with their type, which a ModuleList forgets."""
        return [layer for layer in self.layers if isinstance(layer, Layer)]


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


class _PaliGemmaWithExpert(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.paligemma = _PaliGemma(sizes)
        self.gemma_expert = _Expert(sizes)


class _Slots(nn.Module):
    """Learned embeddings of image token, number slot and action step (NetworkSizes.slot_embeddings)."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.zeros(sizes.cameras * sizes.tokens_per_view, sizes.text_width))
        self.number = nn.Parameter(torch.zeros(MAX_SLOTS, sizes.text_width))
        self.number_gain = nn.Parameter(torch.ones(MAX_SLOTS, sizes.text_width))
        self.step = nn.Parameter(torch.zeros(MAX_STEPS, sizes.expert_width))


class _Condition(nn.Module):
    """What a condition adds to the expert's time condition: one vector if positive, one if negative, or a mixture.

    No condition adds nothing. Starts at zero: weights that never were told a condition act as they did.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(len(TEXTS) - 1, width))

    def forward(self, shares: Tensor) -> Tensor:
        """[..., D] of shares [..., 2] (policy.conditioning.shares_of)."""
        return shares @ self.table


class Pi05Network(nn.Module):
    """pi0.5 without its tokenizer and normalisation."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.expert_width
        self.paligemma_with_expert = _PaliGemmaWithExpert(sizes)
        self.action_in_proj = nn.Linear(sizes.action_dim, width)
        self.action_out_proj = nn.Linear(width, sizes.action_dim)
        self.time_mlp_in = nn.Linear(width, width)
        self.time_mlp_out = nn.Linear(width, width)
        self.slots = _Slots(sizes) if sizes.slot_embeddings else None
        self.condition = None if sizes.condition == "text" else _Condition(width)

    def embed_images(self, images_BCss3: Tensor) -> Tensor:  # noqa: N803
        """Tokens of all cameras, in order: float images [B, C, 3, s, s] in [-1, 1] -> [B, C * tokens, D]."""
        model = self.paligemma_with_expert.paligemma.model
        tokens = model.multi_modal_projector.linear(model.vision_tower(images_BCss3)).flatten(1, 2)
        result: Tensor = tokens if self.slots is None else tokens + self.slots.image
        return result

    def embed_prompt(self, tokens_BT: Tensor) -> Tensor:  # noqa: N803
        """Token embeddings [B, T, D], scaled as Gemma does."""
        embedded = self.paligemma_with_expert.paligemma.model.language_model.embed_tokens(tokens_BT)
        embedded = embedded * math.sqrt(self.sizes.text_width)
        if self.slots is not None:
            slot = number_slots(tokens_BT)
            # Scale as well as shift: a sum over the state's tokens then still tells one value from another.
            embedded = torch.addcmul(
                F.embedding(slot, self.slots.number), embedded, F.embedding(slot, self.slots.number_gain)
            )
        result: Tensor = embedded
        return result

    def prefix(
        self,
        images: Tensor,
        tokens: Tensor,
        *,
        image_valid: Tensor | None = None,
        token_valid: Tensor | None = None,
    ) -> Prefix:
        """Keys and values of every layer.

        Args:
            images: [B, C, 3, s, s] float in [-1, 1].
            tokens: [B, T] integers.
            image_valid: [B, C] bool; None when every camera is present.
            token_valid: [B, T] bool, padding on the right; None when there is no padding.
        """
        return self.prefix_after(self.embed_images(images), tokens, image_valid=image_valid, token_valid=token_valid)

    def prefix_after(
        self,
        image_tokens_BID: Tensor,  # noqa: N803
        tokens: Tensor,
        *,
        image_valid: Tensor | None = None,
        token_valid: Tensor | None = None,
    ) -> Prefix:
        """`prefix` of images that are embedded already, so that several prompts can share them."""
        x = torch.cat([image_tokens_BID, self.embed_prompt(tokens)], dim=1)
        (batch, length), views = x.shape[:2], image_tokens_BID.shape[1]
        valid: Tensor | None = None
        if image_valid is None and token_valid is None:
            position = torch.arange(length, device=x.device)[None]
            count = torch.full((batch,), length, device=x.device)
        else:
            written = torch.ones_like(tokens, dtype=torch.bool) if token_valid is None else token_valid
            if image_valid is None:
                # Padding stands on the right: whatever place it is given, no valid token's place depends on it.
                valid = F.pad(written, (views, 0), value=True)
                position = torch.arange(length, device=x.device)[None]
            else:
                seen = image_valid.repeat_interleave(views // image_valid.shape[1], dim=1)
                valid = torch.cat([seen, written], dim=1)
                position = valid.cumsum(1) - 1
            count = valid.sum(1)
        rope = make_rope(position, self.sizes.head_dim, x.dtype)
        cache: list[tuple[Tensor, Tensor]] = []
        layers = self.paligemma_with_expert.paligemma.model.language_model.each_layer()
        for index, layer in enumerate(layers):
            normed = layer.input_layernorm(x)
            keys, values = layer.self_attn.keys_values(normed, rope)
            cache.append((keys, values))
            if index + 1 == len(layers):  # nothing reads what the last layer would output
                break
            mixed = attend_prefix(layer.self_attn.queries(normed, rope), keys, values, valid)
            x = x + layer.self_attn.o_proj(mixed)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return Prefix(keys_values=tuple(cache), valid=valid, length=count)

    def velocity(
        self,
        prefix: Prefix,
        noisy_BKHA: Tensor,  # noqa: N803
        time_BK: Tensor,  # noqa: N803
        told_B2: Tensor | None = None,  # noqa: N803
    ) -> Tensor:
        """Velocity d x_t / d t of noisy actions [B, K, H, A] at times [B, K]: the same shape, float32.

        `told_B2`: shares of the conditions (policy.conditioning.shares_of), for a network that is told them by an
        embedding; None: no condition.
        """
        told = None if self.condition is None or told_B2 is None else self.condition(told_B2)[:, None]
        made = self._modulations(time_BK, told)
        return self.flow(prefix, noisy_BKHA, made, self._suffix_rope(prefix, noisy_BKHA.shape[2]))

    def flow(self, prefix: Prefix, noisy_BKHA: Tensor, modulations: Iterable[Modulation], rope: Rope) -> Tensor:  # noqa: N803
        """`velocity` where what depends on the time alone is known: one modulation per norm, in order of use."""
        x = self.action_in_proj(noisy_BKHA.to(self.action_in_proj.weight.dtype))
        if self.slots is not None:
            x = x + self.slots.step[: x.shape[2]]
        expert, made = self.paligemma_with_expert.gemma_expert.model, iter(modulations)
        for layer, keys_values in zip(expert.each_layer(), prefix.keys_values, strict=True):
            modulation, gate = next(made)
            normed = layer.input_layernorm(x, modulation)
            own = layer.self_attn.keys_values(normed, rope)
            mixed = attend_suffix(layer.self_attn.queries(normed, rope), own, keys_values, prefix.valid)
            x = torch.addcmul(x, layer.self_attn.o_proj(mixed), gate)
            modulation, gate = next(made)
            x = torch.addcmul(x, layer.mlp(layer.post_attention_layernorm(x, modulation)), gate)
        modulation, _ = next(made)
        result: Tensor = self.action_out_proj(expert.norm(x, modulation).float())
        return result

    def sample(
        self,
        prefix: Prefix,
        noise_BKHA: Tensor,  # noqa: N803
        num_steps: int,
        *,
        guidance: float = 1.0,
        condition: str = "",
        modulations: EulerModulations | None = None,
    ) -> Tensor:
        """Euler integration from t = 1 to 0: [B, K, H, A] noise -> [B, K, H, A] normalised actions.

        Args:
            prefix: of B observations. With guidance other than 1 of 2 B, first with condition, then without, unless
                the condition is an embedding alone: then one prefix serves both flows.
            noise_BKHA: starting point.
            num_steps: Euler steps.
            guidance: beta; the flow is v_none + beta (v_condition - v_none), the mixed flow of classifier-free guidance
                (pi*0.6, appendix): beta > 1 sharpens towards what the condition means. 1 is the conditional flow and
                costs one pass.
            condition: words of the condition, for a network that is told it by an embedding.
            modulations: `euler_modulations` of as many rows as `prefix` has, K draws, `num_steps` and the same
                guidance and condition, if they are known: they depend on weights and shape alone, so whoever samples
                often makes them once.
        """
        x, dt = noise_BKHA, -1.0 / num_steps
        if modulations is None:
            modulations = self.euler_modulations(
                len(prefix.length), x.shape[1], num_steps, guidance=guidance, condition=condition
            )
        # Two flows over one prefix are two draws of its observations; over two prefixes they are two batches.
        both = 1 if len(prefix.length) == len(x) else 0
        rope = self._suffix_rope(prefix, x.shape[2])
        for made in modulations:
            if guidance == 1.0:
                x = x + dt * self.flow(prefix, x, made, rope)
            else:
                conditioned, without = self.flow(prefix, torch.cat([x, x], both), made, rope).chunk(2, both)
                x = x + dt * torch.lerp(without, conditioned, guidance)
        return x

    def euler_modulations(
        self, rows: int, draws: int, num_steps: int, *, guidance: float = 1.0, condition: str = ""
    ) -> EulerModulations:
        """Per Euler step from t = 1 to 0 the modulations of the expert's norms, for `rows` * `draws` equal times.

        `rows` of the prefix, `draws` of noise: twice as many with guidance over one prefix, those with condition first.
        """
        dt, device, told = -1.0 / num_steps, self.time_mlp_in.weight.device, None
        if self.condition is not None:
            codes = np.array([code_of(condition)] if guidance == 1.0 else [code_of(condition), Condition.NONE])
            added = self.condition(torch.from_numpy(shares_of(codes)).to(device))
            if guidance == 1.0:
                told = added[None]
            elif self.sizes.condition == "embedding":
                told = added.repeat_interleave(draws, 0)[None]
                draws *= 2
            else:
                told = added.repeat_interleave(rows // 2, 0)[:, None]
        times = [torch.full((rows, draws), 1.0 + index * dt, device=device) for index in range(num_steps)]
        return tuple(tuple(self._modulations(time, told)) for time in times)

    def _modulations(self, time_BK: Tensor, told: Tensor | None = None) -> Iterator[Modulation]:  # noqa: N803
        """Of every norm of the expert at times [B, K], in order of use, each made when it is asked for.

        `told`: [1 or B, 1 or K, D] what the condition adds.
        """
        cond = self._time_condition(time_BK).to(self.action_in_proj.weight.dtype)
        cond = cond if told is None else cond + told.to(cond.dtype)
        expert = self.paligemma_with_expert.gemma_expert.model
        for layer in expert.each_layer():
            yield layer.input_layernorm.modulate(cond)
            yield layer.post_attention_layernorm.modulate(cond)
        yield expert.norm.modulate(cond)

    def _suffix_rope(self, prefix: Prefix, steps: int) -> Rope:
        """Rotation of the action tokens, which stand after the prefix."""
        position = prefix.length[:, None, None] + torch.arange(steps, device=prefix.length.device)
        return make_rope(position, self.sizes.head_dim, self.action_in_proj.weight.dtype)

    def _time_condition(self, time_BK: Tensor) -> Tensor:  # noqa: N803
        half = self.sizes.expert_width // 2
        fraction = torch.linspace(0.0, 1.0, half, dtype=torch.float64, device=time_BK.device)
        period = MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD) ** fraction
        angle = time_BK[..., None].double() * (2 * math.pi / period)
        embedded = torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.time_mlp_in.weight.dtype)
        return F.silu(self.time_mlp_out(F.silu(self.time_mlp_in(embedded))))


def number_slots(tokens_BT: Tensor) -> Tensor:  # noqa: N803
    """[B, T] place of every token among the state's numbers: 1, 2, ... after the last state marker, 0 elsewhere."""
    numbers = (tokens_BT >= FIRST_BIN) & (tokens_BT < FIRST_BIN + NUM_BINS)
    # An instruction may hold the marker's words itself: the state follows the last one.
    marks = (tokens_BT == MARKER_ID).cumsum(1)
    numbers = numbers & (marks > 0) & (marks == marks[:, -1:])
    return numbers.cumsum(1) * numbers
