"""Image towers: SigLIP as published, and a convolutional stem for training from scratch.

Both map float images in [-1, 1] to tokens. Parameter names of the SigLIP tower are those of the published
checkpoints, so their weights load by name.

Letters: B observations, C cameras (3 colour channels between C and s are not spelt), N = B * C images, s image side,
P tokens per image, V width.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from policy.flow.sizes import NetworkSizes


class _Embeddings(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, sizes.vision_width, sizes.patch_size, stride=sizes.patch_size)
        self.position_embedding = nn.Embedding((sizes.image_size // sizes.patch_size) ** 2, sizes.vision_width)

    def forward(self, image_NCss: Tensor) -> Tensor:  # noqa: N803
        result: Tensor = self.patch_embedding(image_NCss).flatten(2).transpose(1, 2) + self.position_embedding.weight
        return result


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x_NPV: Tensor) -> Tensor:  # noqa: N803
        shape = (*x_NPV.shape[:2], self.heads, -1)
        q, k, v = (p(x_NPV).view(shape).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        result: Tensor = self.out_proj(mixed.reshape(x_NPV.shape))
        return result


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc2(F.gelu(self.fc1(x), approximate="tanh"))
        return result


class EncoderLayer(nn.Module):
    """Attention and MLP of SigLIP."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(sizes.vision_width, eps=1e-6)
        self.self_attn = _Attention(sizes.vision_width, sizes.vision_heads)
        self.layer_norm2 = nn.LayerNorm(sizes.vision_width, eps=1e-6)
        self.mlp = _Mlp(sizes.vision_width, sizes.vision_mlp)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [N, P, V] after the layer."""
        x = x + self.self_attn(self.layer_norm1(x))
        result: Tensor = x + self.mlp(self.layer_norm2(x))
        return result


class _Encoder(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(sizes) for _ in range(sizes.vision_depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class SiglipModel(nn.Module):
    """SigLIP without its head: images [N, 3, s, s] -> [N, P, V]."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.embeddings = _Embeddings(sizes)
        self.encoder = _Encoder(sizes)
        self.post_layernorm = nn.LayerNorm(sizes.vision_width, eps=1e-6)

    def forward(self, image: Tensor) -> Tensor:
        """Tokens of images in [-1, 1]."""
        result: Tensor = self.post_layernorm(self.encoder(self.embeddings(image)))
        return result


class SiglipTower(nn.Module):
    """The published image tower, as PaliGemma wraps it: [B, C, 3, s, s] -> [B, C, P, V]."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.vision_model = SiglipModel(sizes)

    def forward(self, images_BCss: Tensor) -> Tensor:  # noqa: N803
        """Tokens of a batch of images in [-1, 1], all cameras."""
        result: Tensor = self.vision_model(images_BCss.flatten(0, 1)).unflatten(0, images_BCss.shape[:2])
        return result


class ConvTower(nn.Module):
    """A convolutional stem: [B, C, 3, s, s] -> [B, C, P, V], few tokens, no attention.

    A patch convolution and `vision_depth` 3x3 convolutions of stride 2, shared by the cameras, in channels-last
    memory (a third faster than the default on CPU). Then one matrix per camera from the whole grid to P tokens: every
    token sees the whole view, so nothing has to learn first which cell is where.
    """

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        first = sizes.vision_mlp
        self.patch_embedding = nn.Conv2d(3, first, sizes.patch_size, stride=sizes.patch_size)
        widths = [min(first * 2**i, sizes.vision_width) for i in range(sizes.vision_depth)] + [sizes.vision_width]
        self.blocks = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.tokens, self.width = sizes.tokens_per_view, sizes.vision_width
        cells = (sizes.image_size // sizes.patch_size // 2**sizes.vision_depth) ** 2
        self.mix = nn.Parameter(torch.zeros(sizes.cameras, cells * self.width, self.tokens * self.width))
        self.bias = nn.Parameter(torch.zeros(sizes.cameras, 1, self.tokens * self.width))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images_BCss: Tensor) -> Tensor:  # noqa: N803
        """Tokens of a batch of images in [-1, 1], all cameras."""
        batch, cameras = images_BCss.shape[:2]
        x = images_BCss.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        x = F.relu(self.patch_embedding(x))
        for block in self.blocks:
            x = F.relu(block(x))
        grid = x.permute(0, 2, 3, 1).reshape(batch, cameras, -1).transpose(0, 1)
        tokens = torch.baddbmm(self.bias, grid, self.mix).transpose(0, 1)
        return tokens.reshape(batch, cameras, self.tokens, self.width)


def make_tower(sizes: NetworkSizes) -> nn.Module:
    """The image tower that `sizes.vision` names."""
    return SiglipTower(sizes) if sizes.vision == "siglip" else ConvTower(sizes)
