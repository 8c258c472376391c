"""Image towers of the pi0.5 network: SigLIP as published, and a convolutional stem for training from scratch.

Both map float images in [-1, 1] to tokens. Parameter names of the SigLIP tower are those of the published
checkpoints, so their weights load by name.

Letters: N images, C channels, s image side, P tokens per image, V width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from policy.models.pi05.sizes import NetworkSizes


class _Embeddings(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(3, sizes.vision_width, sizes.patch_size, stride=sizes.patch_size)
        self.position_embedding = nn.Embedding((sizes.image_size // sizes.patch_size) ** 2, sizes.vision_width)

    def forward(self, image_NCss: Tensor) -> Tensor:  # noqa: N803
        return self.patch_embedding(image_NCss).flatten(2).transpose(1, 2) + self.position_embedding.weight


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
        return self.out_proj(mixed.reshape(x_NPV.shape))


class _Mlp(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class _EncoderLayer(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(sizes.vision_width, eps=1e-6)
        self.self_attn = _Attention(sizes.vision_width, sizes.vision_heads)
        self.layer_norm2 = nn.LayerNorm(sizes.vision_width, eps=1e-6)
        self.mlp = _Mlp(sizes.vision_width, sizes.vision_mlp)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.layer_norm1(x))
        return x + self.mlp(self.layer_norm2(x))


class _Encoder(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_EncoderLayer(sizes) for _ in range(sizes.vision_depth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class _VisionModel(nn.Module):
    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.embeddings = _Embeddings(sizes)
        self.encoder = _Encoder(sizes)
        self.post_layernorm = nn.LayerNorm(sizes.vision_width, eps=1e-6)

    def forward(self, image: Tensor) -> Tensor:
        return self.post_layernorm(self.encoder(self.embeddings(image)))


class SiglipTower(nn.Module):
    """The published image tower: [N, 3, s, s] -> [N, P, V]."""

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        self.vision_model = _VisionModel(sizes)

    def forward(self, image_NCss: Tensor) -> Tensor:  # noqa: N803
        """Tokens of a batch of images in [-1, 1]."""
        return self.vision_model(image_NCss)


class ConvTower(nn.Module):
    """A convolutional stem: [N, 3, s, s] -> [N, P, V], few tokens, no attention.

    A patch convolution and `vision_depth` 3x3 convolutions of stride 2, in channels-last memory (a third faster
    than the default on CPU), then a learned position per cell.
    """

    def __init__(self, sizes: NetworkSizes) -> None:
        super().__init__()
        first = sizes.vision_mlp
        self.patch_embedding = nn.Conv2d(3, first, sizes.patch_size, stride=sizes.patch_size)
        widths = [min(first * 2**i, sizes.vision_width) for i in range(sizes.vision_depth)] + [sizes.vision_width]
        self.blocks = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths[:-1], widths[1:], strict=True)
        )
        self.position_embedding = nn.Parameter(torch.zeros(sizes.tokens_per_view, sizes.vision_width))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, image_NCss: Tensor) -> Tensor:  # noqa: N803
        """Tokens of a batch of images in [-1, 1]."""
        x = F.relu(self.patch_embedding(image_NCss.contiguous(memory_format=torch.channels_last)))
        for block in self.blocks:
            x = F.relu(block(x))
        return x.flatten(2).transpose(1, 2) + self.position_embedding


def make_tower(sizes: NetworkSizes) -> nn.Module:
    """The image tower that `sizes.vision` names."""
    return SiglipTower(sizes) if sizes.vision == "siglip" else ConvTower(sizes)
