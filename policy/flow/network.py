"""A prefix and its action expert in plain torch: images + prompt -> keys and values; noisy actions -> velocity.

Owns how the layers of a family are run. One prefix serves several (time, noise) draws; the last prefix layer computes
only what the expert reads; an optional embedding per slot is for training from scratch. Importing it costs torch
alone: no transformers, no LeRobot.

Letters: B observations, C cameras, K draws, P prefix tokens, T prompt tokens, H action steps, A padded action width.
t = 1 is noise, t = 0 is the action (openpi's sign).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from policy.conditioning import TEXTS, Condition, code_of, shares_of
from policy.flow.gemma import Block, Modulation, RmsNorm, Rope, attend_prefix, attend_suffix, make_rope
from policy.flow.info import Layout
from policy.flow.prompt import PromptForm
from policy.flow.scaling import Scaling
from policy.flow.sizes import MAX_SLOTS, MAX_STEPS, NetworkSizes
from policy.flow.tokenizer import LOCAL, Tokenizer
from policy.flow.vision import EncoderLayer
from policy.flow.vocabulary import FIRST_BIN, MARKER_ID, NUM_BINS

MIN_PERIOD, MAX_PERIOD = 4e-3, 4.0

Told = Tensor | tuple[Modulation, ...]
"""What norms of the expert are told: a condition [B, K, D], or what each makes of one, in order of use."""
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


class Drawn(nn.Module, ABC):
    """A part of a family that says itself what its weights start from, where training is from scratch."""

    @abstractmethod
    def draw(self, generator: torch.Generator) -> None:
        """Fills all its own parameters in place."""


class Body(nn.Module, ABC):
    """Image tower, token embedding and the layers of both streams, under the published names of a family."""

    @property
    @abstractmethod
    def tower(self) -> nn.Module:
        """[B, C, 3, s, s] -> [B, C, P, V] (policy.flow.vision)."""

    @property
    @abstractmethod
    def stream_layers(self) -> Sequence[nn.Module]:
        """The modules that hold the layers of both streams, each called through its own `forward` alone."""

    @property
    def all_layers(self) -> Sequence[nn.Module]:
        """The same with those of SigLIP; a tower of convolutions has none."""
        return [*(part for part in self.tower.modules() if isinstance(part, EncoderLayer)), *self.stream_layers]

    @property
    @abstractmethod
    def projector(self) -> nn.Linear:
        """From image features to the width of the prefix."""

    @property
    @abstractmethod
    def embedding(self) -> nn.Embedding:
        """Of the prompt's tokens."""

    @property
    @abstractmethod
    def prefix_blocks(self) -> Sequence[Block]:
        """Layers of images and prompt. Their final norm is not among them: nothing reads it."""

    @property
    @abstractmethod
    def expert_blocks(self) -> Sequence[Block]:
        """As many of the action expert."""

    @property
    @abstractmethod
    def expert_norm(self) -> RmsNorm:
        """Adaptive, after the expert's last layer."""


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


class FlowNetwork(nn.Module, ABC):
    """Prefix and action expert, without tokenizer and normalisation. Subclassed by a family."""

    family: ClassVar[str]
    """Name of the family: in bundles and in messages."""
    sizes_type: ClassVar[type[NetworkSizes]] = NetworkSizes
    form: PromptForm
    """How it reads instruction, state and condition: of the family, or with the tokenizer of its weights."""
    scaling: ClassVar[type[Scaling]] = Scaling
    """How it scales state and action."""
    layout: ClassVar[Layout]
    """The files of its bundles beside recap.json."""
    unread: ClassVar[tuple[str, ...]] = ()
    """Patterns of names that published checkpoints have and this network does not."""
    tied: ClassVar[Mapping[str, str]] = {}
    """{name: its twin here}: one tensor that published checkpoints may hold under either name."""

    def __init__(self, sizes: NetworkSizes, tokenizer: Tokenizer = LOCAL) -> None:
        super().__init__()
        self.sizes = sizes
        self.form = replace(self.form, tokenizer=tokenizer)
        width = sizes.expert_width
        self.paligemma_with_expert = self.make_body(sizes)
        self.action_in_proj, self.action_out_proj = self.make_projections(sizes)
        self.time_mlp_in = nn.Linear(width, width)
        self.time_mlp_out = nn.Linear(width, width)
        self.slots = _Slots(sizes) if sizes.slot_embeddings else None
        self.condition = None if sizes.condition == "text" else _Condition(width)

    @staticmethod
    @abstractmethod
    def make_body(sizes: NetworkSizes) -> Body:
        """The layers of the family."""

    @staticmethod
    def make_projections(sizes: NetworkSizes) -> tuple[nn.Module, nn.Module]:
        """Into the expert, [..., A] -> [..., D], and out of it; each has a `weight`."""
        return nn.Linear(sizes.action_dim, sizes.expert_width), nn.Linear(sizes.expert_width, sizes.action_dim)

    def embed_images(self, images_BCss3: Tensor) -> Tensor:  # noqa: N803
        """Tokens of all cameras, in order: float images [B, C, 3, s, s] in [-1, 1] -> [B, C * tokens, D]."""
        body = self.paligemma_with_expert
        tokens = body.projector(body.tower(images_BCss3)).flatten(1, 2)
        result: Tensor = tokens if self.slots is None else tokens + self.slots.image
        return result

    def embed_prompt(self, tokens_BT: Tensor) -> Tensor:  # noqa: N803
        """Token embeddings [B, T, D], scaled as Gemma does."""
        embedded = self.paligemma_with_expert.embedding(tokens_BT)
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
        blocks = self.paligemma_with_expert.prefix_blocks
        for index, block in enumerate(blocks):
            # Nothing reads what the last layer would output.
            x, keys_values = block(_prefix_layer, x, rope, valid, last=index + 1 == len(blocks))
            cache.append(keys_values)
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
        cond = self._expert_condition(time_BK, told)
        return self.flow(prefix, noisy_BKHA, cond, self._suffix_rope(prefix, noisy_BKHA.shape[2]))

    def flow(self, prefix: Prefix, noisy_BKHA: Tensor, told: Told, rope: Rope) -> Tensor:  # noqa: N803
        """`velocity` where what the expert is told and the rotation of its tokens are known."""
        x = self.action_in_proj(noisy_BKHA.to(self._dtype))
        if self.slots is not None:
            x = x + self.slots.step[: x.shape[2]]
        body = self.paligemma_with_expert
        for index, (block, keys_values) in enumerate(zip(body.expert_blocks, prefix.keys_values, strict=True)):
            own = told if isinstance(told, Tensor) else told[2 * index : 2 * index + 2]
            x = block(_expert_layer, x, own, rope, keys_values, prefix.valid)
        modulation, _ = body.expert_norm.modulate(told) if isinstance(told, Tensor) else told[-1]
        result: Tensor = self.action_out_proj(body.expert_norm(x, modulation).float())
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
        return tuple(self._modulations(self._expert_condition(time, told)) for time in times)

    def _modulations(self, cond: Tensor) -> tuple[Modulation, ...]:
        """What every norm of the expert makes of a condition, in order of use."""
        body = self.paligemma_with_expert
        made = [modulation for block in body.expert_blocks for modulation in block.modulations(cond)]
        return (*made, body.expert_norm.modulate(cond))

    def _expert_condition(self, time_BK: Tensor, told: Tensor | None) -> Tensor:  # noqa: N803
        """[B, K, D] of times [B, K]; `told`: [1 or B, 1 or K, D] what the advantage condition adds."""
        cond = self._time_condition(time_BK).to(self._dtype)
        return cond if told is None else cond + told.to(cond.dtype)

    @property
    def _dtype(self) -> torch.dtype:
        return self.time_mlp_in.weight.dtype

    def _suffix_rope(self, prefix: Prefix, steps: int) -> Rope:
        """Rotation of the action tokens, which stand after the prefix."""
        position = prefix.length[:, None, None] + torch.arange(steps, device=prefix.length.device)
        return make_rope(position, self.sizes.head_dim, self._dtype)

    def _time_condition(self, time_BK: Tensor) -> Tensor:  # noqa: N803
        half = self.sizes.expert_width // 2
        fraction = torch.linspace(0.0, 1.0, half, dtype=torch.float64, device=time_BK.device)
        period = MIN_PERIOD * (MAX_PERIOD / MIN_PERIOD) ** fraction
        angle = time_BK[..., None].double() * (2 * math.pi / period)
        embedded = torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.time_mlp_in.weight.dtype)
        return F.silu(self.time_mlp_out(F.silu(self.time_mlp_in(embedded))))


def _prefix_layer(
    block: Block, x: Tensor, rope: Rope, valid: Tensor | None, *, last: bool
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """(the stream after the layer, or before it if it is the last; its keys and values)."""
    normed = block.before_attention(x)
    keys, values = block.keys_values(normed, rope)
    if not last:
        x = block.after_attention(x, attend_prefix(block.queries(normed, rope), keys, values, valid))
        x = block.feed_forward(x)
    return x, (keys, values)


def _expert_layer(
    block: Block,
    x: Tensor,
    told: Told,
    rope: Rope,
    read: tuple[Tensor, Tensor],
    valid: Tensor | None,
) -> Tensor:
    """The stream of the action expert after the layer, which also reads the prefix's keys and values."""
    (modulation, gate), feed_forward = block.modulations(told) if isinstance(told, Tensor) else told
    normed = block.before_attention(x, modulation)
    own = block.keys_values(normed, rope)
    mixed = attend_suffix(block.queries(normed, rope), own, read, valid)
    return block.feed_forward(block.after_attention(x, mixed, gate), *feed_forward)


def number_slots(tokens_BT: Tensor) -> Tensor:  # noqa: N803
    """[B, T] place of every token among the state's numbers: 1, 2, ... after the last state marker, 0 elsewhere."""
    numbers = (tokens_BT >= FIRST_BIN) & (tokens_BT < FIRST_BIN + NUM_BINS)
    # An instruction may hold the marker's words itself: the state follows the last one.
    marks = (tokens_BT == MARKER_ID).cumsum(1)
    numbers = numbers & (marks > 0) & (marks == marks[:, -1:])
    return numbers.cumsum(1) * numbers
